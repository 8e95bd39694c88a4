"""What is said where a command ends early whose work is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cti_edits.cli.going_on import going_on
from cti_edits.errors import EditError, MachineError

HAS = "a.jsonl has what is finished, and the same command goes on there"


def test_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, going_on(Path("a.jsonl")):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().err == f"interrupted; {HAS}\n"
    with pytest.raises(KeyboardInterrupt), going_on(Path("a.jsonl"), lambda: False):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MachineError("the memory of cpu does not hold it"), "the memory of cpu does not hold it"),
        (MemoryError(), "the memory is exhausted (MemoryError); a narrower dtype or another device may fit"),
        (RuntimeError("CUDA error: unspecified launch failure\nmore"), "the device gave out (CUDA error: unspecified "),
    ],
)
def test_a_machine_that_gives_out(error: Exception, said: str) -> None:
    with pytest.raises(MachineError) as refused, going_on(Path("a.jsonl")):
        raise error
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(f"; {HAS}")
    with pytest.raises(MachineError) as refused, going_on(Path("a.jsonl"), lambda: False):
        raise error
    assert str(refused.value).startswith(said)
    assert HAS not in str(refused.value)


@pytest.mark.parametrize("error", [RuntimeError("expected a tensor"), EditError("no such task"), ValueError("x")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, going_on(Path("a.jsonl")):
        raise error
    assert raised.value is error
