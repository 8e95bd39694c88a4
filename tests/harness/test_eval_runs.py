"""Files of lm-eval runs: the newest counts, and whatever is wrong with one is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.comparison import compare_runs
from cti_edits.harness.eval_runs import read_run, read_runs, right_or_wrong
from tests.support.eval_runs import EDIT, LATER, TIME, refusal, results_file, samples_file, write_run


def edits(folder: Path) -> dict[str, str]:
    return {task: str(read_run(task, path).edit) for task, path in read_runs(folder).items()}


def test_the_newest_run_counts(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0])
    write_run(base, [1, 1], time=LATER)
    (path,) = read_runs(base).values()
    assert LATER in path.name


def test_the_edit_is_that_of_the_samples_own_run(tmp_path: Path) -> None:
    edited = write_run(tmp_path / "edited", [1, 1], edit={"name": "first", "digest": "d"})
    write_run(edited, [1, 1], time=LATER, edit={"name": "second", "digest": "e"}, task="cti_boolq")
    both = {"cti_fever": "first, digest d", "cti_boolq": "second, digest e"}
    assert edits(edited) == both
    # A later run without samples says nothing about these.
    (edited / "model" / "results_2026-03-01T00-00-00.000000.json").write_text("{}")
    assert edits(edited) == both
    # Results of another time belong to another run, even if they are the only ones.
    (edited / "model" / f"results_{TIME}.json").unlink()
    assert edits(edited) == {**both, "cti_fever": "None"}


def test_results_of_an_output_path_that_names_a_file(tmp_path: Path) -> None:
    edited = write_run(tmp_path / "edited", [1, 1], edit=EDIT)
    results_file(edited).rename(edited / "model" / f"mine_{TIME}.json")
    assert edits(edited) == {"cti_fever": "n\\x1b[31m, digest d"}


def test_filters_and_metrics_of_the_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0, 1], filter="strict", f1=0.5, acc_norm=1.0)
    path = samples_file(folder)
    path.write_text(path.read_text() + path.read_text().replace("strict", "flexible"))
    run = read_run("cti_fever", path)
    assert list(run.rows) == ["strict", "flexible"]
    assert dict(run.rows["strict"][1].metrics) == {"acc": 1.0, "f1": 0.5, "acc_norm": 1.0}
    assert right_or_wrong(list(run.rows["strict"].values())) == ["acc", "acc_norm"]


def test_hashes_of_the_rows_that_a_search_saw(tmp_path: Path) -> None:
    hashes = "0" * 12 + "a" * 12
    folder = write_run(tmp_path, [1], edit={"name": "n", "digest": "d", "metric": "acc", "row_hashes": hashes})
    edit = read_run("cti_fever", samples_file(folder)).edit
    assert edit is not None
    assert edit.row_hashes == {"0" * 12, "a" * 12}
    assert edit.metric == "acc"


GOOD = {"doc_id": 7, "doc_hash": "h7", "target": "x"}


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


def test_a_folder_without_samples(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="run it with --log_samples --output_path"):
        compare_runs([tmp_path, tmp_path])
