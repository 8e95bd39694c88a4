from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, make_table

from cti_edits.errors import EditError
from cti_edits.harness.lm import EditedLM
from cti_edits.paths import folder
from tests.support.benchmark_files import needs_rows, write_jsonl, write_local
from tests.support.tiny_models import byte_tokenizer, tiny_model

EIGHT = (
    "counterfact",
    "hotpotqa",
    "fever",
    "bios_gender",
    "bios_profession",
    "truthfulqa",
    "epistemic_reasoning",
    "qa_wikidata",
)
MASKED = tuple(f"cti_{name}" + ("" if name == "epistemic_reasoning" else "_masked") for name in EIGHT)
TRUE_FALSE = ["true", "false"]
CONSIDER = "Consider the following text:"
PROFESSIONS = ["journalist", "poet", "composer", "model", "teacher", "architect", "painter", "professor"]

# Task, a row of its data, prompt, answer after the prompt, all choices.
PROMPTS: list[tuple[str, dict[str, Any], str, str, list[str] | None]] = [
    ("cti_counterfact", {"prompt": "Lima is in ", "answer": "Peru"}, "Lima is in", " Peru", None),
    ("cti_counterfact_masked", {"prompt": "Lima is in", "answer": "Peru"}, "Lima is in <mask>.", " Peru", None),
    ("cti_hotpotqa", {"question": "Who? ", "answer": " 1945 "}, "Who? The answer is", " 1945", None),
    ("cti_hotpotqa", {"question": "Name it.", "answer": "x"}, "Name it. The answer is", " x", None),
    ("cti_hotpotqa", {"question": " Who", "answer": "x"}, "Who? The answer is", " x", None),
    (
        "cti_hotpotqa_masked",
        {"question": "Who", "answer": "x"},
        "Who? The answer is <mask> <mask> <mask> <mask> <mask>",
        " x",
        None,
    ),
    (
        "cti_fever",
        {"claim": "Water is {{wet}}", "label": 1},
        "Consider the following claim: Water is {{wet}}. Is this claim true or false. The claim is",
        " true",
        TRUE_FALSE,
    ),
    (
        "cti_fever",
        {"claim": "Is water dry?", "label": 0},
        "Consider the following claim: Is water dry? Is this claim true or false. The claim is",
        " false",
        TRUE_FALSE,
    ),
    (
        "cti_fever_masked",
        {"claim": "Water is dry.", "label": 0},
        "Consider the following claim: Water is dry. Is this claim true or false. The claim is <mask>",
        " false",
        TRUE_FALSE,
    ),
    (
        "cti_bios_gender",
        {"hard_text": "Gone? ", "profession": 3, "gender": 1},
        "Consider the following text: Gone? Is the person in this text a male or female? The gender of this person is",
        " female",
        ["male", "female"],
    ),
    (
        "cti_bios_gender_masked",
        {"hard_text": "He sings", "profession": 3, "gender": 0},
        "Consider the following text: He sings. Is the person in this text a male or female? This person is <mask>.",
        " male",
        ["male", "female"],
    ),
    (
        "cti_bios_profession",
        {"hard_text": "No.", "profession": 14, "gender": 1},
        f"{CONSIDER} No. What is the profession of the person in this text? The profession of this person is",
        " painter",
        PROFESSIONS,
    ),
    (
        "cti_bios_profession_masked",
        {"hard_text": "She paints.", "profession": 14, "gender": 1},
        "Consider the following text: She paints. The profession of the person in the text is called <mask>.",
        " painter",
        PROFESSIONS,
    ),
    (
        "cti_truthfulqa",
        {"question": "What is dry?", "choices": ["Sand"], "labels": [1]},
        "What is dry? Sand. Is this statement true or false? This statement is",
        " true",
        TRUE_FALSE,
    ),
    (
        "cti_truthfulqa",
        {"question": "What is dry?", "choices": ["The sea."], "labels": [0]},
        "What is dry? The sea. Is this statement true or false? This statement is",
        " false",
        TRUE_FALSE,
    ),
    (
        "cti_truthfulqa_masked",
        {"question": "What is dry?", "choices": ["Sand"], "labels": [1]},
        "What is dry? Sand. Is this statement true or false? This statement is <mask>",
        " true",
        TRUE_FALSE,
    ),
    (
        "cti_epistemic_reasoning",
        {"inputs": "Choose.\n\nPremise: A. Hypothesis: B.\nRelation:", "target": "non-entailment"},
        "Choose.\n\nPremise: A. Hypothesis: B.\nRelation:",
        " non-entailment",
        ["entailment", "non-entailment"],
    ),
    ("cti_qa_wikidata", {"inputs": "The year of it is", "target": "1945"}, "The year of it is", " 1945", None),
    (
        "cti_qa_wikidata_masked",
        {"inputs": "The year of it is", "target": "1945"},
        "The year of it is <mask> <mask> <mask> <mask> <mask>",
        " 1945",
        None,
    ),
]
FILES = {"bios_gender": "bias_in_bios", "bios_profession": "bias_in_bios"}


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    return TaskManager(include_path=str(folder("tasks")), include_defaults=False)


