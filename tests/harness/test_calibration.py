from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.records import DatasetRecord
from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest, draw
from cti_edits.harness.tasks import load_task
from tests.support.benchmark_files import WIKIDATA, write_jsonl, write_local
from tests.support.small_tasks import write_task

VALIDATION = "validation_split: validation\n"
CHOICE = 'doc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\n'
CONSIDER = "Consider the following text:"
PROFESSION = "The profession of this person is"
GENERATE = "generation_kwargs: {max_gen_toks: 3, until: []}\n"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(folder)))
    return folder


@pytest.fixture
def many(data: Path) -> None:
    write_jsonl(data / "fever.jsonl", [{"claim": f"Claim {n}.", "label": n % 3 % 2} for n in range(200)])


def small(tmp_path: Path, *arguments: Any, **options: Any) -> Any:
    folder = tmp_path / "tasks"
    folder.mkdir(exist_ok=True)
    return load_task(write_task(folder, *arguments, **options), str(folder))


@pytest.mark.usefixtures("many")
def test_the_draw_is_seeded_ascending_and_from_the_validation_part() -> None:
    task = load_task("fever")
    one, again, other = draw(task, 10, 3), draw(task, 10, 3), draw(task, 10, 4)
    assert one.doc_ids == again.doc_ids != other.doc_ids
    assert one.gold == again.gold
    assert list(one.doc_ids) == sorted(set(one.doc_ids))
    assert all(0 <= row < 40 for row in one.doc_ids)
    assert one.own_validation
    assert one.ids_sha256 == hashlib.sha256(",".join(map(str, one.doc_ids)).encode()).hexdigest()
    assert one.ids_sha256 != other.ids_sha256
    # The same rows serve whatever the draw before was, and the task itself still evaluates on its test rows.
    assert len(task.eval_docs) == 160
    assert len(one.task.eval_docs) == 40


@pytest.mark.usefixtures("many")
def test_each_gold_answer_is_that_of_its_row() -> None:
    calibration = draw(load_task("fever"), 12, 0)
    for row, gold, index in zip(calibration.doc_ids, calibration.gold, calibration.gold_index, strict=True):
        label = row % 3 % 2
        prompt = f"Consider the following claim: Claim {row}. Is this claim true or false. The claim is"
        assert gold == GoldRequest(row, prompt, " true" if label else " false")
        assert index == (0 if label else 1)
    golds = [gold.continuation for gold in calibration.gold]
    assert calibration.majority_class == max(golds.count(" true"), golds.count(" false")) / 12


@pytest.mark.usefixtures("many")
def test_the_manifest_names_the_data_that_was_read(data: Path) -> None:
    digest = hashlib.sha256((data / "fever.jsonl").read_bytes()).hexdigest()
    expected = DatasetRecord("EleutherAI/fever", f"sha256:{digest}", "validation")
    assert draw(load_task("fever"), 4, 0).dataset == expected


def test_the_manifest_names_what_a_task_asks_the_hub_for(tmp_path: Path) -> None:
    more = CHOICE + VALIDATION + "dataset_path: some/where\ndataset_kwargs: {revision: abc}\n"
    found = draw(small(tmp_path, "asked", more=more), 2, 0).dataset
    assert found == DatasetRecord("some/where", "abc", "validation")


