"""One file for each way in which a manifest can be wrong. tests/data/hostile.json has the message that each ends in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.manifest import load
from cti_edits.errors import FactorsError, FitError, ManifestError
from cti_edits.models.apply import bind
from cti_edits.models.factor_file import read_factors
from tests.support.tiny_models import tiny_model

DATA = Path(__file__).parents[1] / "data"
FILES = DATA / "hostile"
# "reader" names the files that no one reads, "model" those that do not fit a tiny Llama, "factors" those whose file of
# factors is wrong.
MESSAGES: dict[str, dict[str, str]] = json.loads((DATA / "hostile.json").read_text(encoding="utf-8"))
GOOD = DATA / "edit-1" / "two_matrices.json"


def test_every_file_has_a_message_of_its_own() -> None:
    names = [name for messages in MESSAGES.values() for name in messages]
    assert sorted(names) == sorted(file.name for file in FILES.glob("*.json"))
    beside = {file.stem for file in FILES.glob("*.safetensors")}
    assert {Path(name).stem for name in MESSAGES["factors"]} - beside == {"factors_that_are_not_there"}
    assert {file.suffix for file in FILES.iterdir()} == {".json", ".safetensors"}
    assert len(names) > 100
    assert len({message for messages in MESSAGES.values() for message in messages.values()}) == len(names)


@pytest.mark.parametrize("name", MESSAGES["reader"])
def test_a_hostile_file_is_refused_with_its_message(name: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(FILES / name)
    assert str(caught.value) == f"{FILES / name}: {MESSAGES['reader'][name]}"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", MESSAGES["model"])
def test_an_edit_that_fits_no_model_is_refused_with_its_message(name: str) -> None:
    with pytest.raises(FitError) as caught:
        bind(load(FILES / name), tiny_model("llama"))
    assert str(caught.value) == MESSAGES["model"][name]


@pytest.mark.parametrize("name", MESSAGES["factors"])
def test_a_hostile_file_of_factors_is_refused_with_its_message(name: str) -> None:
    edit = load(FILES / name)
    with pytest.raises(FactorsError) as caught:
        read_factors(edit)
    message, wanted = str(caught.value).replace(str(FILES), "FOLDER"), MESSAGES["factors"][name]
    # What follows is the safetensors library's.
    assert message.startswith(wanted) if wanted.endswith(": ") else message == wanted
    assert message.isprintable()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "link to a device"])
def test_factors_that_are_no_file(kind: str, tmp_path: Path) -> None:
    """The manifest is that of factors whose tensors alone are wrong, so that only their kind is."""
    name = "factors_with_nan"
    (tmp_path / "edit.json").write_bytes((FILES / f"{name}.json").read_bytes())
    file = tmp_path / f"{name}.safetensors"
    if kind == "link":
        file.symlink_to(FILES / file.name)
    elif kind == "link to a device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    with pytest.raises(FactorsError) as caught:
        read_factors(load(tmp_path / "edit.json"))
    why = "cannot be read: is a link" if kind.startswith("link") else "expected a regular file"
    assert str(caught.value) == f"hostile: edits[0].factors: {file}: {why}"


@given(data=st.data())
def test_any_bytes_as_factors_are_blocks_or_a_refusal(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A stranger writes the hash in the manifest too."""
    folder = tmp_path_factory.getbasetemp()
    name = data.draw(st.sampled_from(sorted(MESSAGES["factors"].keys() - {"factors_that_are_not_there.json"})))
    content = bytearray((FILES / name).with_suffix(".safetensors").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        # Mostly in the header, which has the lies.
        start = data.draw(st.integers(0, min(len(content), 600)))
        content[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    if not content:
        return
    document = json.loads((FILES / name).read_text(encoding="utf-8"))
    named = {"file": "f.safetensors", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    document["edits"][0]["factors"] = named
    (folder / "edit.json").write_text(json.dumps(document))
    (folder / "f.safetensors").write_bytes(content)
    try:
        ((_, blocks),) = read_factors(load(folder / "edit.json")).items()
    except FactorsError as error:
        message = str(error)
    else:
        assert len(blocks) == 2
        return
    assert message.isprintable()


def test_the_command_shows_every_refusal_on_one_line_and_goes_on() -> None:
    files = [str(FILES / name) for name in MESSAGES["reader"]]
    words = [sys.executable, "-c", "from cti_edits.cli import main; main()", "validate", *files]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines == [f"cti-edits: error: {FILES / name}: {MESSAGES['reader'][name]}" for name in MESSAGES["reader"]]
    assert all(line.isprintable() for line in lines)


# What git cannot hold


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(GOOD.read_bytes())
        file.truncate(200_000_000)


def _blanks(path: Path) -> None:
    with path.open("wb") as file:
        file.write(GOOD.read_bytes())
        for _ in range(200):
            file.write(b" " * 1_000_000)


def _edits(count: int, each: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        document = {**json.loads(GOOD.read_text(encoding="utf-8")), "edits": "HERE"}
        path.write_text(json.dumps(document).replace('"HERE"', "[" + ",".join([each] * count) + "]"), encoding="utf-8")

    return write


TOO_LARGE = "larger than 1,048,576 bytes, the most that an edit manifest may have"
NOT_REGULAR = "expected an edit manifest, a JSON file, got something that is not a regular file"
NO_FILE = "expected an edit manifest, a JSON file, but there is no such file"
MADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "200 MB of nothing": (_sparse, TOO_LARGE),
    "200 MB of blanks": (_blanks, TOO_LARGE),
    "a million edits": (_edits(1_000_000, "{}"), TOO_LARGE),
    "a quarter of a million edits": (_edits(250_000, "{}"), "edits: expected at most 2000 items, got 250000"),
    "link to nothing": (lambda path: path.symlink_to("gone"), NO_FILE),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), NOT_REGULAR),
    "link to a folder": (lambda path: path.symlink_to("."), NOT_REGULAR),
    "link to secrets": (lambda path: path.symlink_to("/etc/passwd"), "not JSON: Expecting value (line 1, column 1)"),
    "folder": (Path.mkdir, NOT_REGULAR),
    "pipe": (os.mkfifo, NOT_REGULAR),
    "nothing": (lambda _: None, NO_FILE),
}


@pytest.mark.parametrize("case", MADE)
def test_what_git_cannot_hold(case: str, tmp_path: Path) -> None:
    make, message = MADE[case]
    file = tmp_path / "edit.json"
    make(file)
    start = time.process_time()
    with pytest.raises(ManifestError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: {message}"
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_not_opened(device: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(device)
    assert str(caught.value) in (f"{device}: {NOT_REGULAR}", f"{device}: {NO_FILE}")
