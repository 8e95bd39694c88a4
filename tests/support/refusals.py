"""What the command says of a bad input."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from cti_edits.cli import main


def refused_line(words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run ``cti-edits`` with ``words``, which ends with code 2, and return its only line of error."""
    monkeypatch.setattr(sys, "argv", ["cti-edits", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("cti-edits:"))
    return line
