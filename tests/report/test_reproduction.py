from __future__ import annotations

import pytest

from cti_edits.artifact.manifest import Edit
from cti_edits.report.reproduction import print_reproduction
from cti_edits.search.reproduction import Changed, Figure, Reproduction
from tests.support.edits import BASE, entry

EDIT = Edit("found", "", BASE, (entry(),))
FIGURE = Figure("test", "edited", 1000, 0.5, (0.469, 0.531), 0.54, within=False)


def test_figures_side_by_side_and_what_is_not_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    print_reproduction(Reproduction("not reproduced", (Changed("torch", "2.6.0", "2.7.0"),), (FIGURE,), EDIT))
    assert capsys.readouterr().out.splitlines() == [
        "not reproduced",
        "rows  model   recorded   95 % interval     now",
        "test  edited    50.0 %  46.9 to 53.1 %  54.0 %  outside",
        "torch: recorded 2.6.0, now 2.7.0",
    ]


def test_nothing_run_and_nothing_that_differs(capsys: pytest.CaptureFixture[str]) -> None:
    print_reproduction(Reproduction("not reproduced", (Changed("rows", "a", "b"),)))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "not reproduced: rows or base are others, so nothing was run"
    assert second == "rows: recorded a, now b"
    print_reproduction(Reproduction("winner", (), (), EDIT))
    assert capsys.readouterr().out.splitlines()[-1].startswith("Nothing that is recorded differs")
