"""Searches of tiny models, run again from their manifests."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import Edit, load
from cti_edits.errors import EditError
from cti_edits.harness.own_rows import read_own_rows
from cti_edits.paths import folder
from cti_edits.search.reproduce import NotRecorded, reproduce
from tests.support.command import run_here
from tests.support.small_tasks import write_task
from tests.support.tiny_models import save_checkpoint

CUTS = ("--rates", "0.5", "--matrices", "U_in")
SEARCHES = {
    "by default, asked with examples": (
        "--directions", "4", "--drops", "0.3,1", "--samples", "6", "--num-fewshot", "2", "--system-instruction",
        "Answer.", "--model-args", "add_bos_token=True,max_length=200",
    ),
    "composed, in k-means blocks": (
        "--samples", "5", "--clusters", "2", "--rates", "0.5,0.1", "--top-q", "2", "--partition", "k-means",
        "--compose", "2", "--select", "nll",
    ),
    "confirmed, with a limit on other text": (
        "--preset", "cl-100g-100e", "--samples", "5", "--confirm", "2", "--max-kl", "3", "--clusters", "1", *CUTS,
    ),
    "drawn for the gradients alone": ("--preset", "laser-100g-se", "--samples", "4", *CUTS),
}  # fmt: skip
"""What stays in `make test`; the rest takes long."""
MORE = {
    "all of the validation part": ("--preset", "laser", *CUTS),
    "gradients on more than the evaluations": ("--preset", "laser-grads-se", *CUTS),
    "the last rows": ("--preset", "cl-100g-100e", "--samples", "10", *CUTS),
    "fitted factors": ("--preset", "sigma-fit", "--samples", "6", "--directions", "4", "--epochs", "1"),
    "no rows apart": ("--samples", "6", "--directions", "4", "--drops", "1", "--test-rows", "none"),
    "few rows apart": ("--samples", "6", "--directions", "4", "--drops", "1", "--test-rows", "4", "--no-control"),
    "lm-eval evaluates": ("--samples", "6", "--directions", "4", "--drops", "1", "--evaluator", "reference"),
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tasks")
    write_task(
        place,
        "animals",
        more='validation_split: validation\ndoc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\n',
    )
    return place


def found_by(place: Path, *words: str | Path) -> Edit:
    done = run_here("search", "--device", "cpu", "--output", place / "edit.json", *words)
    assert done.returncode == 0, done.stderr
    return load(place / "edit.json")


@pytest.mark.parametrize(
    "words",
    [
        *[pytest.param(words, id=name) for name, words in SEARCHES.items()],
        *[pytest.param(words, id=name, marks=pytest.mark.thorough) for name, words in MORE.items()],
    ],
)
def test_the_manifest_is_enough_for_the_same_bytes(
    words: tuple[str, ...], tasks: Path, llama: Path, tmp_path: Path
) -> None:
    edit = found_by(tmp_path, "--task", "animals", "--include-path", tasks, "--model", llama, *words)
    found = reproduce(edit, "edit.json", NotRecorded(include_path=str(tasks), device="cpu"))
    assert (found.grade, found.changed) == ("bytes", ())
    assert all(one.now == one.recorded for one in found.figures)


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", ["roberta", "t5"])
def test_other_kinds_of_models(model_type: str, tasks: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / model_type, model_type)
    words = ("--task", "animals", "--include-path", tasks, "--model", tmp_path / model_type, "--samples", "6")
    edit = found_by(tmp_path, *words, "--directions", "4", "--drops", "1")
    given = NotRecorded(include_path=str(tasks), device="cpu")
    assert reproduce(edit, "edit.json", given).grade == "bytes"


def test_rows_of_ones_own_are_given_again(llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"the {number}th one says", "answer": str(number)} for number in range(9)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit = found_by(tmp_path, "--data", file, "--model", llama, "--samples", "6", "--directions", "4", "--drops", "1")
    given = NotRecorded(rows=read_own_rows(file), device="cpu")
    assert reproduce(edit, "edit.json", given).grade == "bytes"
    # One row that the search drew says something else now.
    file.write_text("".join(json.dumps({**row, "answer": "other"}) + "\n" for row in rows))
    other = reproduce(edit, "edit.json", NotRecorded(rows=read_own_rows(file), device="cpu"))
    assert (other.grade, other.edit, other.figures) == ("not reproduced", None, ())
    assert [one.what for one in other.changed] == ["rows"]


def test_another_place_of_the_base_and_another_base(tasks: Path, llama: Path, tmp_path: Path) -> None:
    words = ("--samples", "6", "--directions", "4", "--drops", "1", "--test-rows", "4", "--no-control")
    edit = found_by(tmp_path, "--task", "animals", "--include-path", tasks, "--model", llama, *words)
    shutil.copytree(llama, tmp_path / "copy")
    given = NotRecorded(model=str(tmp_path / "copy"), include_path=str(tasks), device="cpu")
    found = reproduce(edit, "edit.json", given)
    assert found.grade == "winner"
    assert [one.what for one in found.changed] == ["base_model.id", "pretrained"]
    (changed,) = (one for one in edit.edits[:1])
    wrong = dataclasses.replace(edit, edits=(dataclasses.replace(changed, sha256="0" * 64), *edit.edits[1:]))
    refused = reproduce(wrong, "edit.json", given)
    assert (refused.grade, refused.edit) == ("not reproduced", None)
    assert refused.changed[0].what == f"base: {changed.module}"


def test_a_published_edit_has_no_search_to_run() -> None:
    edit = load(folder("edits") / "gptj_fever.json")
    with pytest.raises(EditError, match=r"^gptj_fever: records no search of this tool"):
        reproduce(edit, "gptj_fever")
