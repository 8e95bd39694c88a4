"""The replay evaluator gives what the reference evaluator gives."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import draw
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.models.apply import target_matrix
from cti_edits.replay import layout, replay_evaluator
from cti_edits.replay.decoding import decode
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import EvaluatorName
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.evaluators import assert_same, compare
from tests.support.small_searches import Notes, choices, lm_of, rank_cut, written
from tests.support.small_tasks import write_task
from tests.support.tiny_models import CAUSAL, EVERY, MASKED, byte_tokenizer, tiny_model

LAYER_ORDERS = ((0, 1, 2), (2, 0, 1), (1,))


@pytest.mark.parametrize("model_type", EVERY)
def test_choices_in_every_family(model_type: str, tmp_path: Path) -> None:
    compare(lm_of(model_type), choices(tmp_path, masked=model_type in MASKED), layers=(0, 2))


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("model_type", ["llama", "roberta"])
def test_either_way_to_multiply(
    model_type: str, capability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    compare(lm_of(model_type), choices(tmp_path, masked=model_type in MASKED), layers=(1,))


@pytest.mark.parametrize("layers", LAYER_ORDERS)
def test_layers_in_any_order(layers: tuple[int, ...], tmp_path: Path) -> None:
    compare(lm_of("gptj"), choices(tmp_path), layers=layers)


def test_examples_before_a_prompt_are_the_same_ones_each_time(tmp_path: Path) -> None:
    """lm-eval's sampler goes on from call to call; the gold answers, replays and references have to see one draw."""
    more = """validation_split: validation
doc_to_text: "{{text}} says"
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
fewshot_split: test
num_fewshot: 2
"""
    text = (tmp_path / f"{write_task(tmp_path, 'shots', more=more)}.yaml").read_text()
    (tmp_path / "shots.yaml").write_text(text.replace("num_fewshot: 0\n", "", 1))
    calibration = draw(load_task("shots", str(tmp_path)), 6, seed=0)
    assert all(gold.context.count("says") == 3 for gold in calibration.gold)
    lm = lm_of("llama")
    reference = ReferenceEvaluator(lm, calibration)
    first = reference.evaluate()
    assert reference.evaluate() == first
    replayed = ReplayEvaluator(lm, calibration).evaluate()
    assert replayed is not None
    assert (replayed.correct, replayed.predicted) == (first.correct, first.predicted)
    assert replayed.nll == pytest.approx(first.nll, abs=1e-5)


def test_likelihoods() -> None:
    compare(lm_of("gpt2"), draw(load_task("capitals"), 9, seed=0))


@pytest.mark.parametrize("model_type", CAUSAL)
def test_texts_in_every_causal_family(model_type: str, tmp_path: Path) -> None:
    compare(lm_of(model_type), written(tmp_path, "{max_gen_toks: 4, until: []}"), layers=(2, 1))


@pytest.mark.parametrize("arguments", ["{max_gen_toks: 1}", "{max_gen_toks: 10, until: ['e', 'o']}"])
def test_texts_of_some_lengths_with_stops(arguments: str, tmp_path: Path) -> None:
    compare(lm_of("gptj"), written(tmp_path, arguments), layers=(1, 0, 2))


