"""``cti-edits show``, run as a command."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
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


def test_show_tells_what_is_cut_and_what_is_kept(tmp_path: Path) -> None:
    lines = shown(full(), tmp_path)
    start = lines.index("edit of U_in, layer 0")
    assert [line.split(maxsplit=1) for line in lines[start + 1 : start + 6]] == [
        ["module", "model.layers.0.mlp.gate_proj"],
        ["shape", "50 rows x 32 columns"],
        ["rho", "0.25"],
        ["K", "4 row blocks"],
        ["ranks", "kept   4 x 3 of 2 x 13 + 2 x 12"],
    ]
    # Factors of rank 3: 3·(13 + 32)·2 + 3·(12 + 32)·2 = 534 numbers of 1600.
    assert [line[2:].split(maxsplit=1) for line in lines[start + 6 : start + 13]] == [
        ["parameters", "33.4 % kept with factorize=true, 534 of 1,600"],
        ["memory", "1,068 of 3,200 bytes in bfloat16"],
        ["energy", "50 to 100 % of each block's squared norm is retained"],
        ["tie", "singular values tie at the cut of blocks 1, 3: the truncation is not unique"],
        ["base", f"hash    {full()['edits'][0]['sha256']}"],
        ["of", "layers.0.mlp.gate_proj.weight, F32"],
        ["factors", "two-matrices.safetensors, 4,096 bytes"],
    ]
    assert "edit of U_out, layer 2" in lines
    assert f"digest         {load(EDIT_1 / 'every_field.json').digest()}" in lines


def test_show_says_when_the_base_is_not_verified(tmp_path: Path) -> None:
    lines = shown((EDIT_1 / "one_matrix.json").read_text(encoding="utf-8"), tmp_path)
    assert "  base hash    none: base not verified" in lines
    assert "  ranks kept   4 x 102 of 4 x 1024" in lines


def test_show_names_an_empty_edit(tmp_path: Path) -> None:
    lines = shown((EDIT_1 / "empty.json").read_text(encoding="utf-8"), tmp_path)
    assert "edits          none: the base model as it is" in lines


def test_accuracies_stand_beside_their_intervals_and_the_majority_class(tmp_path: Path) -> None:
    lines = shown(full(), tmp_path)
    start = lines.index("calibration: 100 examples; intervals are of 95 %")
    # Wilson intervals of 51 and of 57 of 100.
    assert lines[start + 1 : start + 7] == [
        "  base model   51.0 % (41.3 to 60.6 %)",
        "  edited       57.0 % (47.2 to 66.3 %)",
        "  majority     55.0 % by always giving the most frequent answer",
        "  difference   +6.0 points (-1.0 to +13.0), exact McNemar p = 0.109",
        "  NLL base     0.7500",
        "  NLL edited   0.7000",
    ]
    assert "test: 10000 examples; intervals are of 95 %" in lines


def test_reported_figures_are_marked_as_not_measured(tmp_path: Path) -> None:
    lines = shown((EDIT_1 / "one_matrix.json").read_text(encoding="utf-8"), tmp_path)
    start = lines.index("reported, not measured here")
    assert lines[start + 1].split(maxsplit=1) == ["source", "arXiv:2510.20800 table 7"]
    assert lines[start + 2].startswith("  base model   50.2 % (no interval")
    assert lines[start + 3].startswith("  edited       56.2 % (no interval")
    assert lines[start + 4].split(maxsplit=1) == ["majority", "share of the most frequent answer not given"]


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


def test_show_reports_the_model_and_measures_time_when_asked(tmp_path: Path) -> None:
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