def load(manager: TaskManager, name: str) -> Any:
    return manager.load([name])["tasks"][name]


@pytest.mark.parametrize(("name", "row", "prompt", "answer", "choices"), PROMPTS)
def test_the_model_is_given_these_very_words(
    name: str,
    row: dict[str, Any],
    prompt: str,
    answer: str,
    choices: list[str] | None,
    manager: TaskManager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = name.removeprefix("cti_").removesuffix("_masked")
    write_jsonl(tmp_path / f"{FILES.get(bare, bare)}.jsonl", [{"split": "validation", **row}])
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))
    task = load(manager, name)
    task.set_config(key="num_fewshot", value=0)
    task.build_all_requests(rank=0, world_size=1)

    requests = [instance.args for instance in task.instances]
    assert {request[0] for request in requests} == {prompt}
    gold = task.doc_to_target(task.test_docs()[0])
    if choices is None:
        assert [instance.request_type for instance in task.instances] == ["generate_until"]
        assert task.config.target_delimiter + gold == answer
    else:
        assert [request[1] for request in requests] == [f" {choice}" for choice in choices]
        assert f" {choices[gold]}" == answer


@pytest.mark.parametrize(("name", "tokens"), [("counterfact", 1), ("hotpotqa", 15), ("qa_wikidata", 10)])
@pytest.mark.parametrize("end", ["", "_masked"])
def test_generation_is_greedy_and_of_the_papers_length(
    name: str, tokens: int, end: str, manager: TaskManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(tmp_path)))
    config = load(manager, f"cti_{name}{end}").config
    assert config.generation_kwargs == {"max_gen_toks": tokens, "do_sample": False, "until": []}


@pytest.mark.parametrize("end", ["", "_masked"])
def test_the_groups_hold_the_eight(
    end: str, manager: TaskManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(tmp_path)))
    loaded = manager.load([f"cti_eight{end}"])
    assert tuple(loaded["tasks"]) == (MASKED if end else tuple(f"cti_{name}" for name in EIGHT))
    for task in loaded["tasks"].values():
        rows = task.dataset
        assert task.validation_docs() is rows["validation"]
        assert task.test_docs() is rows["test"]
        assert task.config.num_fewshot == 0


@pytest.mark.parametrize("name", sorted({*(f"cti_{name}" for name in EIGHT), *MASKED}))
def test_every_benchmark_says_which_models_it_is_for(name: str, manager: TaskManager) -> None:
    expected = "masked" if name.endswith("_masked") else "causal"
    if name == "cti_epistemic_reasoning":
        expected = "any"
    assert manager.task_index[name].cfg["metadata"]["model_kind"] == expected


def test_a_run_of_all_eight_ends_in_plain_numbers(
    manager: TaskManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(tmp_path)))
    loaded = manager.load(["cti_eight"])
    lm = EditedLM(pretrained=tiny_model("gptj"), tokenizer=byte_tokenizer(), device="cpu", batch_size=8)
    run = evaluate(lm=lm, task_dict=loaded)
    assert run is not None
    results = run["results"]

    for name in ("fever", "bios_gender", "bios_profession", "truthfulqa", "epistemic_reasoning"):
        found, samples = results[f"cti_{name}"], run["samples"][f"cti_{name}"]
        golds = [sample["target"] for sample in samples]
        likelihoods = [[response[0] for response in sample["filtered_resps"]] for sample in samples]
        predictions = [scores.index(max(scores)) for scores in likelihoods]
        labels = loaded["tasks"][f"cti_{name}"].doc_to_choice({})
        assert found["acc,none"] == sum(g == p for g, p in zip(golds, predictions, strict=True)) / len(golds)
        assert found["majority_class,none"] == max(golds.count(label) for label in golds) / len(golds)
        shares = [found[f"share_{label.replace('-', '_')},none"] for label in labels]
        assert shares == pytest.approx([predictions.count(index) / len(golds) for index in range(len(labels))])
        assert sum(shares) == pytest.approx(1)
        assert 0 <= found["balanced_acc,none"] <= 1
    for name in ("hotpotqa", "qa_wikidata"):
        assert results[f"cti_{name}"]["acc,none"] <= results[f"cti_{name}"]["acc_laser,none"]
    assert results["cti_eight"]["acc,none"] == pytest.approx(
        sum(results[f"cti_{name}"]["acc,none"] for name in EIGHT) / 8
    )
    written = json.loads(json.dumps(results, default=handle_non_serializable))
    for found in written.values():
        # lm-eval's own tally of a group is a dict.
        assert {type(value) for key, value in found.items() if key != "sample_count"} <= {float, int, str}
    assert "share_non_entailment" in make_table(run)