def test_a_text_that_ends_by_itself(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = written(tmp_path, "{max_gen_toks: 6, until: []}")
    first = ReplayEvaluator(lm, calibration)
    first.evaluate()
    # What it writes second in one of the texts, from now on ends a text.
    draft = first._layout.questions[3].asked[0].draft  # type: ignore[union-attr]
    assert len(draft) == 6
    lm.model.generation_config.eos_token_id = [2, draft[1]]
    evaluator = ReplayEvaluator(lm, calibration)
    compare(lm, calibration, evaluator)
    drafts = [question.asked[0].draft for question in evaluator._layout.questions]  # type: ignore[union-attr]
    assert any(len(draft) < 6 for draft in drafts)


@pytest.mark.parametrize("model_type", MASKED)
def test_what_a_masked_model_fills_in(model_type: str, tmp_path: Path) -> None:
    calibration = written(tmp_path, "{until: ['e']}", text="{{text}} <mask> says <mask><mask>")
    compare(lm_of(model_type), calibration, layers=(0, 2))


@pytest.mark.parametrize("kept", [0, layout.KEPT_BYTES])
@pytest.mark.parametrize("broken_at", [None, 0, 2, 4])
def test_drafts_that_break_somewhere(
    broken_at: int | None, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafts are only expectations: any others give the same."""
    monkeypatch.setattr(layout, "KEPT_BYTES", kept)
    lm = lm_of("gptj")
    calibration = written(tmp_path, "{max_gen_toks: 5, until: []}")
    evaluator = ReplayEvaluator(lm, calibration)
    reference = ReferenceEvaluator(lm, calibration).evaluate()
    evaluator.evaluate()
    drafts = [question.asked[0].draft for question in evaluator._layout.questions]  # type: ignore[union-attr]
    assert {len(draft) for draft in drafts} == {5}
    if broken_at is not None:
        other = [(*d[:broken_at], (d[broken_at] + 1) % 250, *d[broken_at + 1 :]) for d in drafts]
        evaluator._layout.set_questions(
            [q.with_drafts([draft]) for q, draft in zip(evaluator._layout.questions, other, strict=True)]
        )
    calls: list[int] = []

    def watched(*arguments: Any) -> None:
        calls.append(len(arguments[2]))
        decode(*arguments)

    monkeypatch.setattr(replay_evaluator, "decode", watched)
    for start in (0, 2, 1):
        assert_same(evaluator.evaluate(start), reference)
    # A last token that differs is the end of the text all the same.
    assert bool(calls) == (broken_at in (0, 2))
    compare(lm, calibration, evaluator, layers=(1, 0, 2))


def test_texts_are_continued_batch_by_batch_where_much_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of("gpt2")
    calibration = written(tmp_path, "{max_gen_toks: 5, until: []}")
    monkeypatch.setattr(layout, "BatchSize", functools.partial(BatchSize, row_tokens=30))
    evaluator = ReplayEvaluator(lm, calibration)
    assert len(evaluator._layout.batches) > 3
    groups: list[int] = []
    plain = evaluator._continue_texts

    def watched(start: int, waiting: Any) -> None:
        groups.append(len(waiting))
        plain(start, waiting)

    monkeypatch.setattr(evaluator, "_continue_texts", watched)
    evaluator._layout.kept_bytes = 0
    reference = ReferenceEvaluator(lm, calibration).evaluate()
    assert_same(evaluator.evaluate(), reference)
    assert groups == [1] * len(evaluator._layout.batches)
    compare(lm, calibration, evaluator)


def test_two_evaluators_of_one_model_do_not_meet(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = written(tmp_path, "{max_gen_toks: 3, until: []}")
    first, second = ReplayEvaluator(lm, calibration), ReplayEvaluator(lm, calibration)
    reference = ReferenceEvaluator(lm, calibration).evaluate()
    assert_same(first.evaluate(), reference)
    assert_same(second.evaluate(), reference)
    assert_same(first.evaluate(2), reference)
    compare(lm, calibration, second)
    compare(lm, calibration, first)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("model_type", ["gptj", "roberta"])
def test_half_precision_on_a_cpu(model_type: str, dtype: str, tmp_path: Path) -> None:
    lm = lm_of(model_type, tiny_model(model_type, spread=0.1).to(getattr(torch, dtype)), dtype=dtype)
    calibration = choices(tmp_path, masked=model_type in MASKED)
    ours, theirs = ReplayEvaluator(lm, calibration).evaluate(), ReferenceEvaluator(lm, calibration).evaluate()
    assert ours is not None
    assert ours.nll == pytest.approx(theirs.nll, rel=2e-2)


SMALL = SearchSettings(samples=7, top_q=2, clusters=(1, 2), rates=(0.3, 0.1))


def test_texts_are_continued_a_few_at_a_time_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each continued text has a row of keys and values of its own, and a long prompt that all share would fill it."""
    lm = lm_of("gptj")
    calibration = written(tmp_path, "{max_gen_toks: 5, until: []}")
    together: list[int] = []

    def watched(replay: Any, cache: Any, unfinished: Any) -> None:
        together.append(len(unfinished))
        assert {layer.keys.shape[0] for layer in cache.layers} == {len(unfinished)}
        decode(replay, cache, unfinished)

    monkeypatch.setattr(replay_evaluator, "decode", watched)
    compare(lm, calibration, layers=(1,))
    most = max(together)
    assert most > 3
    evaluator = ReplayEvaluator(lm, calibration)
    evaluator.evaluate()
    longest = max(len(question.asked[0].prompt) for question in evaluator._layout.questions)  # type: ignore[union-attr]
    width = lm.model.config.n_embd
    evaluator._layout.kept_bytes = 3 * lm.model.config.n_layer * 2 * width * 4 * (longest + 5)
    together.clear()
    compare(lm, calibration, evaluator, layers=(1,))
    assert 1 < max(together) < most


# The whole search.


@pytest.mark.parametrize("task", ["choices", "written"])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "roberta"])
def test_a_search_with_either_evaluator_gives_one_manifest(model_type: str, task: str, tmp_path: Path) -> None:
    masked = model_type in MASKED
    text = "{{text}} <mask><mask>" if masked else "{{text}} says"
    arguments = "{max_gen_toks: 3, until: []}"
    calibration = choices(tmp_path, masked=masked) if task == "choices" else written(tmp_path, arguments, text)
    lm = lm_of(model_type)
    ways: tuple[tuple[EvaluatorName, bool], ...] = (("reference", False), ("replay", True), ("replay", False))
    found = [
        run_search(lm, calibration, SMALL, "tiny", "tiny", evaluator=name, exact_stop=exact, test=calibration).edit
        for name, exact in ways
    ]
    first = found[0]
    for other in found[1:]:
        assert other.digest() == first.digest()
        assert other.edits == first.edits
        for part in ("calibration", "test"):
            ours, theirs = other.results.to_json()[part], first.results.to_json()[part]
            for exact in ("ci95", "labels", "baseline_answers", "edited_answers"):
                assert ours.pop(exact, None) == theirs.pop(exact, None)
            assert ours == pytest.approx(theirs, abs=2e-5)


