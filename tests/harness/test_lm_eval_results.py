from __future__ import annotations

import json
from pathlib import Path

import pytest

from cti_edits.cli.compare import compare
from cti_edits.errors import EditError
from cti_edits.harness.lm_eval_results import compare_runs
from tests.conftest import Run

NO_DIFFERENCE = "no difference is shown: the interval holds zero."
TIME = "2026-01-01T00-00-00.000000"
LATER = "2026-02-01T00-00-00.000000"
EDIT = {"name": "n\x1b[31m", "digest": "d"}


def write_run(
    folder: Path, right: list[int], time: str = TIME, edit: object = None, task: str = "cti_fever", **changes: object
) -> Path:
    """A folder as ``lm_eval --output_path`` leaves it."""
    inside = folder / "model"
    inside.mkdir(parents=True, exist_ok=True)
    rows = [
        {"doc_id": i, "doc_hash": f"h{i}", "target": " true" if i % 4 else " false", "acc": float(acc), **changes}
        for i, acc in enumerate(right)
    ]
    (inside / f"samples_{task}_{time}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    (inside / f"results_{time}.json").write_text(json.dumps({"config": {"edit": edit}}))
    return folder


def samples_file(folder: Path) -> Path:
    (path,) = folder.rglob("samples_*.jsonl")
    return path


def results_file(folder: Path) -> Path:
    (path,) = folder.rglob("results_*.json")
    return path


def refusal(baseline: Path, edited: Path) -> str:
    with pytest.raises(EditError) as error:
        compare_runs(baseline, edited)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_the_figures(tmp_path: Path) -> None:
    few, many = [1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0]
    base = write_run(tmp_path / "base", few)
    edited = write_run(tmp_path / "edited", many, edit=EDIT)
    comparison = compare_runs(base, edited)["cti_fever"]
    assert comparison.n == 8
    assert comparison.baseline[0] == 0.25
    assert comparison.edited[0] == 0.875
    assert comparison.difference == 0.625
    assert comparison.majority_class == 0.75
    assert comparison.p_value == 2 * 0.5**5
    assert comparison.verdict() == "the edit helps on these examples."
    assert comparison.edit == "n\\x1b[31m, digest d"
    worse = write_run(tmp_path / "worse", few, edit=EDIT)
    reverse = compare_runs(write_run(tmp_path / "good", many), worse)["cti_fever"]
    assert reverse.verdict() == "the edit hurts on these examples."
    same = compare_runs(base, base)["cti_fever"]
    assert same.verdict() == NO_DIFFERENCE


def test_the_newest_run_counts(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0])
    write_run(base, [1, 1], time=LATER)
    assert compare_runs(base, base)["cti_fever"].baseline[0] == 1.0


def test_the_edit_is_that_of_the_samples_own_run(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0])
    edited = write_run(tmp_path / "edited", [1, 1], edit={"name": "first", "digest": "d"})
    write_run(edited, [1, 1], time=LATER, edit={"name": "second", "digest": "e"}, task="cti_boolq")
    write_run(base, [0, 1], task="cti_boolq")
    compared = compare_runs(base, edited)
    assert compared["cti_fever"].edit == "first, digest d"
    assert compared["cti_boolq"].edit == "second, digest e"
    # A later run without samples says nothing about these.
    (edited / "model" / "results_2026-03-01T00-00-00.000000.json").write_text("{}")
    assert compare_runs(base, edited)["cti_fever"].edit == "first, digest d"
    # Results of another time belong to another run, even if they are the only ones.
    (edited / "model" / f"results_{TIME}.json").unlink()
    assert compare_runs(base, edited)["cti_fever"].edit is None


def test_results_of_an_output_path_that_names_a_file(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0])
    edited = write_run(tmp_path / "edited", [1, 1], edit=EDIT)
    results_file(edited).rename(edited / "model" / f"mine_{TIME}.json")
    assert compare_runs(base, edited)["cti_fever"].edit == "n\\x1b[31m, digest d"


def test_a_baseline_that_ran_an_edit_is_refused(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0])
    edited = write_run(tmp_path / "edited", [1, 1], edit=EDIT)
    message = refusal(edited, base)
    assert message.startswith("BASELINE ran the edit n\\x1b[31m, digest d (")
    assert "name the base model's run first" in message


def test_the_first_of_several_filters_counts(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0, 1], filter="strict")
    path = samples_file(base)
    # lm-eval writes a filter's rows after those of the filter before.
    flexible = path.read_text().replace("strict", "flexible").replace('"acc": 0.0', '"acc": 1.0')
    path.write_text(path.read_text() + flexible)
    assert compare_runs(base, base)["cti_fever"].baseline[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0.5, 2, -1, "1", [1], None, float("nan")])
