from __future__ import annotations

import json
from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.lm_eval_results import compare_runs
from tests.conftest import Run


def write_run(folder: Path, right: list[int], time: str = "2026-01-01T00-00-00.000000", **changes: object) -> Path:
    """A folder as ``lm_eval --output_path`` leaves it."""
    inside = folder / "model"
    inside.mkdir(parents=True, exist_ok=True)
    rows = [
        {"doc_id": i, "doc_hash": f"h{i}", "target": " true" if i % 4 else " false", "acc": float(acc), **changes}
        for i, acc in enumerate(right)
    ]
    (inside / f"samples_cti_fever_{time}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    config = {"config": {"edit": {"name": "n\x1b[31m", "digest": "d"}}}
    (inside / f"results_{time}.json").write_text(json.dumps(config))
    return folder


def test_the_figures(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0, 0, 0, 1, 0, 0, 0])
    edited = write_run(tmp_path / "edited", [1, 1, 1, 1, 1, 1, 1, 0])
    comparison = compare_runs(base, edited)["cti_fever"]
    assert comparison.n == 8
    assert comparison.baseline[0] == 0.25
    assert comparison.edited[0] == 0.875
    assert comparison.difference == 0.625
    assert comparison.majority_class == 0.75
    assert comparison.p_value == 2 * 0.5**5
    assert comparison.verdict() == "the edit helps on these examples."
    assert comparison.edit == "n\\x1b[31m, digest d"
    reverse = compare_runs(edited, base)["cti_fever"]
    assert reverse.verdict() == "the edit hurts on these examples."
    same = compare_runs(base, base)["cti_fever"]
    assert same.verdict() == "no difference is shown: the interval holds zero."


def test_the_newest_run_counts(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0])
    write_run(base, [1, 1], time="2026-02-01T00-00-00.000000")
    assert compare_runs(base, base)["cti_fever"].baseline[0] == 1.0


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


def test_samples_without_accuracy(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    for path in base.rglob("samples_*"):
        path.write_text(path.read_text().replace('"acc"', '"exact_match"'))
    with pytest.raises(EditError, match="hold no 'acc'"):
        compare_runs(base, base)


def test_the_command(tmp_path: Path, run_python: Run) -> None:
    base = write_run(tmp_path / "base", [1, 0, 0, 0])
    done = run_python("-m", "cti_edits", "compare", str(base), str(base))
    assert done.returncode == 0, done.stderr
    assert "25.0 %" in done.stdout
    assert "most frequent answer" in done.stdout
    assert "\x1b" not in done.stdout
    wrong = run_python("-m", "cti_edits", "compare", str(base), str(tmp_path / "nowhere"))
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