def test_an_example_that_is_no_number_is_named_and_not_one_of_its_row(tmp_path: Path) -> None:
    """What a row holds, all of its examples get: 0 times not a number."""
    lm = lm_of("gptj")
    calibration = choices(tmp_path)
    evaluator = ReplayEvaluator(lm, calibration)
    with torch.no_grad():
        lm.model.transformer.wte.weight[byte_tokenizer().encode("x")[0]] = float("nan")
    (row,) = (gold.doc_id for gold in calibration.gold if "x" in gold.context)
    with pytest.raises(EditError) as caught:
        evaluator.evaluate()
    assert str(caught.value).startswith(f"the log-likelihood of the gold answer on row {row} is nan")


def test_a_candidate_whose_loss_is_no_number_loses_and_a_note_names_it(tmp_path: Path) -> None:
    lm = lm_of("gpt2")
    calibration = choices(tmp_path)
    target = target_matrix(lm.model, "U_in", 1)
    former = target.weight.clone()

    def poisoned(_: Any, __: Any, output: Any) -> Any:
        return output if torch.equal(target.weight, former) else output * float("nan")

    lm.model.get_submodule(target.module).register_forward_hook(poisoned)
    settings = SearchSettings(samples=7, top_q=None, clusters=(2,), rates=(0.3,), matrices=("U_in",))
    notes = Notes()
    found = run_search(lm, calibration, settings, "tiny", "tiny", progress=notes, exact_stop=False)
    (line,) = notes.lines
    assert line.startswith("loses: U_in of layer 1 at ρ = 0.3, K = 2: the log-likelihood of the gold answer on row ")
    assert any(f" row {row} is nan" in line for row in calibration.doc_ids)
    assert torch.equal(target.weight, former)
    broken = RankCut(MatrixId(1, "U_in"), 2, 0.3)
    assert found.failed == (broken,)
    assert [rank_cut(one).target.layer for one in found.outcomes] == [0, 2]
    assert found.edit.search is not None
    assert found.edit.search.candidates == 3
    # What was tried after it was tried at the same size as what came before.
    assert found.edit.provenance.batch_tokens == ReplayEvaluator(lm, calibration).batch_tokens


def test_texts_that_are_continued_together_do_not_depend_on_which_batch_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a batch round alike; which models came before, and where they stopped, must not show."""
    lm = lm_of("gpt2")
    monkeypatch.setattr(layout, "BatchSize", functools.partial(BatchSize, row_tokens=30))
    evaluator = ReplayEvaluator(lm, written(tmp_path, "{max_gen_toks: 5, until: []}"))
    assert len(evaluator._layout.batches) > 3
    size = max(batch.packed.tokens.numel() for batch in evaluator._layout.batches)
    plain, together = evaluator._continue_texts, []

    def watched(start: int, waiting: Any) -> None:
        together.append([one.batch for one in waiting])
        plain(start, waiting)

    monkeypatch.setattr(evaluator, "_continue_texts", watched)
    one = cache_bytes_of(evaluator)
    evaluator._layout.kept_bytes = 2 * one * size
    evaluator.evaluate()
    orders = []
    for first in (lambda _, __: 0, lambda batches, _: len(batches) - 1):
        together.clear()
        evaluator.reset()
        monkeypatch.setattr(evaluator._example_order, "next", first)
        evaluator.evaluate()
        orders.append(sorted(together))
    assert orders[0] == orders[1]
    assert any(len(group) > 1 for group in orders[0])
    assert all(group == sorted(group) for group in orders[0])


def cache_bytes_of(evaluator: ReplayEvaluator) -> int:
    """Bytes of keys and values of a token."""
    batch = evaluator._layout.batches[0]
    cache = evaluator._replay.empty_cache()
    with torch.no_grad():
        evaluator._replay.logits(batch.packed, 0, None, batch.rows, batch.columns, cache)
    return -(-layout.cache_bytes([cache]) // batch.packed.tokens.numel())