def test_an_accuracy_between_right_and_wrong_is_refused(value: object, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    edited = write_run(tmp_path / "edited", [1, 1], acc=value)
    message = refusal(base, edited)
    assert str(samples_file(edited)) in message
    assert f"a metric 'acc' that is 0 or 1 for each example; on row 0 it is {value}" in message


GOOD = {"doc_id": 7, "doc_hash": "h7", "target": "x", "acc": 1.0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"doc_id": 7, "doc_ha', "expected a JSON object, got text that is cut off or no JSON; was the run killed?"),
        ("", "expected a JSON object, got text that is cut off or no JSON"),
        ("\udcff", "expected a JSON object, got text that is cut off or no JSON"),
        ("[" * 100_000, "expected a JSON object, got text that is cut off or no JSON"),
        ('{"doc_id": ' + "9" * 5000 + "}", "expected a JSON object, got text that is cut off or no JSON"),
        ("[1, 2]", "expected a JSON object, got [1, 2]"),
        ("null", "expected a JSON object, got null"),
        *(
            (json.dumps({key: value for key, value in GOOD.items() if key != field}), f"with the field '{field}'")
            for field in GOOD
        ),
        (json.dumps({**GOOD, "doc_id": "7"}), 'doc_id: expected a whole number, got "7"'),
        (json.dumps({**GOOD, "doc_id": None}), "doc_id: expected a whole number, got null"),
        (json.dumps({**GOOD, "doc_id": True}), "doc_id: expected a whole number, got true"),
        (json.dumps({**GOOD, "doc_id": [7]}), "doc_id: expected a whole number, got [7]"),
        (json.dumps({**GOOD, "doc_hash": 7}), "doc_hash: expected a text, got 7"),
    ],
)
def test_a_broken_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0])
    edited = write_run(tmp_path / "edited", [1, 0])
    path = samples_file(edited)
    path.write_text(path.read_text() + line + "\n", errors="surrogateescape")
    found = refusal(base, edited)
    assert found.startswith(f"{path}, line 3: ")
    assert message in found


def test_an_empty_samples_file(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [])
    assert refusal(base, base).startswith(f"{samples_file(base)}: expected a sample a line, the file is empty")


def test_a_samples_file_that_cannot_be_read(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1])
    path = samples_file(base)
    path.unlink()
    path.mkdir()
    assert refusal(base, base).startswith(f"{path}: cannot be read (")


def test_a_row_that_is_there_twice(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0])
    path = samples_file(base)
    path.write_text(path.read_text() * 2)
    assert refusal(base, base).startswith(f"{path}: row 1 is there twice")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"config": {"edit"', "expected a JSON object, got text that is cut off or no JSON"),
        ("", "expected a JSON object, got text that is cut off or no JSON"),
        ("[1]", "expected a JSON object, got [1]"),
        ('{"config": []}', "config: expected an object, got []"),
        ('{"config": {"edit": "n"}}', 'config.edit: expected an object with name and digest, got "n"'),
        ('{"config": {"edit": {"name": "n"}}}', "config.edit: expected an object with name and digest"),
    ],
)
def test_broken_results_are_named(text: str, message: str, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0])
    edited = write_run(tmp_path / "edited", [1, 0])
    results_file(edited).write_text(text)
    assert refusal(base, edited).startswith(f"{results_file(edited)}: {message}")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"right": [1, 1, 1]}, "cti_fever: the two runs saw other examples"),
        ({"right": [1, 1], "doc_hash": "x"}, "cti_fever: the two runs saw other examples"),
    ],
)
def test_runs_on_other_examples_are_refused(other: dict[str, object], message: str, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    edited = write_run(tmp_path / "edited", **other)  # type: ignore[arg-type]
    with pytest.raises(EditError, match=message):
        compare_runs(base, edited)


def test_a_folder_without_samples(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="run it with --log_samples --output_path"):
        compare_runs(tmp_path, tmp_path)


def test_only_tasks_in_common_are_read(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    write_run(base, [1], task="perplexity")
    (broken,) = base.rglob("samples_perplexity_*")
    broken.write_text("{}")
    edited = write_run(tmp_path / "edited", [1, 1], edit=EDIT)
    assert list(compare_runs(base, edited)) == ["cti_fever"]


def test_the_command(tmp_path: Path, run_python: Run) -> None:
    base = write_run(tmp_path / "base", [1, 0, 0, 0])
    edited = write_run(tmp_path / "edited", [1, 1, 0, 0], edit=EDIT)
    done = run_python("-m", "cti_edits", "compare", str(base), str(edited), COLUMNS="20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cti_fever: 4 examples, the same in both runs",
        "                      accuracy   95 % interval",
        "base model              25.0 %   4.6 to 69.9 %",
        "with the edit           50.0 %  15.0 to 85.0 %",
        "most frequent answer    75.0 %",
        f"difference +25.0 points, 95 % interval -32.0 to +65.5, exact McNemar p = 1: {NO_DIFFERENCE}",
        "edit: n\\x1b[31m, digest d",
    ]
    wrong = run_python("-m", "cti_edits", "compare", str(base), str(tmp_path / "nowhere"))
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


def test_the_command_says_that_no_edit_is_named(tmp_path: Path, run_python: Run) -> None:
    base = write_run(tmp_path / "base", [1, 0])
    done = run_python("-m", "cti_edits", "compare", str(base), str(base))
    assert done.returncode == 0, done.stderr
    assert "edit: none is named by the results of EDITED. That is so for an edited checkpoint" in done.stdout


def test_a_narrow_terminal_loses_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_run(tmp_path / "base", [1, 0, 0, 0], task="[red]\x07")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    compare(base, base)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[red]\\x07: 4 examples, the same in both runs"
    assert lines[2:4] == [
        "base model              25.0 %  4.6 to 69.9 %",
        "with the edit           25.0 %  4.6 to 69.9 %",
    ]
