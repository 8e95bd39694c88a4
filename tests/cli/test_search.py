"""The command ``cti-edits search``, on a tiny model."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.artifact.records import DatasetRecord, TaskRecord
from cti_edits.paths import folder
from tests.conftest import Run
from tests.support.command import started
from tests.support.pages_of_html import read
from tests.support.refusals import refused_line

CAPITALS_SHA256 = hashlib.sha256((folder("tasks") / "capitals" / "capitals.jsonl").read_bytes()).hexdigest()
SMALL = ("--samples", "6", "--top-q", "1", "--clusters", "1,4", "--rates", "0.5,0.1", "--device", "cpu")


def _search(run: Run, llama: Path, output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(
        "cti-edits", "search", "--task", "capitals", "--model", str(llama), "--output", str(output), *SMALL,
        "--no-report", *words,
    )  # fmt: skip


@pytest.fixture(scope="module")
def new_process(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The command as a shell runs it, with every import, and another seed of Python's hashes; and what it writes."""
    place = tmp_path_factory.mktemp("new_process")

    def run(command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", command.replace("-", "_"), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=place, timeout=300, check=False,
        )  # fmt: skip

    output = place / "deep" / "edit.json"
    return _search(run, llama, output, "--seed", "3", "--report"), output


def test_it_writes_a_valid_edit_and_says_where(new_process: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, output = new_process
    assert done.returncode == 0, done.stderr
    edit = load(output)
    assert edit.search is not None
    assert edit.search.candidates == 4
    dataset = DatasetRecord("capitals.jsonl", f"sha256:{CAPITALS_SHA256}", "validation")
    assert edit.task == TaskRecord("cti_capitals", dataset, "acc")
    assert done.stdout.splitlines()[-2:] == [f"wrote {output}", f"wrote {output.with_suffix('.html')}"]
    assert "unedited" in done.stdout
    # Not a terminal: a quiet line a phase, no bar.
    lines = [line for line in done.stderr.splitlines() if " of " in line]
    found = ["decompositions", "gradients", "evaluations", "test part"]
    assert [line.split(":")[0] for line in lines] == found + ["random control"] * bool(edit.edits)
    assert "\x1b" not in done.stdout + done.stderr
    assert not any("%|" in line for line in done.stderr.splitlines())


def test_the_page_beside_the_edit_has_what_the_search_knows(
    new_process: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    page = read(new_process[1].with_suffix(".html").read_text("utf-8"))
    assert {"accuracy", "scores", "tried", "sigma"} <= set(page.figures)
    assert "4 candidates were evaluated to the end" in page.text or "could not win any more" in page.text


def test_the_same_seed_gives_the_same_file(
    run_command: Run, new_process: tuple[subprocess.CompletedProcess[str], Path], llama: Path, tmp_path: Path
) -> None:
    assert _search(run_command, llama, tmp_path / "edit.json", "--seed", "3").returncode == 0
    # Where no page is asked for, there is none.
    assert {file.name for file in tmp_path.iterdir()} == {"edit.json", "edit.search.jsonl"}
    first, second = (
        {**json.loads(path.read_text()), "provenance": None} for path in (tmp_path / "edit.json", new_process[1])
    )
    assert json.dumps(first) == json.dumps(second)


def test_ctrl_c_leaves_no_partial_file(commands: Path, llama: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "edit.json"
    output.parent.mkdir()
    output.write_text("the former file")
    words = (
        "search", "--task", "capitals", "--model", str(llama), "--output", str(output), "--samples", "37",
        "--device", "cpu", "--preset", "cl-100g-100e",
    )  # fmt: skip
    with started(commands, "from cti_edits.cli import main; main()", tmp_path, *words) as (process, number):
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("gradients:"):
                break
        time.sleep(0.5)
        os.kill(number, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    log = output.with_name("edit.search.jsonl")
    assert said.splitlines()[-1] == f"interrupted; {log} has what is finished, and the same command goes on there"
    assert {path.name for path in output.parent.iterdir()} == {"edit.json", log.name}
    assert output.read_text() == "the former file"


def test_a_task_that_is_not_there_gets_the_nearest_name(run_command: Run, llama: Path, tmp_path: Path) -> None:
    done = _search(run_command, llama, tmp_path / "edit.json", "--task", "capitls")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "cti-edits: error: no task is called 'capitls'; did you mean cti_capitals?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "38"], "cti_capitals: --samples: expected at most 37, the rows of its validation part, got 38"),
        (["--samples", "0"], "--samples: expected 1 or more, got 0"),
        (["--top-q", "0"], "--top-q: expected 1 or more, got 0"),
        (["--clusters", "1,two"], "--clusters: expected whole numbers joined by commas, got '1,two'"),
        (["--clusters", "0"], "--clusters: expected 1 or more, got 0"),
        (["--clusters", "33"], "expected clusters from 1 to 32 (the number of rows), got 33"),
        (["--rates", "1.5"], "--rates: expected above 0 and at most 1, got 1.5"),
        (["--matrices", "U_inn"], "the llama family has no matrix 'U_inn', perhaps 'U_in'"),
        (["--batch-size", "0"], "--batch-size: expected 1 or more, or auto, got '0'"),
        (["--model", "no/where"], "cannot load the model 'no/where'"),
        (["--output", "."], ".: expected the name of a file to write, got something that is no regular file"),
        (["--output", "/dev/null/x.json"], "/dev/null/x.json: cannot write here"),
        (["--model", ""], "--model: expected a hub id or a checkpoint folder, got nothing"),
        (["--model", "/no/such/folder"], "--model: /no/such/folder: no such folder"),
        (["--device", "quux"], "device: expected cpu, cuda, cuda:0 or mps, got 'quux'"),
        (["--dtype", "floaty"], "--dtype: expected auto, float32, bfloat16, float16, float64, got 'floaty'"),
        (["--model-args", "parallelize=True"], "--model-args: parallelize has an option of its own here, or no place"),
        (["--seed", "many"], "Invalid value for '--seed'"),
        (["--method", "direction"], "--method: no method is called 'direction'; did you mean directions?"),
        (["--method", "directions"], "--clusters: expected one K for directions, got 1, 4"),
        (["--directions", "0"], "--directions: expected 1 to 10,000, got 0"),
        (["--directions", "many"], "--directions: expected whole numbers joined by commas, got 'many'"),
        (["--drops", "0.1,0"], "--drops: expected above 0 and at most 1000, got 0.1, 0.0"),
        (["--drops", "nan"], "--drops: expected above 0 and at most 1000, got nan"),
        (["--epochs", "1001"], "--epochs: expected 0 to 1000, got 1001"),
        (["--test-rows", "0"], "--test-rows: expected a number from 1, all or none, got '0'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str],
    message: str,
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"--task": "capitals", "--model": str(llama), "--output": str(tmp_path / "edit.json")}
    given |= dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | dict(zip(words[::2], words[1::2], strict=True))
    line = refused_line(["search", *(word for pair in given.items() for word in pair)], monkeypatch, capsys)
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_rows_of_ones_own(
    run_command: Run, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "animals.jsonl"
    lines = [{"prompt": f"the {one} says", "answer": one[::-1]} for one in ("cat", "dog", "owl", "cow", "pig") * 4]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("--data", str(rows), "--model", str(llama), "--output", str(tmp_path / "mine.json"), *SMALL, "--no-report")
    done = run_command("cti-edits", "search", *words)
    assert done.returncode == 0, done.stderr
    edit = load(tmp_path / "mine.json")
    assert edit.name == "llama_animals"
    assert edit.results.test is not None
    # Fourteen are left, and ten of them say what one that was drawn says.
    assert edit.results.test.n == 4
    rows.write_text(rows.read_text() + json.dumps({"prompt": "the hen says", "anser": "neh"}))
    line = refused_line(("search", *words), monkeypatch, capsys)
    assert line == f"cti-edits: error: {rows}: line 21: expected answer, or choices and gold, got neither"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--task: expected the name of a task, or rows of your own in its place (--data)"),
        (("--task", "fever", "--data", "x.jsonl"), "--task: expected it or rows of your own, got both (--data)"),
        (("--task", "fever", "--test-data", "x.jsonl"), "--test-data: only together with --data"),
    ],
)
def test_a_task_or_rows_but_one_of_them(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused_line(("search", *words), monkeypatch, capsys) == f"cti-edits: error: {message}"


@pytest.mark.parametrize(
    ("preset", "words", "phases", "tried"),
    [
        ("sigma-step", ("--directions", "4,16", "--drops", "0.3,1"), ["decompositions", "gradients", "evaluations"], 4),
        (
            "sigma-fit",
            ("--directions", "4,16", "--epochs", "2"),
            ["decompositions", "gradients", "cross-validation", "fitting", "evaluations"],
            1,
        ),
    ],
)
def test_directions(
    run_command: Run, llama: Path, tmp_path: Path, preset: str, words: tuple[str, ...], phases: list[str], tried: int
) -> None:
    output = tmp_path / "edit.json"
    done = run_command(
        "cti-edits", "search", "--task", "capitals", "--model", str(llama), "--preset", preset, "--samples", "8",
        "--no-report", "--output", str(output), *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines() if " of " in line] == [
        *phases,
        "test part",
        "random control",
        "other text",
    ]
    assert f"{tried} candidate{'' if tried == 1 else 's'} tried" in done.stdout
    document = json.loads(output.read_text())
    search = document["search"]
    assert (document["schema_version"], search["method"], search["directions"]) == (2, "directions", [4, 16])
    assert (search.get("epochs"), search.get("drops")) == ((None, [0.3, 1]) if tried == 4 else (2, None))
    assert document["edits"], "this model finds an edit"
    for command in (("validate", str(output)), ("show", str(output)), ("verify", str(output), "--model", str(llama))):
        done = run_command("cti-edits", *command)
        assert done.returncode == 0, done.stderr


def test_another_figure_than_accuracy_can_choose(run_command: Run, llama: Path, tmp_path: Path) -> None:
    done = _search(run_command, llama, tmp_path / "edit.json", "--metric", "nll", "--no-control")
    assert done.returncode == 0, done.stderr
    edit = load(tmp_path / "edit.json")
    assert edit.search is not None
    assert edit.search.selector == "nll"
    assert edit.results.control is None
    for words, message in (
        (("--metric", "balanced"), "metric: balanced accuracy is of tasks that have the same labels"),
        (("--metric", "nll", "--select", "best"), "--metric: nll says what chooses, and so does best (--select)"),
    ):
        refused = _search(run_command, llama, tmp_path / "other.json", *words)
        assert message in refused.stderr
        assert refused.stderr.count("cti-edits: error") == 1
        assert refused.returncode == 2


def test_the_best_are_compared_again_and_kept_to_a_limit_on_other_text(
    run_command: Run, llama: Path, tmp_path: Path
) -> None:
    text = tmp_path / "other.txt"
    text.write_text("The cat sat on the mat. " * 20)
    words = (
        "--seed",
        "5",
        "--confirm",
        "2",
        "--guard",
        str(text),
        "--max-kl",
        "1000",
        "--no-control",
        "--test-rows",
        "5",
    )
    done = _search(run_command, llama, tmp_path / "edit.json", *words)
    assert done.returncode == 0, done.stderr
    edit = load(tmp_path / "edit.json")
    assert edit.search is not None
    assert (edit.search.confirm, edit.search.max_kl) == (2, 1000)
    confirmation, guard = edit.results.confirmation, edit.results.guard
    assert confirmation is not None
    assert confirmation.n == 6
    assert edit.edits, "this model finds an edit"
    assert guard is not None
    assert guard.text.startswith("other.txt, sha256 ")
    shown = run_command("cti-edits", "show", str(tmp_path / "edit.json")).stdout
    for heading in ("test part: 5 examples", "other text     KL ", "confirmation: 6 examples"):
        assert heading in done.stdout
        assert heading in shown
    assert "* chosen among these by 6 fresh rows" in done.stdout
    for more, message in (
        (("--guard", "none"), "--max-kl: there is no other text to keep to it on; name one (--guard)"),
        (("--guard", "none.txt"), "--guard: none.txt: no such file"),
        (("--samples", "37"), "--confirm: cti_capitals: its validation part has 37 rows, and none that was not drawn"),
        (("--compose", "2"), "--max-kl: not together with several edits (--compose)"),
    ):
        refused = _search(run_command, llama, tmp_path / "other.json", *words, *more)
        assert message in refused.stderr
        assert refused.stderr.count("cti-edits: error") == 1
        assert refused.returncode == 2


def test_rows_that_are_all_drawn_leave_an_estimate_without_the_choice(
    run_command: Run, llama: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "few.jsonl"
    lines = [{"prompt": f"the {one} says", "answer": one[::-1]} for one in ("cat", "dog", "owl", "cow", "pig")]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("--data", str(rows), "--model", str(llama), "--output", str(tmp_path / "mine.json"), *SMALL, "--no-report")
    done = run_command("cti-edits", "search", *words, "--samples", "9")
    assert done.returncode == 0, done.stderr
    assert "not measured on rows that the search did not see: few: its test part has no rows" in done.stderr
    assert "BBC-CV: " in done.stdout
    results = load(tmp_path / "mine.json").results
    assert results.test is None
    assert results.bbc_cv is not None
    assert results.bbc_cv.n == 5


def test_edits_are_composed(run_command: Run, llama: Path, tmp_path: Path) -> None:
    done = _search(run_command, llama, tmp_path / "edit.json", "--compose", "2", "--test-rows", "5")
    assert done.returncode == 0, done.stderr
    shown = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("edit ")]
    edit = load(tmp_path / "edit.json")
    assert shown == [f"edit {number}" for number in range(1, len(edit.edits) + 1)]
    assert edit.results.test is not None
    refused = _search(run_command, llama, tmp_path / "other.json", "--compose", "0")
    assert refused.stderr == "cti-edits: error: --compose: expected 1 to 1000, got 0\n"
