"""``cti-edits show``, run as a command."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.models import footprint
from cti_edits.report.edit_lines import manifest_lines
from tests.support.command import COMMAND, run, run_here
from tests.support.edits import EDIT_1, full, recorded
from tests.support.tiny_models import save_checkpoint, tiny_model


def written(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def shown(document: object, tmp_path: Path, **environment: str) -> list[str]:
    done = run("show", written(tmp_path / "edit.json", document), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_every_line_of_the_edit_is_printed(tmp_path: Path) -> None:
    """What they say is in tests/report/test_edit_lines.py."""
    edit = load(EDIT_1 / "every_field.json")
    lines = shown(full(), tmp_path)
    assert [line.split(maxsplit=1)[0] for line in lines if line] == [
        (key or str(value)).split()[0] for key, value in manifest_lines(edit) if key or value
    ]
    assert f"digest         {edit.digest()}" in lines


HOSTILE_TEXT = "\x1b[31m\x1b]0;t\x07\n\r\u202egnp [bold]b[/bold] [link=file:///]l[/link] [/] :bomb: \\[x] \\"


ESCAPED_TEXT = "\\x1b[31m\\x1b]0;t\\x07\\n\\r\\u202egnp [bold]b[/bold] [link=file:///]l[/link] [/] :bomb: \\[x] \\"


LINE_TEXT = "\u202egnp [bold]b[/bold] :bomb: \u2028"


ESCAPED_LINE = "\\u202egnp [bold]b[/bold] :bomb: \\u2028"


def test_nothing_from_a_manifest_reaches_the_terminal_unescaped(tmp_path: Path) -> None:
    document = full()
    document["description"] = HOSTILE_TEXT
    document["provenance"]["versions"] = {HOSTILE_TEXT: LINE_TEXT}
    document["provenance"].update(source=LINE_TEXT, tool=LINE_TEXT)
    document["base_model"].update(id=LINE_TEXT, revision=LINE_TEXT)
    document["task"]["dataset"] = {"id": LINE_TEXT, "revision": LINE_TEXT, "split": LINE_TEXT}
    document["task"].update(name=LINE_TEXT, metric=LINE_TEXT)
    document["search"]["preset"] = LINE_TEXT
    document["results"]["reported"]["source"] = LINE_TEXT
    lines = shown(document, tmp_path, FORCE_COLOR="1")
    assert all(line.isprintable() for line in lines)
    text = "\n".join(lines)
    assert f"description    {ESCAPED_TEXT}\n" in text
    assert f"versions       {ESCAPED_TEXT} {ESCAPED_LINE}\n" in text
    # Two in base_model, five in task, one each in search, tool, source, versions, reported.
    assert text.count(ESCAPED_LINE) == 12


def test_piped_output_is_neither_wrapped_nor_cut(tmp_path: Path) -> None:
    document = full()
    document["description"] = "word  " * 333
    document["edits"][0]["module"] = ".".join(["part"] * 100)
    lines = shown(document, tmp_path, COLUMNS="40")
    assert f"description    {document['description']}" in lines
    assert f"  module       {document['edits'][0]['module']}" in lines


def on_a_terminal(file: Path, columns: int) -> list[str]:
    """What ``show`` writes to a real terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen([*COMMAND, "show", str(file)], stdin=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            output += part
    os.close(ours)
    assert process.returncode == 0
    return output.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [80, 50])
def test_on_a_terminal_every_line_fits_and_nothing_is_lost(columns: int, tmp_path: Path) -> None:
    document = full()
    document["description"] = "well-known words " * 100
    document["edits"][0]["module"] = ".".join(["part"] * 100)
    document["results"]["reported"]["source"] = "s" * 1000
    file = written(tmp_path / "edit.json", document)
    lines = on_a_terminal(file, columns)
    assert max(map(len, lines)) <= columns
    assert max(map(len, lines)) > columns - 10
    piped = run("show", file).stdout
    assert "".join("".join(lines).split()) == "".join(piped.split())


def test_a_manifest_of_the_usual_kind_needs_no_wrapping_at_80_columns() -> None:
    for name in ("empty.json", "two_matrices.json"):
        assert on_a_terminal(EDIT_1 / name, 80) == run("show", EDIT_1 / name).stdout.splitlines()


def test_show_reports_the_model_and_measures_time_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "median_seconds", functools.partial(footprint.median_seconds, seconds=0.0))
    base = save_checkpoint(tmp_path / "gpt2", "gpt2")
    edit = recorded(base, ("U_in", 1, 2, 0.2), ("W_o", 0, 1, 0.1)).write(tmp_path / "edit.json")
    done = run_here("show", edit, "--model", base, "--time")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index(f"model {base}")
    numbers = sum(parameter.numel() for parameter in tiny_model("gpt2").parameters())
    # 2 blocks of 24 x 32 at rank 4, and one of 32 x 32 at rank 3.
    kept = numbers - (48 * 32 - 2 * 4 * (24 + 32)) - (32 * 32 - 3 * 64)
    assert lines[start + 1].split(maxsplit=1)[1].endswith(f"% kept with factorize=true, {kept:,} of {numbers:,}")
    assert lines[start + 2].split(maxsplit=1)[1] == f"{4 * kept:,} of {4 * numbers:,} bytes as stored"
    start = next(number for number, line in enumerate(lines) if line.startswith("time on this CPU, "))
    assert [line.split(": ")[1] for line in lines[start + 1 :]] == [
        *["transformer.h.1.mlp.c_fc, random"] * 2,
        *["transformer.h.0.attn.c_proj, random"] * 2,
        *["the whole model"] * 2,
    ]
    assert [line.split(" ms")[0].split()[:2] for line in lines[start + 1 :]] == [["1", "token"], ["64", "tokens"]] * 3
