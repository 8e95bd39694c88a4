"""Which runs are compared, by which metric, and what it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from cti_edits.errors import EditError
from cti_edits.harness.comparison import FIELDS, SettingsDifferError, compare_runs
from tests.support.eval_runs import EDIT, EIGHT_ANSWERS, LATER, refusal, samples_file, write_run
from tests.support.small_searches import lm_of
from tests.support.small_tasks import write_task


def test_the_figures(tmp_path: Path) -> None:
    few, many = [1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0]
    base = write_run(tmp_path / "base", few, targets=EIGHT_ANSWERS)
    edited = write_run(tmp_path / "edited", many, edit=EDIT, targets=EIGHT_ANSWERS)
    comparison = compare_runs([base, edited])["cti_fever"]
    (paired,) = comparison.paired
    assert (comparison.n, comparison.metric, comparison.majority_class) == (8, "acc", 0.125)
    assert [run.accuracy for run in comparison.runs] == [0.25, 0.875]
    assert (paired.difference, paired.p_value, paired.corrected_p_value) == (0.625, 2 * 0.5**5, 2 * 0.5**5)
    # The interval leaves zero out; McNemar's exact test of five changes cannot say so.
    assert paired.ci95[0] > 0
    assert (paired.verdict.word, paired.verdict.reason) == ("no evidence", "p is not below 0.05")
    assert [str(run.edit) for run in comparison.runs] == ["None", "n\\x1b[31m, digest d"]
    none = write_run(tmp_path / "none", [0] * 8, targets=EIGHT_ANSWERS)
    assert compare_runs([none, edited])["cti_fever"].paired[0].verdict.word == "better"
    assert compare_runs([edited, none])["cti_fever"].paired[0].verdict.word == "worse"
    assert compare_runs([base, base])["cti_fever"].paired[0].verdict.word == "no evidence"


def test_several_runs_are_corrected_for_their_number(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0] * 8, targets=EIGHT_ANSWERS)
    edits = [{"name": name, "digest": name} for name in ("one", "two")]
    one = write_run(tmp_path / "one", [1] * 6 + [0] * 2, edit=edits[0], targets=EIGHT_ANSWERS)
    two = write_run(tmp_path / "two", [1] * 7 + [0], edit=edits[1], targets=EIGHT_ANSWERS)
    alone = compare_runs([base, one])["cti_fever"].paired[0]
    assert alone.p_value == 2 * 0.5**6
    assert alone.verdict.word == "better"
    first, second = compare_runs([base, one, two])["cti_fever"].paired
    assert (first.p_value, second.p_value) == (2 * 0.5**6, 2 * 0.5**7)
    assert (first.corrected_p_value, second.corrected_p_value) == (0.03125, 0.03125)
    four = compare_runs([base, one, base, base])["cti_fever"].paired
    assert four[0].corrected_p_value == 3 * 2 * 0.5**6
    # 0.09 after correction: an interval that leaves out zero no longer says anything.
    assert four[0].ci95[0] > 0
    assert four[0].verdict.word == "no evidence"


def test_an_edit_that_gives_one_answer_has_collapsed(tmp_path: Path) -> None:
    """Seen by the choice that is likeliest, or the text that was written."""

    def answers(folder: str, right: list[int], likelihoods: list[list[object]]) -> Path:
        arguments = {f"gen_args_{i}": {"arg_0": "q", "arg_1": choice} for i, choice in enumerate((" yes", " no"))}
        return write_run(
            tmp_path / folder, right, targets=EIGHT_ANSWERS, arguments=arguments, filtered_resps=likelihoods
        )

    base = answers("base", [0] * 8, [[-1.0, True], [-2.0, False]])
    (same,) = compare_runs([base, answers("same", [1] * 7 + [0], [[-1.0, True], [-3.0, False]])])["cti_fever"].paired
    assert same.verdict.word == "better"
    (other,) = compare_runs([base, answers("other", [1] * 7 + [0], [["-3.0", False], ["-1", True]])])[
        "cti_fever"
    ].paired
    assert (other.verdict.word, other.verdict.reason) == ("collapsed", "100.0 % of its answers are one and the same")
    written = [
        write_run(tmp_path / name, right, targets=EIGHT_ANSWERS, filtered_resps=[f" {name}"])
        for name, right in (("one", [0] * 8), ("two", [0] * 7 + [1]))
    ]
    assert compare_runs(written)["cti_fever"].paired[0].verdict.word == "collapsed"


def test_examples_that_share_a_record_widen_the_interval(tmp_path: Path) -> None:
    right, facts = [0, 0, 1, 1] * 8, {"configs": {"cti_fever": {"metadata": {"record": "fact"}}}}
    gold = [str(number) for number in range(32)]
    plain = [write_run(tmp_path / "base", [0] * 32, targets=gold), write_run(tmp_path / "edited", right, targets=gold)]
    alone = compare_runs(plain)["cti_fever"]
    assert alone.records is None
    for folder in plain:
        write_run(folder, [0] * 32 if folder.name == "base" else right, targets=gold, results=facts)
        path = samples_file(folder)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "doc": {"fact": row["doc_id"] // 4 % 2}}) + "\n" for row in rows))
    shared = compare_runs(plain)["cti_fever"]
    assert shared.records == 2
    low, high = shared.paired[0].ci95
    assert low <= alone.paired[0].ci95[0]
    assert high >= alone.paired[0].ci95[1]


def test_two_edits_are_compared(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [1, 0], edit={"name": "one", "digest": "1"})
    two = write_run(tmp_path / "two", [1, 1], edit={"name": "two", "digest": "2"})
    assert [str(run.edit) for run in compare_runs([one, two])["cti_fever"].runs] == ["one, digest 1", "two, digest 2"]


def test_one_run_alone(tmp_path: Path) -> None:
    assert refusal(write_run(tmp_path, [1])) == "expected two or more runs to compare, got 1"


def test_only_tasks_in_common_are_read(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    write_run(base, [1], task="perplexity")
    (broken,) = base.rglob("samples_perplexity_*")
    broken.write_text("{}")
    edited = write_run(tmp_path / "edited", [1, 1], edit=EDIT)
    assert list(compare_runs([base, edited])) == ["cti_fever"]


@pytest.mark.parametrize("other", [{"right": [1, 1, 1]}, {"right": [1, 1], "doc_hash": "x"}])
def test_runs_on_other_examples_are_refused(other: dict[str, object], tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    edited = write_run(tmp_path / "edited", **other)  # type: ignore[arg-type]
    assert "saw other examples" in refusal(base, edited)


# Metrics


def test_the_first_of_several_filters_counts_and_another_can_be_named(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [0, 0, 1], filter="strict")
    path = samples_file(base)
    # lm-eval writes a filter's rows after those of the filter before.
    path.write_text(path.read_text() + path.read_text().replace("strict", "flexible").replace("0.0", "1.0"))
    first = compare_runs([base, base])["cti_fever"]
    assert first.metric == "acc,strict"
    assert first.runs[0].accuracy == pytest.approx(1 / 3)
    named = compare_runs([base, base], "acc,flexible")["cti_fever"]
    assert (named.metric, named.runs[0].accuracy) == ("acc,flexible", 1.0)


def test_the_metric_is_the_edits_else_acc_else_the_first(tmp_path: Path) -> None:
    edit = {"name": "n", "digest": "d", "metric": "acc_norm"}
    base = write_run(tmp_path / "base", [0, 0], acc_norm=1.0, f1=0.3)
    edited = write_run(tmp_path / "edited", [0, 0], edit=edit, acc_norm=1.0, f1=0.3)
    assert compare_runs([base, edited])["cti_fever"].metric == "acc_norm"
    assert compare_runs([base, base])["cti_fever"].metric == "acc"
    assert compare_runs([base, edited], "acc")["cti_fever"].metric == "acc"
    path = samples_file(base)
    path.write_text(path.read_text().replace('"acc"', '"exact_match"'))
    assert compare_runs([base, base])["cti_fever"].metric == "exact_match"
    with pytest.raises(EditError, match=r"metric: there is no 'wrong'; .*each example: exact_match, acc_norm"):
        compare_runs([base, base], "wrong")


@pytest.mark.parametrize("value", [0.5, 2, -1, "1", [1], None, float("nan")])
def test_a_metric_between_right_and_wrong_is_refused(value: object, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 1])
    edited = write_run(tmp_path / "edited", [1, 1], acc=value)
    message = refusal(base, edited)
    assert str(samples_file(edited)) in message
    assert f"a metric 'acc' that is 0 or 1 for each example; on row 0 it is {value}" in message
    assert f"a metric 'acc' that is 0 or 1 for each example; on row 0 it is {value}" in refusal(edited, edited)


# What was asked

MODEL = {"pretrained": "owner/base", "dtype": "float32", "tokenizer": "owner/base"}
PLAIN = {"asked": {"model": MODEL, "prompt": {"max_length": 64, "add_bos_token": True}}, "fewshot_seed": 1234}
RESULTS = {
    "n-shot": {"cti_fever": 0},
    "versions": {"cti_fever": 1.0},
    "chat_template_sha": None,
    "system_instruction": None,
    "fewshot_as_multiturn": True,
    "configs": {"cti_fever": {"output_type": "generate_until", "generation_kwargs": {"max_gen_toks": 8}}},
}


@pytest.mark.parametrize(
    ("field", "results", "config", "values"),
    [
        ("num_fewshot", {"n-shot": {"cti_fever": 2}}, {}, "0 and 2"),
        ("version", {"versions": {"cti_fever": 2.0}}, {}, "1.0 and 2.0"),
        ("chat_template_sha", {"chat_template_sha": "ab" * 32}, {}, f"none and {'ab' * 32}"),
        ("apply_chat_template", {"chat_template_sha": "ab" * 32}, {}, "False and True"),
        ("system_instruction", {"system_instruction": "Be\nbrief."}, {}, "none and Be\\nbrief."),
        (
            "gen_kwargs",
            {"configs": {"cti_fever": {"output_type": "generate_until", "generation_kwargs": {"max_gen_toks": 9}}}},
            {},
            '{"max_gen_toks": 8} and {"max_gen_toks": 9}',
        ),
        *(
            (field, {}, {"asked": {**PLAIN["asked"], "model": {**MODEL, field: "other"}}}, f"{former} and other")  # type: ignore[dict-item]
            for field, former in (
                *(("pretrained", "owner/base"), ("dtype", "float32"), ("tokenizer", "owner/base")),
                *((name, "none") for name in ("subfolder", "peft", "delta", "quantization", "revision")),
            )
        ),
        (
            "max_length",
            {},
            {"asked": {"model": MODEL, "prompt": {"max_length": 32, "add_bos_token": True}}},
            "64 and 32",
        ),
        (
            "add_bos_token",
            {},
            {"asked": {"model": MODEL, "prompt": {"max_length": 64, "add_bos_token": False}}},
            "True and False",
        ),
    ],
)
def test_what_was_asked_differently_is_refused_unless_it_is_allowed(
    field: str, results: dict[str, object], config: dict[str, object], values: str, tmp_path: Path
) -> None:
    base = write_run(tmp_path / "base", [1, 0], results=RESULTS, config=PLAIN)
    other = write_run(tmp_path / "other", [1, 1], edit=EDIT, results={**RESULTS, **results}, config={**PLAIN, **config})
    message = refusal(base, other)
    assert "differ in more than the edit" in message
    assert f"{field}: {values}" in message
    with pytest.raises(SettingsDifferError) as error:
        compare_runs([base, other])
    allowed = compare_runs([base, other], allow_different=error.value.differing)["cti_fever"].paired[0]
    assert field in {difference.field for difference in allowed.different}
    assert compare_runs([base, base])["cti_fever"].paired[0].different == ()


@pytest.mark.parametrize(("name", "key"), [("prompts", "prompt_hash"), ("targets", "target_hash")])
def test_rows_that_were_asked_differently(name: str, key: str, tmp_path: Path) -> None:
    """As where a task's template was changed, and its version was not."""
    hashes: list[dict[str, Any]] = [{key: "a" * 64}, {key: "b" * 64}]
    one, two = (write_run(tmp_path / str(number), [1, 0], **more) for number, more in enumerate(hashes))
    assert f"{name}: aaaaaaaaaaaa… on 2 of 2 rows and bbbbbbbbbbbb… on 2 of 2 rows" in refusal(one, two)
    assert compare_runs([one, two], allow_different=[name])
    # What one of the two did not write cannot differ.
    assert compare_runs([one, write_run(tmp_path / "three", [1, 0])])
    assert name in FIELDS


