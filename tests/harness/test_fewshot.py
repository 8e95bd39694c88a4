"""Few-shot examples are lm-eval's own draw, but never the row that is asked about."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.calibration import draw
from cti_edits.harness.fewshot import OtherRowsSampler, leave_out_own_rows
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.tasks import load_task
from tests.support.small_tasks import write_task

CHOICE = """fewshot_split: shots
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""


@pytest.mark.parametrize("split", ["fewshot_split: validation\n", ""])
def test_no_row_is_an_example_in_its_own_prompt(split: str, tmp_path: Path) -> None:
    """Not even where the task's file leaves open where examples come from: lm-eval then takes the validation rows."""
    more = "validation_split: validation\n" + split + CHOICE.replace("fewshot_split: shots\n", "")
    name = write_task(tmp_path, "own", more=more)
    path = tmp_path / f"{name}.yaml"
    path.write_text(path.read_text().replace("num_fewshot: 0\n", "", 1))
    calibration = draw(load_task(name, str(tmp_path)), 10, 0, Prompting(num_fewshot=9))
    for gold in calibration.gold:
        texts = [line for line in gold.context.replace("says", "\n").splitlines() if "validation:" in line]
        assert len(texts) == len(set(texts)) == 10


def own_task(folder: Path) -> Any:
    name = write_task(folder, "drawn", more="validation_split: validation\nfewshot_split: validation\n" + _CHOICE)
    return load_task(name, str(folder))


_CHOICE = CHOICE.replace("fewshot_split: shots\n", "")


@pytest.mark.parametrize("seed", [1234, 7])
def test_every_other_draw_stays_lm_evals(seed: int, tmp_path: Path) -> None:
    """A row that lm-eval did not draw for itself has the very examples that lm-eval gives it."""
    task = own_task(tmp_path)
    rows = list(task.dataset["validation"])
    ours = OtherRowsSampler(copy.deepcopy(task.sampler), leaves_out=False)
    changed = 0
    for row in rows:
        task.sampler.set_rnd(seed)
        theirs = list(task.sampler.sample(n=3))
        found = list(ours.set_rnd(seed).sample(3, row))
        assert row not in found
        assert len({one["text"] for one in found}) == 3
        if row in theirs:
            changed += 1
            assert [one for one in theirs if one != row] == found[:2]
            assert list(ours.set_rnd(seed).sample(3, row)) == found
        else:
            assert found == theirs
    assert changed == 3


def test_more_than_there_are_is_refused_in_words(tmp_path: Path) -> None:
    sampler = OtherRowsSampler(own_task(tmp_path).sampler, leaves_out=False)
    row = next(iter(sampler.fewshot_docs()))
    assert len(list(sampler.set_rnd(1).sample(9, row))) == 9
    with pytest.raises(EditError, match="num_fewshot: expected at most 9, the rows to draw from, got 10"):
        sampler.set_rnd(1).sample(10, row)


def test_the_task_itself_keeps_lm_evals_sampler(tmp_path: Path) -> None:
    task = own_task(tmp_path)
    view = copy.copy(task)
    leave_out_own_rows(view)
    assert isinstance(view.sampler, OtherRowsSampler)
    assert not isinstance(task.sampler, OtherRowsSampler)
    assert view.fewshot_cfg is not task.fewshot_cfg
    assert view.fewshot_cfg.split == task.config.test_split != task.fewshot_cfg.split
