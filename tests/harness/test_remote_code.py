from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.paths import folder
from tests.conftest import Run
from tests.support.custom_code import save_custom_code

SAID = "it runs code of its own, which was not asked for; read that code, then give trust_remote_code=true"


@pytest.mark.parametrize("part", ["model", "tokenizer"])
@pytest.mark.parametrize("trust", [{}, {"trust_remote_code": None}, {"trust_remote_code": False}])
def test_code_of_a_checkpoint_is_not_run_unless_asked_for(part: str, trust: dict[str, Any], tmp_path: Path) -> None:
    base, ran = save_custom_code(tmp_path / "base", part)
    for load in (EditedLM, EditedLM.for_checkpoint):
        with pytest.raises(EditError) as caught:
            load(pretrained=str(base), **trust)
        assert str(caught.value) == f"cannot load the model {str(base)!r}: {SAID}"
    with pytest.raises(EditError, match="give trust_remote_code=true"):
        load_base(read_base(str(base), ""), "cpu", "auto", 1)
    assert not ran.exists()


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_code_of_a_checkpoint_runs_when_asked_for(part: str, tmp_path: Path) -> None:
    base, ran = save_custom_code(tmp_path / "base", part)
    lm = EditedLM(pretrained=str(base), trust_remote_code=True)
    assert "Custom" in type(lm.model).__name__ + type(lm.tokenizer).__name__
    assert ran.exists()


def test_a_word_that_is_neither_yes_nor_no_is_refused(tmp_path: Path) -> None:
    base, ran = save_custom_code(tmp_path / "base", "model")
    for load in (EditedLM, EditedLM.for_checkpoint):
        with pytest.raises(EditError, match="trust_remote_code: expected true or false, got 'maybe'"):
            load(pretrained=str(base), trust_remote_code="maybe")
    assert not ran.exists()


@pytest.mark.parametrize(("command", "part"), [("lm_eval", "model"), ("search", "model"), ("search", "tokenizer")])
def test_commands_never_ask_on_the_terminal(command: str, part: str, run_command: Run, tmp_path: Path) -> None:
    base, ran = save_custom_code(tmp_path / "base", part)
    words = {
        "lm_eval": ("lm_eval", "--model", "cti", "--model_args", f"pretrained={base}", "--tasks", "cti_capitals",
                    "--include_path", str(folder("tasks"))),
        "search": ("cti-edits", "search", "--task", "capitals", "--samples", "4", "--model", str(base)),
    }[command]  # fmt: skip
    done = run_command(*words)
    assert done.returncode == 2
    assert "[y/N]" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(SAID)
    assert not ran.exists()
