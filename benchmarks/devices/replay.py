"""The devices of the replay, each switched off in turn: evaluations, whole searches and gradient passes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from benchmarks.devices.work import CLUSTERS, Comparison, Replacement, Work, nothing, ran, replaced, together

CLOSE = 1e-4
"""How far losses may differ, in nats, and σ-gradients, as a share of the largest."""

TEXT_RATES = (0.8, 0.1)
"""Of candidates that write: some write what the unedited model does, and some do not."""


# Evaluations

Evaluate = Callable[[Any, Any], Any]


def asked(evaluator: Any, target_id: Any) -> Any:
    """What a search asks of an evaluator."""
    return evaluator.evaluate(target_id.layer)


def evaluations(
    work: Work,
    tasks: Sequence[str],
    without: Mapping[str, Replacement],
    asking: Mapping[str, Evaluate] | None = None,
    rates: Sequence[float] = (0.1,),
) -> Iterator[Comparison]:
    """A candidate of the first, a middle and the last layer, for each task.

    Args:
        work: the model and the examples.
        tasks: names of tasks.
        without: by the name of the way.
        asking: how a way asks its evaluator, where it is not as a search does.
        rates: of the candidates.
    """
    from cti_edits.replay.replay_evaluator import ReplayEvaluator
    from cti_edits.replay.session import replaced_weight
    from cti_edits.search.candidates import Group, RankCut

    ways: dict[str, Replacement] = {"with": contextlib.nullcontext, **without}
    for task in tasks:
        evaluators = {}
        for way, replacement in ways.items():
            with replacement():
                evaluators[way] = ReplayEvaluator(work.lm, work.calibration(task))
                evaluators[way].evaluate()
        for target_id in work.chosen():
            members = [RankCut(target_id, 4, rho) for rho in rates]
            for candidate, _, edited in work.weights.of(Group(target_id, 4, members)):
                with replaced_weight(work.targets[target_id], edited):
                    runs = {
                        way: functools.partial(
                            ran, replacement, (asking or {}).get(way, asked), evaluators[way], target_id
                        )
                        for way, replacement in ways.items()
                    }
                    for run in runs.values() if candidate is members[0] else ():
                        # Comes to the layer.
                        run()
                    part = f"{target_id.matrix} of layer {target_id.layer}"
                    named = f"{part} rho = {candidate.rho:g}" if len(rates) > 1 else part
                    yield Comparison(f"evaluation, {task}", named, runs, same_measured)


def same_measured(one: Any, other: Any) -> bool:
    same = (one.correct, one.predicted) == (other.correct, other.predicted)
    return same and abs(one.nll - other.nll) <= CLOSE


def replay_from_the_block(work: Work) -> Iterator[Comparison]:
    way = "all blocks"
    asking = {way: lambda evaluator, _: evaluator.evaluate()}
    return evaluations(work, work.tasks, {way: contextlib.nullcontext}, asking)


def packed_rows(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay import layout, sigma_gradients
    from cti_edits.replay.batches import read_batches
    from cti_edits.replay.memory import BatchSize

    def in_rows_of(rows: int) -> contextlib.AbstractContextManager[object]:
        def batches(asked: Any, causal: bool, _: BatchSize, apart: Any = None) -> Any:
            return read_batches(asked, causal, BatchSize(rows, 1), apart)

        return together(replaced(layout, "read_batches", batches), replaced(sigma_gradients, "read_batches", batches))

    ways = {
        "an example at a time": functools.partial(in_rows_of, 1),
        "padded batches of 16 examples": functools.partial(in_rows_of, 16),
    }
    yield from evaluations(work, work.tasks, ways)
    yield from gradients(work, ways)


def shared_prefixes(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay.packed_rows import _Row

    def apart() -> contextlib.AbstractContextManager[object]:
        return together(
            replaced(_Row, "_known", lambda _, __: []),
            replaced(_Row, "needed", lambda _, sequences: sum(map(len, sequences))),
        )

    yield from evaluations(work, work.tasks, {"every sequence whole": apart})
    yield from gradients(work, {"every sequence whole": apart})


def logits_at_answers(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay import block_replay

    ways = {"logits of every token": lambda: replaced(block_replay, "projected_at", nothing)}
    yield from evaluations(work, work.tasks, ways)
    yield from gradients(work, ways)


def onednn_layers(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay import onednn

    ways = {"torch's own layers": lambda: replaced(onednn, "is_exact_and_fast", lambda: False)}
    return evaluations(work, work.tasks, ways)


def drafts(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay.replay_evaluator import ReplayEvaluator

    def lay_out(self: Any, _: Any, right: Mapping[int, bool]) -> None:
        self._layout.set_questions(self._questions, [right[example] for example in range(len(self._questions))])
        self._texts_expected = True

    ways = {"decoded from the prompt on": lambda: replaced(ReplayEvaluator, "_expect_texts", lay_out)}
    return evaluations(work, work.written, ways, rates=TEXT_RATES)


def decoding_together(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay.layout import Layout
    from cti_edits.replay.replay_evaluator import ReplayEvaluator

    ways: dict[str, Replacement] = {
        "a batch at a time": lambda: replaced(
            Layout, "continued_together", lambda _, index, __: range(index, index + 1)
        ),
        "a text at a time": lambda: replaced(ReplayEvaluator, "_texts_that_fit", lambda _, __, texts: texts[:1]),
    }
    return evaluations(work, work.written, ways, rates=TEXT_RATES)


def kept_keys(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay.layout import Layout

    pack_anew = Layout.pack_anew

    def forgetting(self: Any) -> None:
        pack_anew(self)
        self.kept = None

    ways = {"keys and values computed anew": lambda: replaced(Layout, "pack_anew", forgetting)}
    return evaluations(work, work.written, ways, rates=TEXT_RATES)


# Whole searches


def searches(work: Work, ways: Mapping[str, tuple[Replacement, bool]]) -> Iterator[Comparison]:
    """All candidates of the preset's matrices at some rates; each way with whether it stops candidates."""
    from cti_edits.progress import Silent
    from cti_edits.replay.block_replay import BlockReplay
    from cti_edits.replay.replay_evaluator import ReplayEvaluator
    from cti_edits.replay.session import Session
    from cti_edits.search.candidates import candidates
    from cti_edits.search.evaluate import evaluate
    from cti_edits.search.gradients import with_values
    from cti_edits.search.presets import find_preset
    from cti_edits.search.rank_cuts import RankCutTrials
    from cti_edits.search.scores import keep_best, matrix_scores

    settings = find_preset("cl-100g-100e").settings(work.lm.kind)
    clusters = [number for number in CLUSTERS if number in settings.clusters]
    rates = [float(rate) for rate in work.options.rates.split(",")]
    task = work.tasks[0]
    calibration = work.calibration(task)
    session = Session(work.lm)
    gradients = session.sigma_gradients(list(work.targets.values()), work.directions, calibration.gold)
    scores = matrix_scores(with_values(gradients, work.triplets.values), CLUSTERS, work.targets)
    kept = {number: keep_best(scores[number], settings.top_q or len(work.targets)) for number in clusters}
    groups = candidates(kept, rates)

    def evaluated(replacement: Replacement, stop: bool) -> tuple[Any, int]:
        blocks = 0
        logits = BlockReplay.logits

        def counted(self: Any, batch: Any, start: int, *arguments: Any) -> Any:
            nonlocal blocks
            blocks += batch.tokens.numel() * (self.depth - start)
            return logits(self, batch, start, *arguments)

        with replacement(), replaced(BlockReplay, "logits", counted):
            return evaluate(
                session, ReplayEvaluator(work.lm, calibration), RankCutTrials(work.weights, groups), stop, Silent()
            ), blocks

    def same(one: tuple[Any, int], other: tuple[Any, int]) -> bool:
        a, b = one[0].best, other[0].best
        return (a.candidate, a.correct) == (b.candidate, b.correct) and abs(a.nll - b.nll) <= CLOSE

    runs = {way: functools.partial(evaluated, *how) for way, how in ways.items()}
    # Decompositions of all of them are there from now on.
    for group in groups:
        for _ in work.weights.of(group):
            pass
    number = sum(len(group.members) for group in groups)
    detail = f"{number} candidates"
    yield Comparison(
        f"search, {task}", detail, runs, same, lambda found: f"{found[1] / 1e6:.2f} M tokens x blocks", True
    )


