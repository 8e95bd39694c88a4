"""lm-eval without its log lines and progress bars."""

from __future__ import annotations

import logging
import warnings

import pytest
from lm_eval.api import task as lm_eval_task

from cti_edits.harness.own_rows import own_rows, rows_task
from cti_edits.harness.quiet import quiet_lm_eval


def test_nothing_is_said_inside_and_everything_after(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    bar, level = lm_eval_task.tqdm, logging.getLogger("lm_eval").level
    rows = own_rows([{"prompt": "one", "answer": "two"}])
    with quiet_lm_eval():
        task = rows_task("mine", rows)
        task.build_all_requests(rank=0, world_size=1)
        warnings.warn("soon", FutureWarning, stacklevel=1)
    assert len(task.instances) == 1
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
    assert (lm_eval_task.tqdm, logging.getLogger("lm_eval").level) == (bar, level)
    with pytest.warns(FutureWarning, match="soon"):
        warnings.warn("soon", FutureWarning, stacklevel=1)
    task.build_all_requests(rank=0, world_size=1)
    assert "1/1" in capsys.readouterr().err