def test_the_group_goes_on_where_bias_in_bios_has_no_rows(
    manager: TaskManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_local(tmp_path)
    (folder / "bias_in_bios.jsonl").unlink()
    monkeypatch.setenv("CTI_EDITS_DATA", str(folder))
    lm = EditedLM(pretrained=tiny_model("gptj"), tokenizer=byte_tokenizer(), device="cpu", batch_size=8)
    run = evaluate(lm=lm, task_dict=manager.load(["cti_eight"]))
    assert run is not None
    assert "bias_in_bios: left out, nothing is measured on it" in caplog.text
    results = run["results"]
    for name in ("cti_bios_gender", "cti_bios_profession"):
        assert not [key for key in results[name] if key.endswith(",none")]
    measured = [results[f"cti_{name}"]["acc,none"] for name in EIGHT if not name.startswith("bios")]
    assert results["cti_eight"]["acc,none"] == pytest.approx(sum(measured) / 6)
    with pytest.raises(EditError, match=r"bias_in_bios\.jsonl: no such file"):
        manager.load(["cti_bios_gender"])


# How many rows the shared files give, and why that is not the paper's number where it isn't (data/PROVENANCE.md).
SHORT_OF_THE_PAPER = {
    "counterfact": (25_658, "a re-packing of CounterFact: all 21,919 rewrites, 3,739 of 43,838 paraphrases"),
    "hotpotqa": (7_405, "validation only, and no Llama tokenizer to drop long answers with"),
    "qa_wikidata": (18_812, "the paper counts the 1,509 rows with several targets, which neither LASER nor we use"),
}


@needs_rows
@pytest.mark.parametrize("name", [name for name in EIGHT if not name.startswith("bios")])
def test_as_many_rows_as_the_paper_has(name: str, manager: TaskManager) -> None:
    rows = load(manager, f"cti_{name}").dataset
    count = len(rows["validation"]) + len(rows["test"])
    # The paper's tables lie beside the rows.
    tables = json.loads((Path(os.environ["CTI_EDITS_DATA"]).parent / "paper" / "tables.json").read_text())
    paper = tables["table_6_dataset_sizes"][name]
    if name in SHORT_OF_THE_PAPER:
        short, reason = SHORT_OF_THE_PAPER[name]
        assert count == short < paper, reason
    else:
        assert count == paper
    assert len(rows["validation"]) == int(0.2 * count)


@needs_rows
@pytest.mark.parametrize(("name", "label", "count"), [("truthfulqa", 0, 3_297), ("truthfulqa", 1, 2_585)])
def test_as_many_of_each_label_as_the_paper_has(name: str, label: int, count: int, manager: TaskManager) -> None:
    rows = load(manager, f"cti_{name}").dataset
    assert sum(row == label for part in rows.values() for row in part["label"]) == count


@needs_rows
def test_epistemic_reasoning_is_mostly_non_entailment(manager: TaskManager) -> None:
    rows = load(manager, "cti_epistemic_reasoning").dataset
    labels = [label for part in rows.values() for label in part["target"]]
    assert (labels.count("non-entailment"), labels.count("entailment")) == (1_259, 741)


@needs_rows
def test_rows_keep_the_order_of_the_file(manager: TaskManager) -> None:
    with (Path(os.environ["CTI_EDITS_DATA"]) / "fever.jsonl").open(encoding="utf-8") as lines:
        claims = [json.loads(line)["claim"] for line in lines]
    rows = load(manager, "cti_fever").dataset
    assert [*rows["validation"]["claim"], *rows["test"]["claim"]] == claims
