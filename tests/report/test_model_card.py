from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from cti_edits.artifact.manifest import BaseModel, Edit, load
from cti_edits.artifact.records import DatasetRecord, Reported, Results, TaskRecord
from cti_edits.report.model_card import model_card
from tests.support.edits import DATA, EDIT_1, EDIT_2, SEARCH, cuts

TWO = load(Path(__file__).parents[1] / "data" / "edit-1" / "two_matrices.json")


def front_matter(card: str) -> dict[str, Any]:
    start, front, _ = card.split("---\n", 2)
    assert start == ""
    return dict(yaml.safe_load(front))


def body(edit: Edit) -> str:
    return model_card(edit, "owner/name").split("---\n", 2)[2]


def test_the_front_matter() -> None:
    task = TaskRecord("cti_fever", DatasetRecord("o/data", "abc", "test"), "acc")
    front = front_matter(model_card(dataclasses.replace(TWO, task=task), "owner/name", "apache-2.0"))
    (index,) = front.pop("model-index")
    assert front == {
        "base_model": "example/tiny-llama",
        "base_model_relation": "adapter",
        "library_name": "cti-edits",
        "tags": ["cti-edits", "lm-evaluation-harness", "svd"],
        "datasets": ["o/data"],
        "license": "apache-2.0",
    }
    (result,) = index.pop("results")
    assert index == {"name": TWO.name}
    assert result["task"] == {"type": "text-generation", "name": "cti_fever"}
    assert result["dataset"] == {"name": "cti_fever", "type": "o/data", "split": "test", "revision": "abc"}
    test = TWO.results.test
    assert test is not None
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [
        ("accuracy", test.edited), ("accuracy", test.baseline), ("accuracy", test.majority_class)
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [{"task": None}, {"results": Results(calibration=TWO.results.test, test=None)}])
def test_what_was_not_measured_on_new_rows_is_not_in_the_index(changes: dict[str, Any]) -> None:
    assert "model-index" not in front_matter(model_card(dataclasses.replace(TWO, **changes), "owner/name"))


def test_the_matrices_of_every_method_are_in_tables() -> None:
    text = body(load(EDIT_2 / "every_field.json"))
    assert " It changes the matrices below, some of them by a method of a plugin. " in text
    assert "| `model.layers.0.mlp.gate_proj` | U_in | 0 | 50 × 32 | 4 | 0.25 | 3 of 12 to 13 | 33.4 % |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `model.layers") and " × " in line]
    assert rows[1:] == [
        "| `model.layers.2.mlp.down_proj` | U_out | 2 | 32 × 50 | directions | 4 directions, scale -2.25 to 1.5 |",
        "| `model.layers.1.mlp.up_proj` | U_up | 1 | 50 × 32 | directions | 4 directions, K 4, scale 0.001 to 3 |",
        "| `model.layers.1.self_attn.o_proj` | W_o | 1 | 32 × 32 | add-rank-one | method add-rank-one |",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("edit-1/two_matrices.json", "It cuts singular values of the matrices below and trains nothing."),
        ("edit-2/directions.json", "It changes 4 singular values of the matrices below and no singular vector."),
        ("edit-2/mixed.json", "It cuts singular values of some of the matrices below and changes 4 of others singly."),
        ("edit-2/plugin.json", "It changes the matrices below by a method of a plugin."),
    ],
)  # fmt: skip
def test_what_an_edit_does_in_a_sentence(name: str, sentence: str) -> None:
    assert f" {sentence} " in body(load(DATA / name))


def test_an_edit_by_a_plugin_says_which_package_it_needs() -> None:
    needs = "- `model.layers.1.self_attn.o_proj` needs the package `cti-edits-example`, whose plugin has the method "
    assert needs + "`add-rank-one`." in body(load(EDIT_2 / "plugin.json"))
    assert "needs the package" not in body(load(EDIT_2 / "mixed.json"))


def test_what_is_not_known_is_left_out() -> None:
    task = TaskRecord("x", DatasetRecord("a-local-file.json", revision=None, split=None), "acc")
    front = front_matter(model_card(dataclasses.replace(TWO, task=task), "owner/name"))
    assert "license" not in front
    assert "datasets" not in front


def test_the_body_says_what_it_does_and_how_to_use_it() -> None:
    text = body(TWO)
    assert f"`{TWO.digest()}`" in text
    assert "| `model.layers.0.mlp.gate_proj` | U_in | 0 | 50 × 32 | 4 | 0.25 | 3 of 12 to 13 | 33.4 % |" in text
    assert TWO.task is not None
    assert f"    lm_eval --model cti --model_args edit=owner/name --tasks {TWO.task.name} " in text