def test_what_changes_prompts_need_not_be_allowed_twice(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0], results=RESULTS, prompt_hash="a" * 64)
    shots = {**RESULTS, "n-shot": {"cti_fever": 2}}
    other = write_run(tmp_path / "other", [1, 1], results=shots, prompt_hash="b" * 64)
    assert compare_runs([base, other], allow_different=["num_fewshot"])


def test_other_few_shot_counts_do_not_hide_other_gold_answers(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0], results=RESULTS, prompt_hash="a" * 64, target_hash="a" * 64)
    shots = {**RESULTS, "n-shot": {"cti_fever": 2}}
    other = write_run(tmp_path / "other", [1, 1], results=shots, prompt_hash="b" * 64, target_hash="b" * 64)
    message = refusal(base, other)
    assert "targets: " in message
    assert "prompts: " not in message


def test_calibration_rows_among_the_pairs_are_counted(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0], doc_hash="a" * 64)
    edit = {"name": "n", "digest": "d", "row_hashes": "a" * 12 + "b" * 12}
    edited = write_run(tmp_path / "edited", [1, 0], edit=edit, doc_hash="a" * 64)
    ((seen, count),) = compare_runs([base, edited])["cti_fever"].seen
    assert (seen.name, count) == ("n", 2)
    other = {**edit, "row_hashes": "b" * 12}
    write_run(edited, [1, 0], LATER, edit=other, doc_hash="a" * 64)
    assert compare_runs([base, edited])["cti_fever"].seen == ()