def exact_stop(work: Work) -> Iterator[Comparison]:
    return searches(work, {"with": (contextlib.nullcontext, True), "no stop": (contextlib.nullcontext, False)})


def order_of_examples(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay.example_order import ExampleOrder
    from cti_edits.replay.replay_evaluator import ReplayEvaluator

    def by_the_last(self: Any, batches: Sequence[Sequence[int]], _: Any) -> int:
        def share_right(number: int) -> float:
            latest: dict[int, bool] = self._latest
            return sum(latest.get(example, False) for example in batches[number]) / len(batches[number])

        return min(range(len(batches)), key=share_right)

    def in_order(*_: object) -> int:
        return 0

    lay_out = ReplayEvaluator._expect_texts

    def mixed(self: Any, written: Any, right: Mapping[int, bool]) -> None:
        lay_out(self, written, dict.fromkeys(right, False))

    ways: dict[str, tuple[Replacement, bool]] = {
        "with": (contextlib.nullcontext, True),
        "as they lie": (lambda: replaced(ExampleOrder, "next", in_order), True),
        "what the last model had wrong first": (lambda: replaced(ExampleOrder, "next", by_the_last), True),
        "right and wrong ones in one row": (lambda: replaced(ReplayEvaluator, "_expect_texts", mixed), True),
        "as they lie, right and wrong ones in one row": (
            lambda: together(
                replaced(ExampleOrder, "next", in_order), replaced(ReplayEvaluator, "_expect_texts", mixed)
            ),
            True,
        ),
    }
    return searches(work, ways)


# Scores


def gradients(work: Work, without: Mapping[str, Replacement]) -> Iterator[Comparison]:
    """The σ-gradients of all tails."""
    from cti_edits.replay.sigma_gradients import loss_sigma_gradients

    task = work.tasks[0]
    run = functools.partial(
        loss_sigma_gradients, work.lm, list(work.targets.values()), work.directions, work.calibration(task).gold
    )
    ways: dict[str, Replacement] = {"with": contextlib.nullcontext, **without}
    runs = {way: functools.partial(ran, replacement, run) for way, replacement in ways.items()}
    yield Comparison(f"gradients, {task}", "all matrices", runs, same_gradients)


def same_gradients(one: Any, other: Any) -> bool:
    """As a share of the largest of all matrices at the same K."""
    ours, theirs = (
        [torch.cat([g for way in ways for g in way]) for ways in zip(*found, strict=True)] for found in (one, other)
    )
    return all(float((a - b).abs().max()) <= CLOSE * float(a.abs().max()) for a, b in zip(ours, theirs, strict=True))


def no_weight_gradients(work: Work) -> Iterator[Comparison]:
    from cti_edits.replay.gradients import loss_gradients
    from cti_edits.replay.sigma_gradients import _of_whole_gradients

    targets, gold = list(work.targets.values()), work.calibration(work.tasks[0]).gold
    (comparison,) = gradients(work, {})

    def by_autograd() -> Any:
        return _of_whole_gradients(loss_gradients(work.lm, targets, gold, 16), targets, work.directions)

    ways = {**comparison.ways, "autograd, batches of 16": by_autograd}
    yield Comparison(comparison.work, comparison.part, ways, comparison.same)


DEVICES: dict[str, Callable[[Work], Iterator[Comparison]]] = {
    "replay": replay_from_the_block,
    "packing": packed_rows,
    "prefixes": shared_prefixes,
    "logits": logits_at_answers,
    "drafts": drafts,
    "decoding-together": decoding_together,
    "kept-keys": kept_keys,
    "exact-stop": exact_stop,
    "order": order_of_examples,
    "onednn": onednn_layers,
    "sigma-gradients": no_weight_gradients,
}
