"""Every command and every ``--help`` under encodings that have few characters, as under UTF-8."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cti_edits.paths import folder
from tests.conftest import Run
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model

ENCODINGS = ("utf-8", "ascii", "cp1252")
TIME = "2026-01-01T00-00-00.000000"

# Runs main once for each list of words, in one process.
PROGRAM = """
import json, sys, traceback
from cti_edits.cli import app, main
import typer.main

def every(command, words):
    yield words
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from every(inner, [*words, name])

asked, answers = json.loads(sys.argv[1]), []
if asked == "help":
    asked = [[*words, "--help"] for words in every(typer.main.get_command(app), [])]
for words in asked:
    sys.argv = ["cti-edits", *words]
    try:
        main()
    except SystemExit as stop:
        answers.append([" ".join(words), stop.code])
    except BaseException:
        answers.append([" ".join(words), traceback.format_exc()])
    sys.stdout.flush()
json.dump(answers, open("answers.json", "w"))
"""


def commands_run(commands: Path, asked: object, encoding: str, place: Path) -> tuple[dict[str, int | str], str]:
    """Exit code of each command, or the traceback, and what was printed; that fails where it is no such text."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [commands / "run-python-file", "program.py", json.dumps(asked)],
        capture_output=True,
        cwd=place,
        env={**os.environ, "PYTHONIOENCODING": encoding, "XDG_CACHE_HOME": str(place / "cache"), "COLUMNS": "80"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr, done.stderr
    return dict(json.loads((place / "answers.json").read_text())), done.stdout.decode(encoding)


def samples(place: Path, right: list[int], edit: object = None) -> Path:
    """What ``lm_eval --output_path --log_samples`` leaves."""
    (place / "model").mkdir(parents=True)
    rows = [
        {
            "doc_id": i, "doc_hash": f"d{i}", "prompt_hash": f"p{i}", "target_hash": f"t{i}", "target": f"{i % 2}",
            "filter": "none", "metrics": ["acc"], "acc": float(acc),
        }
        for i, acc in enumerate(right)
    ]  # fmt: skip
    (place / "model" / f"samples_cti_fever_{TIME}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "model" / f"results_{TIME}.json").write_text(json.dumps({"config": {"edit": edit}}))
    return place


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, edits of it with names of many letters, and two runs of lm-eval."""
    place = tmp_path_factory.mktemp("inputs")
    save_checkpoint(place / "llama", "llama")
    model = tiny_model("llama")
    for name, place_in_model in (("ρ", ("U_in", 1, 2, 0.2)), ("b", ("U_out", 0, 4, 0.1))):
        edit_of(model, place_in_model, base_id=str(place / "llama"), name="edit").write(place / f"{name}.json")
    samples(place / "base", [0, 1, 0, 0])
    samples(place / "edited", [1, 1, 1, 0], {"name": "n", "digest": "d"})
    return place


def real_commands(inputs: Path) -> list[list[str]]:
    a, b, model = str(inputs / "ρ.json"), str(inputs / "b.json"), str(inputs / "llama")
    gptj = str(folder("edits") / "gptj_fever.json")
    return [
        ["ls", str(inputs)],
        ["plugins"],
        ["architectures", "--json"],
        ["architectures", "./σ"],
        # What it finds takes seconds each time, and is its own tests'.
        ["doctor", "--ρ"],
        ["presets"],
        ["cost", "--preset", "cl-100g-100e", "--dataset-size", "1000", "--layers", "28"],
        ["show", a],
        ["show", a, "--model", model],
        ["show", gptj],
        ["show", "nowhere/ρ.json"],
        ["report", a, "--output", "page.ρ.html"],
        ["gallery", str(inputs), "--output", "gallery.ρ.html"],
        ["validate", a, b, gptj, str(inputs)],
        ["verify", a],
        ["verify", a, "--model", "./σ"],
        ["compose", a, b, "-o", "both.ρ.json"],
        ["diff", a, b],
        ["diff", a, a],
        ["compare", str(inputs / "base"), str(inputs / "edited")],
        ["tasks-path"],
        ["search", "--task", "capitals", "--model", model, "--device", "cpu", "--output", "found.ρ.json",
         "--samples", "6", "--top-q", "1", "--clusters", "1,4", "--rates", "0.5", "--no-report"],
        ["search", "--task", "capitals", "--rates", "≥"],
        ["study", "partition", "--task", "capitals", "--model", model, "--device", "cpu", "--output", "studies.ρ",
         "--samples", "6", "--test-rows", "6", "--top-q", "1", "--clusters", "2", "--rates", "0.5"],
        ["reproduce", a],
        ["cache", "ls"],
        ["cache", "clear"],
        ["export", a, "--out", "checkpoint.ρ"],
        ["push", gptj, "owner/name", "--dry-run", "shared.ρ"],
        ["pull", "ρ"],
        ["pack", str(inputs / "packed" / "ρ.json")],
        ["unpack", str(inputs / "packed" / "ρ.json")],
        ["demo-model", "/dev/null/ρ"],
        ["eval", "--limit", "ρ"],
    ]  # fmt: skip


def test_every_command_ends_as_under_utf_8(inputs: Path, commands: Path, tmp_path: Path) -> None:
    (inputs / "packed").mkdir()
    (inputs / "packed" / "ρ.json").write_bytes((inputs / "ρ.json").read_bytes())
    asked = real_commands(inputs)
    codes, shown = commands_run(commands, asked, "utf-8", tmp_path / "utf-8")
    assert set(codes.values()) <= {0, 1, 2}, codes
    assert codes["presets"] == codes["tasks-path"] == codes[" ".join(asked[0])] == 0
    assert "ρ" in shown
    for encoding in ENCODINGS[1:]:
        others, text = commands_run(commands, asked, encoding, tmp_path / encoding)
        assert others == codes
        assert "rho" in text
        assert "->" in text
        assert len(text.splitlines()) == len(shown.splitlines())
        assert r"\u" not in text.replace(r"\u03c1.json", "").replace(r"\u03c1", "")


def test_every_command_is_among_them(inputs: Path) -> None:
    from typer.main import get_command

    from cti_edits.cli import app

    names = sorted(getattr(get_command(app), "commands"))  # noqa: B009 (not every kind of command has them)
    assert names == sorted({words[0] for words in real_commands(inputs)})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_help_is_shown(encoding: str, commands: Path, tmp_path: Path) -> None:
    codes, text = commands_run(commands, "help", encoding, tmp_path)
    assert set(codes.values()) == {0}, codes
    assert {"--help", "search --help", "cache ls --help", "eval --help"} <= set(codes)
    assert "--top-q" in text
    # lm-eval's own help comes after what is otherwise here: its default for --model is another.
    assert text.index("--model is cti") < text.index("Model name (default: hf)")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_on_a_terminal(encoding: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "cti_edits", "presets"], stdout=theirs, env=environment)
    os.close(theirs)
    read = b""
    while True:
        try:
            read += os.read(ours, 100_000)
        except OSError:
            break
    os.close(ours)
    assert process.wait(60) == 0
    text = read.decode(encoding)
    assert ("ρ = 0.9" if encoding == "utf-8" else "rho = 0.9") in text
    assert r"\u" not in text


def test_the_columns_stay_under_their_headings() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "cti_edits", "ls"], capture_output=True, text=True, env=environment, check=True
    )
    heading, *rows = done.stdout.splitlines()
    assert {row[heading.index("accuracy") - 1] for row in rows} == {" "}
    assert " " not in {row[heading.index("accuracy")] for row in rows}


def test_the_table_of_the_lm_eval_command(inputs: Path, run_command: Run) -> None:
    """It has arrows and plus-minus signs, and is printed after hours perhaps."""
    done = run_command(
        "lm_eval", "--model", "cti", "--model_args", f"edit={inputs / 'ρ.json'}",
        "--tasks", "cti_capitals", "--include_path", str(folder("tasks")), "--limit", "1", PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "+-" in done.stdout
