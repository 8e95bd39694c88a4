"""The replay evaluator gives what the reference evaluator gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, draw
from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.questions import Question, UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.models.apply import target_matrix
from cti_edits.progress import Silent
from cti_edits.replay import layout, replay_evaluator
from cti_edits.replay.batches import read_batches
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.decoding import decode
from cti_edits.replay.evaluator import EvaluatorName, evaluator_of
from cti_edits.replay.packing_check import check_packing
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.search.evaluations import replaced_weight
from cti_edits.search.runner import run_search
from cti_edits.search.space import SearchSettings
from tests.support.small_searches import choices, edited_weights, failing, lm_of, written
from tests.support.small_tasks import write_task
from tests.support.tiny_models import CAUSAL, EVERY, MASKED, byte_tokenizer, tiny_model

LAYER_ORDERS = ((0, 1, 2), (2, 0, 1), (1,))


def assert_same(ours: Evaluation | None, theirs: Evaluation) -> None:
    assert ours is not None
    assert ours.correct == theirs.correct
    assert ours.predicted == theirs.predicted
    assert ours.accuracy == theirs.accuracy
    assert ours.nll == pytest.approx(theirs.nll, rel=2e-5, abs=1e-5)


def compare(lm: Any, calibration: CalibrationSet, evaluator: Any = None, layers: tuple[int, ...] = (0, 1, 2)) -> None:
    """Unedited, then with each matrix edited, and unedited again; what is measured is not all the same."""
    reference = ReferenceEvaluator(lm, calibration)
    evaluator = evaluator or ReplayEvaluator(lm, calibration)
    unedited = reference.evaluate()
    assert_same(evaluator.evaluate(), unedited)
    losses = {unedited.nll}
    for target, edited in edited_weights(lm.model, layers):
        with replaced_weight(target, edited):
            theirs = reference.evaluate()
            assert_same(evaluator.evaluate(target.layer), theirs)
            # Once to learn what the edit does not reach, and once with that.
            assert_same(evaluator.evaluate(target.layer, target.matrix), theirs)
            assert_same(evaluator.evaluate(target.layer, target.matrix), theirs)
            losses.add(theirs.nll)
    assert len(losses) == 1 + 2 * len(layers)
    assert_same(evaluator.evaluate(), unedited)
    assert_same(evaluator.evaluate(2), unedited)


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
    monkeypatch.setattr(layout, "ROW_TOKENS", 30)
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


# Models that packing is not for.


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, what: str) -> None:
        self.notes.append(what)


@pytest.mark.parametrize("model_type", ["mistral", "qwen2"])
def test_a_model_that_looks_at_a_window_gets_the_reference_evaluator(model_type: str, tmp_path: Path) -> None:
    window = {
        "sliding_window": 6,
        **({"use_sliding_window": True, "max_window_layers": 0} if model_type == "qwen2" else {}),
    }
    lm = lm_of(model_type, tiny_model(model_type, **window))
    calibration = choices(tmp_path)
    with pytest.raises(UnsupportedError, match="gives other logits when sequences are packed"):
        ReplayEvaluator(lm, calibration)
    progress = Noted()
    assert isinstance(evaluator_of("replay", lm, calibration, progress), ReferenceEvaluator)
    (note,) = progress.notes
    assert note.startswith(
        f"the reference evaluator takes over, which is slower: {type(lm.model).__name__} gives other"
    )
    result = run_search(lm, calibration, SMALL, "tiny", "tiny")
    assert result.unedited.nll == ReferenceEvaluator(lm, calibration).evaluate().nll


def test_the_longest_sequence_is_compared_even_where_another_row_holds_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short sequences fill a row; the one that is beyond the window has another."""
    monkeypatch.setattr(layout, "ROW_TOKENS", 130)
    more = """validation_split: validation
doc_to_text: "{{text}}"
doc_to_choice: !function ROWS.some
doc_to_target: gold
"""
    name = write_task(tmp_path, "uneven", more=more)
    with (tmp_path / "uneven_rows.py").open("a") as file:
        file.write("\ndef some(doc):\n    return ['b' * 120 if 'ewe' in doc['text'] else doc['text'][::-1], 'c']\n")
    calibration = draw(load_task(name, str(tmp_path)), 10, seed=0)
    with pytest.raises(UnsupportedError):
        ReplayEvaluator(lm_of("mistral", tiny_model("mistral", sliding_window=100)), calibration)
    compare(lm_of("mistral", tiny_model("mistral", sliding_window=400)), calibration, layers=(1,))


