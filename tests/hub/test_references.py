"""What names an edit on the hub, and what a file here."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.errors import EditError
from cti_edits.hub.references import HubReference, hub_reference, load_edit, manifest_path
from tests.support.hub_command import ONE, Command
from tests.support.local_hub import LocalHub


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubReference("owner/name")),
        ("owner/name@v1", HubReference("owner/name", None, "v1")),
        ("owner/name@refs/pr/1", HubReference("owner/name", None, "refs/pr/1")),
        ("owner/na.me_x-1/an.edit.json", HubReference("owner/na.me_x-1", "an.edit.json")),
        ("owner/name/edit.json@main", HubReference("owner/name", "edit.json", "main")),
        ("owner/name.json@main", HubReference("owner/name.json", None, "main")),
        ("edits/fever.json", None),
        ("there/below/edit.json", None),
        ("there/is", None),
        ("name", None),
        ("/owner/name", None),
        ("./owner/name", None),
        ("../name", None),
        ("~/name", None),
        ("a/b/c/edit.json", None),
        ("owner/name/edit.bin", None),
        ("owner/name@", None),
        ("owner/name@a b", None),
        ("owner/name\n", None),
        ("", None),
    ],
)
def test_what_is_a_reference_and_what_a_path(
    text: str, expected: HubReference | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there" / "below").mkdir(parents=True)
    (tmp_path / "there" / "is").touch()
    assert hub_reference(text) == expected
    assert expected is None or str(expected) == text


def test_a_folder_stands_for_its_manifest(tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(EditError) as caught:
            manifest_path(tmp_path)
        return str(caught.value)

    assert refused() == f"{tmp_path}: expected an edit manifest, a JSON file, found none"
    one = load(ONE).write(tmp_path / "one.json")
    (tmp_path / "README.md").touch()
    assert manifest_path(tmp_path) == one
    assert load_edit(str(tmp_path)) == load(ONE)
    for name in ("b\x1b.json", "c.json"):
        (tmp_path / name).touch()
    assert refused() == (
        f"{tmp_path}: expected edit.json or one JSON file, found 3: b\\x1b.json, c.json, one.json; name the one to read"
    )
    (tmp_path / "edit.json").touch()
    assert manifest_path(tmp_path) == tmp_path / "edit.json"


def test_what_is_here_wins_over_the_hub(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    folder = tmp_path / "here" / "owner" / "name"
    folder.mkdir(parents=True)
    load(ONE).write(folder / "x.json")
    done = command("validate", "owner/name")
    assert (done.returncode, done.stderr) == (0, "")
    assert hub.asked == []
