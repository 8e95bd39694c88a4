"""``cti-edits validate``, run as a command, and ``cti-edits show`` where it refuses and imports the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.manifest import load
from tests.support.command import run, run_here
from tests.support.edits import EDIT_1, EDIT_2, full

HEAVY = ("torch", "transformers", "lm_eval", "datasets", "scipy", "numpy")


def written(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """The full manifest with fields of its first matrix edit changed."""
    document = full()
    document["edits"][0].update(changes)
    return document


WRONG: dict[str, tuple[object, str]] = {
    "not JSON": ("{", "not JSON: "),
    "empty": ("", "not JSON: "),
    "an array": ("[]", "expected a JSON object, got an array"),
    "unknown key": (changed(rnk=1), 'edits[0]: unknown key "rnk"'),
    "wrong kind": (changed(layer="6"), 'edits[0].layer: expected an integer, got a string "6"'),
    "missing key": ({**full(), "base_model": {}}, 'base_model: the key "id" is missing'),
    "newer version": ({**full(), "schema_version": 3}, "schema_version: 3 is newer"),
    "NaN": (changed(rho=float("nan")), "edits[0].rho: NaN is not a JSON number"),
    "wrong hash": (changed(sha256="abc"), "edits[0].sha256: expected text that matches"),
    "wrong shape": (changed(shape=[50]), "edits[0].shape: expected at least 2 items, got 1"),
    "rank above its block": (changed(block_ranks=[3, 3, 3, 99]), "edits[0].block_ranks[3]: expected 3"),
    "K above m": (changed(clusters=51), "edits[0].clusters: expected at most 50"),
    "escape sequence in the name": (
        {**full(), "name": "\x1b]0;title\x07\n[bold]"},
        'name: expected text that matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$, got "\\u001b]0;title\\u0007\\n[bold]"',
    ),
    "bidi override in a key": ({**full(), "\u202eyek": 1}, 'unknown key "\\\\u202eyek"'),
}


@pytest.mark.parametrize("command", ["validate", "show"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_one_line_and_exit_code_2(command: str, case: str, tmp_path: Path) -> None:
    document, expected = WRONG[case]
    file = written(tmp_path / "edit.json", document)
    done = run_here(command, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cti-edits: error: {file}: {expected}")
    assert done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable()


@pytest.mark.parametrize("command", ["validate", "show"])
def test_a_file_that_is_none_is_one_line_and_exit_code_2(command: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("gone.json", "folder", "pipe", "esc\x1b[31m\n.json"):
        done = run_here(command, tmp_path / name)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"cti-edits: error: {tmp_path}/{name[:3]}")
        assert done.stderr[:-1].isprintable()


def test_validate_checks_every_file_and_reports_each(tmp_path: Path) -> None:
    wrong = written(tmp_path / "wrong.json", "{")
    good = [EDIT_1 / "empty.json", EDIT_1 / "one_matrix.json"]
    done = run("validate", good[0], wrong, good[1])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stdout.splitlines() == [
        f"{file}: valid, {load(file).name}, digest {load(file).digest()}" for file in good
    ]
    done = run("validate", *good)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 2)


@pytest.mark.parametrize("command", ["validate", "show"])
def test_a_file_name_and_a_text_that_the_output_cannot_encode(command: str, tmp_path: Path) -> None:
    file = written(tmp_path / "édit\x1b.json", full())
    done = run(command, file, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert ("\\xe9dit\\x1b.json: valid" if command == "validate" else "\\u039a\\u03b1\\u03bb") in done.stdout


IMPORTED = """
import sys
from cti_edits.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["validate"], ["show"]], ids=" ".join)
def test_help_validate_and_show_import_nothing_heavy(words: list[str]) -> None:
    if words == ["validate"]:
        words = [*words, str(EDIT_1 / "two_matrices.json"), str(EDIT_2 / "every_field.json")]
    elif words == ["show"]:
        # A matrix edit of every method.
        words = [*words, str(EDIT_2 / "every_field.json")]
    program = IMPORTED.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout
