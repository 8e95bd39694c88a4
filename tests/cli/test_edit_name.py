from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.cli.edit_name import default_output, edit_name
from cti_edits.errors import EditError


@pytest.mark.parametrize(
    ("task", "preset", "expected"),
    [
        ("cti_fever", None, "gptj_fever"),
        ("cti_fever", "cl-100g-100e", "gptj_fever"),
        ("cti_fever_masked", "laser", "gptj_fever.laser"),
        ("a/b: c", None, "gptj_a-b--c"),
        (120 * "t", None, "gptj_" + 95 * "t"),
    ],
)
def test_an_edit_is_named_as_the_published_ones(task: str, preset: str | None, expected: str) -> None:
    assert edit_name("gptj", task, preset) == expected


def test_no_file_that_is_there_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_output("gptj_fever") == Path("edits/gptj_fever.json")
    Path("edits").mkdir()
    Path("edits/gptj_fever.json").touch()
    with pytest.raises(EditError, match=r"^edits/gptj_fever\.json is there already; .* with --output$"):
        default_output("gptj_fever")
