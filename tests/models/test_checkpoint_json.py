"""The JSON files of a checkpoint, which anyone may have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.errors import CheckpointError
from cti_edits.models import checkpoint_json
from cti_edits.models.checkpoint_json import json_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "nested": {"a": [1]}}')
    assert json_object(tmp_path / "config.json") == {"model_type": "gpt2", "nested": {"a": [1]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: "),
        (b"{", "cannot be read: "),
        (b"\xff\xff", "cannot be read: "),
        (b"[" * 100_000, "cannot be read: "),
        (b"[1]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got NoneType"),
    ],
)
def test_anything_else_is_one_line_that_names_the_file(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "esc\x1b.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        json_object(file)
    assert str(caught.value).startswith(f"{tmp_path}/esc\\x1b.json: {message}")
    assert str(caught.value).isprintable()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.json: cannot be read: "):
        json_object(tmp_path / "gone.json")


def test_the_size_is_bounded_before_anything_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_json, "MAX_JSON_BYTES", 10)
    file = tmp_path / "config.json"
    file.write_text('{"a": 1  }')
    assert json_object(file) == {"a": 1}
    file.write_text("x" * 11)
    with pytest.raises(CheckpointError, match="expected at most 10 bytes"):
        json_object(file)