@pytest.mark.parametrize(
    ("name", "context", "continuation"),
    [
        ("counterfact", "Lima is the capital of", " Peru"),
        ("hotpotqa", "Who made 0? The answer is", " Maker 0"),
        (
            "fever",
            "Consider the following claim: Water is wet. Is this claim true or false. The claim is",
            " true",
        ),
        (
            "bios_gender",
            f"{CONSIDER} Ann works here. Is the person in this text a male or female? The gender of this person is",
            " female",
        ),
        (
            "bios_profession",
            f"{CONSIDER} Ann works here. What is the profession of the person in this text? {PROFESSION}",
            " journalist",
        ),
        (
            "truthfulqa",
            "What is dry? Sand is dry. Is this statement true or false? This statement is",
            " true",
        ),
        ("epistemic_reasoning", "Premise: 0. Hypothesis: 0.\nRelation:", " entailment"),
        ("qa_wikidata", "The country of place 0 is", " 0"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_every_benchmark_has_a_gold_answer_to_take_the_likelihood_of(
    name: str, context: str, continuation: str
) -> None:
    task = load_task(name)
    calibration = draw(task, len(task.validation_docs()), 0)
    assert calibration.gold[0] == GoldRequest(0, context, continuation)
    choices = task.doc_to_choice(task.validation_docs()[0]) if task.config.doc_to_choice else [continuation.strip()]
    assert f" {choices[calibration.gold_index[0]]}" == continuation


def test_a_masked_task_keeps_its_masks_in_the_context() -> None:
    masked = draw(load_task("qa_wikidata", kind="masked"), 1, 0)
    assert masked.name == "cti_qa_wikidata_masked"
    assert masked.gold == (GoldRequest(0, "The country of place 0 is" + 5 * " <mask>", " 0"),)


def test_answers_that_are_digits_stay_text(data: Path) -> None:
    write_jsonl(data / "qa_wikidata.jsonl", [{**row, "target": "007"} for row in WIKIDATA])
    assert draw(load_task("qa_wikidata"), 1, 0).gold[0].continuation == " 007"


def test_a_task_with_one_set_of_rows_lends_its_first_fifth(tmp_path: Path) -> None:
    calibration = draw(small(tmp_path, "single"), 2, 0)
    assert calibration.doc_ids == (0, 1)
    assert [gold.context for gold in calibration.gold] == ["test: the cat says", "test: a dog says"]
    assert not calibration.own_validation
    assert calibration.dataset.split == "test[:20%]"
    with pytest.raises(EditError, match="expected at most 2, the rows of its validation part, got 3"):
        draw(small(tmp_path, "single"), 3, 0)


def test_the_gold_text_is_the_first_of_several(tmp_path: Path) -> None:
    more = 'doc_to_target: \'["{{answer}}", "other"]\'\ntarget_delimiter: " -> "\n' + VALIDATION + GENERATE
    calibration = draw(small(tmp_path, "several", "generate_until", more=more), 10, 0)
    assert calibration.gold[0] == GoldRequest(0, "validation: the cat says", " -> cat")


def test_the_gold_text_may_be_a_choice(tmp_path: Path) -> None:
    calibration = draw(small(tmp_path, "chosen", "generate_until", more=CHOICE + VALIDATION + GENERATE), 10, 0)
    assert [gold.continuation for gold in calibration.gold[:3]] == [" moo", " woof", " moo"]


def test_choices_that_differ_from_row_to_row_are_counted_by_place(tmp_path: Path) -> None:
    more = "doc_to_choice: !function ROWS.choices\ndoc_to_target: gold\n" + VALIDATION
    calibration = draw(small(tmp_path, "differing", more=more), 10, 0)
    assert calibration.majority_class == 0.7
    assert calibration.gold[0].continuation == " t"


@pytest.mark.parametrize("output_type", ["multiple_choice", "generate_until"])
def test_a_row_without_a_gold_answer_is_refused(output_type: str, tmp_path: Path) -> None:
    more = CHOICE if output_type == "multiple_choice" else "doc_to_target: answer\n" + GENERATE
    task = small(
        tmp_path, f"no_{output_type}", output_type, more=more + VALIDATION + "dataset_kwargs: {missing: true}\n"
    )
    with pytest.raises(EditError, match=rf"no_{output_type}: a row has no gold answer.*, which a search needs"):
        draw(task, 10, 0)


def test_a_metric_that_does_not_rank_is_refused(tmp_path: Path) -> None:
    more = CHOICE + VALIDATION + "metric_list: [{metric: f1, aggregation: f1, higher_is_better: true}]\n"
    with pytest.raises(EditError, match=r"metric: a search ranks edits by one that is 0 or 1 .*; this task has f1"):
        draw(small(tmp_path, "scored", more=more), 2, 0)


def test_an_output_type_without_an_answer_is_refused(tmp_path: Path) -> None:
    more = "doc_to_target: answer\n" + VALIDATION
    with pytest.raises(EditError, match=r"a search needs a gold answer .* this one's is loglikelihood_rolling"):
        draw(small(tmp_path, "rolling", "loglikelihood_rolling", more=more), 2, 0)


@pytest.mark.parametrize(("samples", "message"), [(0, "expected 1 or more, got 0"), (3, "expected at most 2, .*got 3")])
def test_samples_must_fit_the_validation_part(samples: int, message: str) -> None:
    with pytest.raises(EditError, match=f"samples: {message}"):
        draw(load_task("fever"), samples, 0)
