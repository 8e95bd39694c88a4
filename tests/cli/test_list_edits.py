"""``cti-edits ls``."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cti_edits.artifact.manifest import load
from cti_edits.artifact.records import Measurement, Results
from cti_edits.cli import app
from cti_edits.paths import folder
from tests.support.edits import EDIT_2

SHIPPED = folder("edits")


def listed(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["ls", *words])
    return result.exit_code, result.stdout, result.stderr


def test_every_shipped_edit_has_a_line_of_its_own() -> None:
    code, out, err = listed()
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert sorted(lines) == sorted(path.stem for path in SHIPPED.glob("*.json"))
    line = lines["gptj_fever"].split()
    assert line[1:8] == [
        "cti_fever",
        "EleutherAI/gpt-j-6b",
        "U_out",
        "6",
        "0.1",
        "4",
        load(SHIPPED / "gptj_fever.json").digest()[:12],
    ]
    assert lines["gptj_fever"].endswith("50.2 → 53.3 % (reported)")
    assert lines["gptj_truthfulqa"].split()[3] == "none"
    # The longest name is whole: nothing is cut where the output is not a terminal.
    assert "roberta_epistemic_reasoning.cl-100g-se  cti_epistemic_reasoning" in out


def test_directions_and_a_plugin_s_method_have_neither_a_share_nor_blocks(tmp_path: Path) -> None:
    for name in ("directions", "plugin", "mixed"):
        (tmp_path / f"{name}.json").write_bytes((EDIT_2 / f"{name}.json").read_bytes())
    code, out, err = listed(str(tmp_path), "--no-shipped")
    assert (code, err) == (0, "")
    rows = {Path(line.split()[0]).stem: line.split()[1:5] for line in out.splitlines()[1:]}
    digests = {name: load(EDIT_2 / f"{name}.json").digest()[:12] for name in rows}
    assert rows["directions"] == ["example/tiny-llama", "U_out", "2", digests["directions"]]
    assert rows["plugin"] == ["example/tiny-llama", "W_o", "1", digests["plugin"]]
    assert rows["mixed"][:3] == ["example/tiny-llama", "2", "matrices"]


def test_columns_stand_under_their_headings() -> None:
    lines = listed()[1].splitlines()
    start = lines[0].index("digest")
    assert all(line[start - 2 : start] == "  " and line[start + 12] == " " for line in lines[1:])


def test_a_folder_is_listed_after_the_shipped_ones(tmp_path: Path) -> None:
    edit = load(SHIPPED / "gptj_fever.json")
    measured = Measurement(n=10, baseline=0.5, edited=0.6, majority_class=0.5)
    dataclasses.replace(edit, name="mine", results=Results(measured, None), edits=(edit.edits[0],)).write(
        tmp_path / "mine.json"
    )
    other = dataclasses.replace(edit.edits[0], layer=7, module="transformer.h.7.mlp.fc_out")
    dataclasses.replace(
        edit,
        name="two",
        task=None,
        results=Results(measured, dataclasses.replace(measured, edited=0.4)),
        edits=(*edit.edits, other),
    ).write(tmp_path / "two.json")
    code, out, _ = listed(str(tmp_path))
    assert code == 0
    assert len(out.splitlines()) == 1 + 48 + 2
    mine, two = out.splitlines()[-2:]
    assert mine.startswith(str(tmp_path / "mine.json"))
    assert mine.endswith("50.0 → 60.0 % (measured on rows that chose it: flattered)")
    assert "2 matrices" in two
    assert two.endswith("50.0 → 40.0 % (measured, test)")
    judged = dataclasses.replace(measured, ci95=(-0.1, 0.3), p_value=0.4)
    dataclasses.replace(edit, results=Results(measured, judged)).write(tmp_path / "two.json")
    assert listed(str(tmp_path))[1].splitlines()[-1].endswith("50.0 → 60.0 % (measured, test: no evidence)")
    few = Results(measured, None, confirmation=dataclasses.replace(measured, edited=0.5))
    dataclasses.replace(edit, results=few).write(tmp_path / "two.json")
    assert (
        listed(str(tmp_path))[1].splitlines()[-1].endswith("50.0 → 50.0 % (measured on rows that chose it among few)")
    )
    dataclasses.replace(edit, results=Results(measured, None), edits=(*edit.edits, other)).write(tmp_path / "two.json")
    alone = listed(str(tmp_path), "--no-shipped")[1]
    assert len(alone.splitlines()) == 3
    assert listed(str(SHIPPED))[1] == listed()[1]


def test_an_invalid_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema_version": 1, "name": "x", "name": "y"}')
    (tmp_path / "b.json").write_bytes((SHIPPED / "gptj_fever.json").read_bytes())
    (tmp_path / "c.json").mkdir()
    code, out, err = listed(str(tmp_path), "--no-shipped")
    assert code == 2
    assert "b.json" in out
    assert "cti_fever" in out
    errors = err.splitlines()
    assert len(errors) == 2
    assert "a.json" in errors[0]
    assert "given twice" in errors[0]
    assert "c.json" in errors[1]


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    code, out, _ = listed(str(tmp_path), "--no-shipped")
    assert code == 0
    assert out == f"{tmp_path}: no edits here\n"
    result = subprocess.run(
        [sys.executable, "-c", "from cti_edits.cli import main; main()", "ls", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "expected a folder" in result.stderr


HOSTILE = "[bold red]\u202e\u009b31m[/] x"


@pytest.mark.parametrize("terminal", [False, True])
def test_text_from_a_manifest_is_shown_and_not_obeyed(tmp_path: Path, terminal: bool) -> None:
    document = json.loads((SHIPPED / "gptj_fever.json").read_text(encoding="utf-8"))
    document["base_model"]["id"] = HOSTILE.replace("\u009b", "")
    document["task"]["name"] = "[link=http://example.org]task[/link]"
    (tmp_path / "h\x1b[31m.json").write_text(json.dumps(document), encoding="utf-8")
    out = in_a_terminal(tmp_path) if terminal else listed(str(tmp_path), "--no-shipped")[1]
    assert "\u202e" not in out
    assert "h\x1b[31m" not in out
    assert "example.org" in out
    assert "]8;" not in out
    if not terminal:
        assert "[bold red]" in out
        assert "[link=http://example.org]task[/link]" in out
        assert "h\\x1b[31m.json" in out
        assert "\x1b" not in out


def in_a_terminal(folder: Path, columns: int = 200) -> str:
    """What ``ls`` writes to a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    command = [sys.executable, "-c", "from cti_edits.cli import main; main()", "ls", str(folder), "--no-shipped"]
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_a_narrow_terminal_gets_each_edit_in_lines_of_its_own(tmp_path: Path) -> None:
    name = "gptj_epistemic_reasoning.cl-100g-se.json"
    (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    out = in_a_terminal(tmp_path, 60)
    assert out.splitlines() == [
        str(tmp_path / name),
        "  task cti_epistemic_reasoning, model EleutherAI/gpt-j-6b,",
        f"  matrix U_in, layer 7, ρ 0.005, K 4, digest {load(SHIPPED / name).digest()[:12]},",
        "  accuracy 37.1 → 62.3 % (reported)",
    ]


def test_listing_needs_no_torch() -> None:
    script = (
        "import sys\nfrom cti_edits.cli import main\nsys.argv = ['cti-edits', 'ls']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'lm_eval'} & set(sys.modules), 'heavy imports'\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
