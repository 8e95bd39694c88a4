"""One file of a checkpoint in the hub's cache on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.errors import CheckpointError
from cti_edits.hub.checkpoint_file import folder_inside, from_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path) -> str:
    """The client's cache, with config.json and a folder below of one model, and a file that is known not to be."""
    home = tmp_path / "models--tests--tiny"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    below = home / "snapshots" / COMMIT / "a"
    below.mkdir(parents=True)
    (below.parent / "config.json").write_text("top")
    (below / "config.json").write_text("below")
    (home / ".no_exist" / COMMIT).mkdir(parents=True)
    (home / ".no_exist" / COMMIT / "model.safetensors").touch()
    return str(tmp_path)


@pytest.mark.parametrize("subfolder", ["..", "a/../../b", "/etc"])
def test_a_subfolder_does_not_lead_out(subfolder: str) -> None:
    with pytest.raises(CheckpointError, match="subfolder: expected a folder inside owner/name, got"):
        folder_inside("owner/name", subfolder)


def test_a_subfolder_is_a_path_without_turns() -> None:
    assert folder_inside("owner/name", "a//./b/").as_posix() == "a/b"
    assert folder_inside("owner/name", "").as_posix() == "."


def test_a_file_is_found_by_name_revision_and_subfolder(cache: str) -> None:
    for revision in (None, "main", COMMIT):
        found = from_hub("tests/tiny", revision, True, "", cache)("config.json")
        assert found is not None
        assert found.read_text() == "top"
    found = from_hub("tests/tiny", None, True, "a", cache)("config.json")
    assert found is not None
    assert found.read_text() == "below"


@pytest.mark.parametrize(
    ("name", "revision"), [("model.safetensors", None), ("other", None), ("config.json", "f" * 40)]
)
def test_what_this_machine_has_not_is_none(name: str, revision: str | None, cache: str) -> None:
    assert from_hub("tests/tiny", revision, True, "", cache)(name) is None


@pytest.mark.parametrize("place", ["a/b/c", "not an id", "esc\x1b[31m"])
def test_a_place_that_is_no_id_is_one_line(place: str, cache: str) -> None:
    with pytest.raises(CheckpointError, match="no such folder, and not the id of a hub model") as caught:
        from_hub(place, None, True, "", cache)("config.json")
    assert str(caught.value).isprintable()