def test_lm_evals_own_files(tmp_path: Path) -> None:
    """Two runs of a tiny model, one with an example in its prompts."""
    more = """validation_split: validation
fewshot_split: test
doc_to_text: "{{text}} says"
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""
    text = (tmp_path / f"{write_task(tmp_path, 'shots', more=more)}.yaml").read_text()
    (tmp_path / "shots.yaml").write_text(text.replace("num_fewshot: 0\n", "", 1))
    lm = lm_of("gpt2")
    for shots in (0, 1):
        tracker = EvaluationTracker(output_path=str(tmp_path / str(shots)))
        results = lm_eval.simple_evaluate(
            lm,
            tasks=["shots"],
            num_fewshot=shots,
            limit=6,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
            evaluation_tracker=tracker,
        )
        assert results is not None
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        tracker.save_results_samples("shots", samples["shots"])
    runs = [tmp_path / "0", tmp_path / "1"]
    with pytest.raises(SettingsDifferError, match="num_fewshot: 0 and 1"):
        compare_runs(runs)
    compared = compare_runs(runs, allow_different=["num_fewshot", "fewshot_seed"])["shots"]
    assert compared.n == 6
    assert compared.runs[0].accuracy == sum(json.loads(line)["acc"] for line in samples_lines(runs[0])) / 6
    assert compare_runs([runs[0], runs[0]])["shots"].paired[0].different == ()


def samples_lines(folder: Path) -> list[str]:
    return samples_file(folder).read_text().splitlines()