def test_accuracies_stand_beside_intervals_and_the_majority_class() -> None:
    text = body(TWO)
    calibration = text[text.index("On the rows that chose the edit") :]
    assert "100 examples, intervals of 95 %." in calibration
    assert "| base model | 51.0 % | 41.3 to 60.6 % |" in calibration
    assert "| with the edit | 57.0 % | 47.2 to 66.3 % |" in calibration
    assert "| most frequent answer | 55.0 % | |" in calibration
    assert (
        "Difference +6.0 points, interval -1.0 to +13.0, exact McNemar p = 0.109: "
        "these examples do not tell the edit from no edit." in calibration
    )
    assert "On the test part, which the search did not see: 10,000 examples" in text
    assert "not measured here: " in text
    assert "**Verdict: no evidence**, since the interval holds zero." in text
    beside = body(load(EDIT_1 / "asked.json"))
    assert "- Random control: 2 random edits of the same size: 50.0 to 52.0 %" in beside
    assert "- Labels corrected: 55.0 % without an edit, by adding a number" in beside
    assert "On text that has nothing to do with the task: KL 0.0100 nats a token" in beside
    assert "fresh rows, by which it was chosen among the best few candidates: " in beside
    cut = dataclasses.replace(TWO, search=dataclasses.replace(SEARCH, time_budget=60.0))
    assert "The search was cut short after 60 s: " in body(cut)
    assert "cut short" not in text
    without = body(dataclasses.replace(TWO, results=Results(calibration=None, test=None)))
    assert "**not measured** on rows that the search did not see" in without


def test_caveats() -> None:
    assert "as large and as fast as its base" in body(TWO)
    hashed = TWO.edits[0]
    unknown = dataclasses.replace(hashed, sha256=None)
    assert "hashes of its matrices" in body(dataclasses.replace(TWO, edits=(hashed,)))
    assert "nothing tells whether your base is the right one" in body(dataclasses.replace(TWO, edits=(unknown,)))
    assert "hashes of some of its matrices only" in body(dataclasses.replace(TWO, edits=(hashed, unknown)))
    assert "chosen for one task" in body(TWO)
    assert "chosen for one task" not in body(dataclasses.replace(TWO, task=None))


def test_of_an_edit_that_changes_nothing_nothing_is_claimed() -> None:
    text = body(dataclasses.replace(TWO, edits=()))
    assert "It is empty" in text
    assert not any(claim in text for claim in ("It cuts singular values", "the base is verified", "## Mind"))


def test_files_of_factors_are_named() -> None:
    assert "the factors that it applies are in `two-matrices.safetensors`" in body(TWO)
    recipe = tuple(dataclasses.replace(one, factors=None) for one in TWO.edits)
    assert "`edit.json` is the whole of it" in body(dataclasses.replace(TWO, edits=recipe))


def test_rows_that_are_assigned_by_subspaces_are_called_so() -> None:
    partition = "k-subspaces:" + "01" * 25
    one = dataclasses.replace(cuts(TWO)[0], partition=partition, clusters=2, block_ranks=(5, 5))
    assert "| 2, rows assigned by K-subspaces |" in body(dataclasses.replace(TWO, edits=(one,)))


def test_another_metric_is_called_by_its_name() -> None:
    assert TWO.task is not None
    edit = dataclasses.replace(TWO, task=dataclasses.replace(TWO.task, metric="exact_match"))
    assert "| | exact\\_match | interval |" in body(edit)
    (index,) = front_matter(model_card(edit, "owner/name"))["model-index"]
    assert index["results"][0]["metrics"][0]["type"] == "exact_match"


def test_a_masked_model_fills_masks() -> None:
    base = dataclasses.replace(TWO.base_model, architecture="RobertaForMaskedLM")
    (index,) = front_matter(model_card(dataclasses.replace(TWO, base_model=base), "owner/name"))["model-index"]
    assert index["results"][0]["task"]["type"] == "fill-mask"


def test_text_of_the_manifest_is_text_in_the_card() -> None:
    hostile = "\n---\n# <script>alert(1)</script> [x](javascript:y) `\x1b[31m\u202e |"
    edit = dataclasses.replace(
        TWO,
        description=hostile,
        base_model=BaseModel("a: b # `c`", "v`1", "Model", None),
        results=dataclasses.replace(TWO.results, reported=Reported("<b> | x", 0.1, 0.2)),
    )
    card = model_card(edit, "owner/name")
    assert front_matter(card)["base_model"] == "a: b # `c`"
    assert all(line.isprintable() for line in card.splitlines())
    assert "\n> \\\\n---\\\\n\\# \\<script\\>alert(1)\\</script\\> \\[x\\](javascript:y) \\`" in card
    assert "`a: b # 'c'` (revision `v'1`)" in card
    assert "\\<b\\> \\| x" in card