def test_a_model_that_ignores_masks_is_found_out(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    plain = lm.model.forward

    def careless(**named: Any) -> Any:
        named["attention_mask"] = None
        return plain(**named)

    lm.model.forward = careless
    with pytest.raises(UnsupportedError, match="GPTJForCausalLM gives other logits"):
        ReplayEvaluator(lm, choices(tmp_path))


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention"])
def test_attention_that_takes_no_masks(attention: str) -> None:
    lm = lm_of("llama")
    replay = BlockReplay(lm)
    lm.model.config._attn_implementation_internal = attention
    with pytest.raises(UnsupportedError, match=f"^attention by {attention} does not take the masks of packed rows"):
        check_packing(lm, replay, [], [])


def test_rounding_in_half_precision_is_no_wrong_packing() -> None:
    """Some of many logits about 20 are off by more than a quarter; a window of its own shows all the same."""
    generator = torch.Generator().manual_seed(0)
    drawn = [tuple(torch.randint(5, 4999, (40,), generator=generator).tolist()) for _ in range(4)]
    asked = [Question(i, (ScoredTokens(one, tuple(range(40)), one),), None, 0) for i, one in enumerate(drawn)]
    batches = read_batches(asked, True, 1, 256)
    size = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 12, "head_dim": 128, "vocab_size": 5000}
    for window in (None, 10):
        model = tiny_model("mistral", spread=0.03, sliding_window=window, **size)
        with torch.no_grad():
            model.lm_head.weight.mul_(10)
        lm = lm_of("mistral", model.to(torch.bfloat16), dtype="bfloat16")
        replay = BlockReplay(lm)
        if window is None:
            check_packing(lm, replay, asked, batches)
        else:
            with pytest.raises(UnsupportedError):
                check_packing(lm, replay, asked, batches)


def test_mixed_precision_is_compared_with_mixed_precision(tmp_path: Path) -> None:
    lm = lm_of("gptj", tiny_model("gptj", spread=0.1), mixed_precision_dtype="bfloat16")
    calibration = choices(tmp_path)
    ours = ReplayEvaluator(lm, calibration).evaluate()
    assert ours is not None
    assert ours.nll == pytest.approx(ReferenceEvaluator(lm, calibration).evaluate().nll, rel=2e-2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{max_gen_toks: 3, do_sample: true, temperature: 0.7}", "more than greedy"),
        ("{num_beams: 3}", "more than greedy"),
    ],
)
def test_other_generations_get_the_reference_evaluator(arguments: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=said):
        ReplayEvaluator(lm_of("gptj"), written(tmp_path, arguments))


# Exhausted memory.

SMALL = SearchSettings(samples=7, top_q=2, clusters=(1, 2), rates=(0.3, 0.1))


@pytest.mark.parametrize("task", ["choices", "written"])
@pytest.mark.parametrize("when", range(1, 26, 4))
def test_memory_that_is_exhausted_once(task: str, when: int, tmp_path: Path) -> None:
    """At whichever pass it happens, what is measured is the same."""
    lm = lm_of("gptj")
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 3, until: []}")
    reference = ReferenceEvaluator(lm, calibration)
    expected = [reference.evaluate()]
    weights = [pair for pair in edited_weights(lm.model) if pair[0].matrix == "U_out"]
    for target, edited in weights:
        with replaced_weight(target, edited):
            expected.append(reference.evaluate())
    calls: list[int] = []

    def fails(tokens: Any) -> bool:
        calls.append(tokens.numel())
        return len(calls) == when and tokens.numel() > 1

    lm.model.forward = failing(lm.model.forward, fails)
    evaluator = ReplayEvaluator(lm, calibration)
    assert_same(evaluator.evaluate(), expected[0])
    for (target, edited), theirs in zip(weights, expected[1:], strict=True):
        with replaced_weight(target, edited):
            assert_same(evaluator.evaluate(target.layer), theirs)


