"""Lines that are added are there, whatever happens next; nobody else adds any meanwhile."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cti_edits.errors import EditError, WriteError
from cti_edits.json_lines import HeldError, JsonLines, objects_of


def test_lines_are_there_when_append_returns_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    lines = JsonLines(path)
    assert lines.lines == []
    lines.append({"a": 1 / 3}, {"b": "ü\n"})
    assert [json.loads(one) for one in path.read_bytes().splitlines()] == [{"a": 1 / 3}, {"b": "ü\n"}]
    lines.close()
    again = JsonLines(path)
    assert objects_of(path, again.lines) == [{"a": 1 / 3}, {"b": "ü\n"}]


def test_a_torn_line_is_taken_off_before_the_next_is_added(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": ')
    lines = JsonLines(path)
    assert lines.lines == [b'{"a": 1}']
    lines.append({"c": 2})
    assert path.read_bytes() == b'{"a": 1}\n{"c": 2}\n'


def test_a_second_writer_is_refused_until_the_first_one_closes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"torn')
    first = JsonLines(path)
    path.write_bytes(b'{"a": 1}\n{"being written')
    with pytest.raises(HeldError) as refused:
        JsonLines(path)
    assert str(refused.value) == f"{path}: another process writes to it"
    assert path.read_bytes() == b'{"a": 1}\n{"being written'
    first.close()
    JsonLines(path).close()


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    program = "\n".join(
        (
            "import pathlib, sys",
            "from cti_edits.json_lines import JsonLines",
            "lines = JsonLines(pathlib.Path(sys.argv[1]))",
            "lines.append({'a': 1})",
            "print(flush=True)",
            "sys.stdin.read()",
        )
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        try:
            writer.stdout.readline()
            with pytest.raises(HeldError):
                JsonLines(path)
        finally:
            writer.kill()
            writer.wait()
    assert JsonLines(path).lines == [b'{"a": 1}']


def test_where_the_disk_is_full_the_lines_before_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = JsonLines(path)
    lines.append({"a": 1})
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, former[1]))
    try:
        with pytest.raises(WriteError, match=r"a\.jsonl: cannot write here: File too large"):
            lines.append({"b": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b'{"a": 1}\n'
    lines.append({"c": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x.jsonl", tmp_path, tmp_path / "\0"):
        with pytest.raises(WriteError, match="cannot write here"):
            JsonLines(place)


def test_a_line_that_is_no_object_is_named() -> None:
    for wrong in (b"[1]", b"{", b"1", b"[" * 100_000):
        with pytest.raises(EditError, match=r"^x: line 2: expected a JSON object, got something else$"):
            objects_of(Path("x"), [b"{}", wrong])
