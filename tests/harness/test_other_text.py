"""The text that an edit is compared with its base on: bundled, a file, or a task."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.other_text import other_text
from tests.support.small_tasks import write_task

CHOICE = 'validation_split: validation\ndoc_to_choice: ["moo", "baa"]\ndoc_to_target: gold\n'


def test_the_bundled_text_is_forty_paragraphs() -> None:
    found = other_text("bundled")
    assert found is not None
    assert found == other_text(None)
    paragraphs = found.text.strip().split("\n\n")
    assert len(set(paragraphs)) == 40
    assert all(40 <= len(one.split()) <= 80 for one in paragraphs)
    assert found.text.isascii()


def test_none_is_no_text() -> None:
    assert other_text("none") is None


def test_a_file_is_named_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("Grün ist die Heide.".encode())
    found = other_text(str(path))
    assert found is not None
    assert found.text == "Grün ist die Heide."
    assert found.name == f"mine.txt, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def test_of_a_task_prompts_are_read_with_their_gold_answers(tmp_path: Path) -> None:
    name = write_task(tmp_path, "ten", more=CHOICE)
    found = other_text(name, str(tmp_path))
    assert found is not None
    assert found.name == "task ten"
    rows = found.text.split("\n\n")
    assert all(one.endswith((" moo", " baa")) for one in rows)
    assert len(rows) == 10


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("there/is/none.txt", "guard: there/is/none.txt: no such file"),
        ("none.txt", "guard: none.txt: no such file"),
        # lm-eval's index of all tasks takes seconds to build.
        pytest.param(
            "bundeld", "guard: no task is called 'bundeld'.*; or did you mean bundled", marks=pytest.mark.thorough
        ),
    ],
)
def test_what_is_not_there_is_refused_in_a_line(what: str, why: str) -> None:
    with pytest.raises(EditError, match=why):
        other_text(what)


@pytest.mark.parametrize(
    ("data", "why"), [(b"\xff\xfe", "expected text in UTF-8"), (b" \n", "expected text, got none")]
)
def test_a_file_without_text_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.txt"
    path.write_bytes(data)
    with pytest.raises(EditError, match=why):
        other_text(str(path))
