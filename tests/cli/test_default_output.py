from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.cli.default_output import default_output
from cti_edits.errors import EditError


def test_no_file_that_is_there_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_output("gptj_fever") == Path("edits/gptj_fever.json")
    Path("edits").mkdir()
    Path("edits/gptj_fever.json").touch()
    with pytest.raises(EditError, match=r"^edits/gptj_fever\.json is there already; .* with --output$"):
        default_output("gptj_fever")