@pytest.mark.parametrize("task", ["choices", "written"])
def test_memory_for_few_tokens(task: str, tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 3, until: []}")
    theirs = ReferenceEvaluator(lm, calibration).evaluate()
    lm.model.forward = failing(lm.model.forward, lambda tokens: tokens.numel() > 36)
    evaluator = ReplayEvaluator(lm, calibration)
    assert_same(evaluator.evaluate(), theirs)
    assert all(batch.packed.tokens.numel() <= 36 for batch in evaluator._layout.batches)


@pytest.mark.parametrize("task", ["choices", "written"])
@pytest.mark.parametrize("later", [False, True])
def test_memory_that_does_not_hold_one_example(task: str, later: bool, tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 3, until: []}")
    plain = lm.model.forward
    exhausted = failing(plain, lambda tokens: tokens.numel() > 1)
    message = r"^the memory of cpu does not hold one example of \d+ tokens beside the model; a narrower dtype, another"
    if not later:
        lm.model.forward = exhausted
        with pytest.raises(EditError, match=message):
            ReplayEvaluator(lm, calibration)
        return
    evaluator = ReplayEvaluator(lm, calibration)
    theirs = evaluator.evaluate()
    assert theirs is not None
    lm.model.forward = exhausted
    with pytest.raises(EditError, match=message):
        evaluator.evaluate(1)
    # And with memory again, all goes on.
    lm.model.forward = plain
    assert_same(evaluator.evaluate(1), theirs)


def test_an_interrupt_leaves_nothing_half_carried(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = written(tmp_path, "{max_gen_toks: 3, until: []}")
    evaluator = ReplayEvaluator(lm, calibration)
    theirs = evaluator.evaluate()
    assert theirs is not None
    evaluator._layout._row_tokens, evaluator._layout._rows = 20, 1
    evaluator._layout.pack_anew()
    assert len(evaluator._layout.batches) > 2
    plain, calls = lm.model.forward, []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments, **named)

    lm.model.forward = interrupted
    with pytest.raises(KeyboardInterrupt):
        evaluator.evaluate(2)
    lm.model.forward = plain
    compare(lm, calibration, evaluator, layers=(2, 1))


def test_an_error_that_is_not_of_memory_is_not_swallowed(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    evaluator = ReplayEvaluator(lm, choices(tmp_path))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a kernel is missing")

    lm.model.forward = broken
    with pytest.raises(RuntimeError, match="a kernel is missing"):
        evaluator.evaluate()


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
            ours, theirs = dict(other.results[part]), dict(first.results[part])
            assert ours.pop("ci95", None) == theirs.pop("ci95", None)
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


def test_a_candidate_whose_loss_is_no_number_is_named(tmp_path: Path) -> None:
    lm = lm_of("gpt2")
    calibration = choices(tmp_path)
    target = target_matrix(lm.model, "U_in", 1)
    former = target.weight.clone()

    def poisoned(_: Any, __: Any, output: Any) -> Any:
        return output if torch.equal(target.weight, former) else output * float("nan")

    lm.model.get_submodule(target.module).register_forward_hook(poisoned)
    settings = SearchSettings(samples=7, top_q=None, clusters=(2,), rates=(0.3,), matrices=("U_in",))
    with pytest.raises(EditError) as caught:
        run_search(lm, calibration, settings, "tiny", "tiny")
    assert str(caught.value).startswith("transformer.h.1.mlp.c_fc at ρ = 0.3, K = 2: the log-likelihood of the gold")
    assert any(f" row {row} is nan" in str(caught.value) for row in calibration.doc_ids)
    assert torch.equal(target.weight, former)


def test_texts_that_are_continued_together_do_not_depend_on_which_batch_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a batch round alike; which models came before, and where they stopped, must not show."""
    lm = lm_of("gpt2")
    monkeypatch.setattr(layout, "ROW_TOKENS", 30)
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
