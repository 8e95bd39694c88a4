from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.cli.default_output import default_output, page_beside
from cti_edits.errors import EditError


def test_no_file_that_is_there_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_output("gptj_fever") == Path("edits/gptj_fever.json")
    Path("edits").mkdir()
    Path("edits/gptj_fever.json").touch()
    with pytest.raises(EditError, match=r"^edits/gptj_fever\.json is there already; .* with --output$"):
        default_output("gptj_fever")


def test_a_page_stands_beside_its_edit() -> None:
    assert page_beside(Path("edits/gptj_fever.json")) == Path("edits/gptj_fever.html")
    assert page_beside(Path("out/gptj.cl-laser.json")) == Path("out/gptj.cl-laser.html")
    # A name without .json keeps its parts.
    assert page_beside(Path("out/gptj.cl-laser")) == Path("out/gptj.cl-laser.html")
