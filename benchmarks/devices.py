"""What each speed device brings by itself: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.devices``.

Each piece of work is done with a device and without it, in turn, in one process, and has to give the same both times.
Without it means the plainest replacement: another argument, or one function that is replaced from here. Everything else
stays as it is, so that a ratio says what would be lost if that device alone were deleted. Some lines have a second
replacement: a simpler device in its place.

Evaluations are of a candidate in the first, a middle and the last layer, seconds added up; the seconds that it takes to
come to a layer are left out, since all candidates of the layer share them. ``--only`` names devices, joined by commas.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.demo import demo_lm, empty_cache, machine, quiet

CLUSTERS = (1, 2, 4, 8, 16)
CLOSE = 1e-4
"""How far losses may differ, in nats, and σ-gradients, as a share of the largest."""

TEXT_RATES = (0.8, 0.1)
"""Of candidates that write: some write what the unedited model does, and some do not."""

Clock = Callable[[], float]
Replacement = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Comparison:
    """A piece of work, done in several ways.

    Attributes:
        work: what the seconds of its parts are added up for.
        part: which part of that.
        ways: by name; the first is the one with the device.
        same: whether two ways gave the same.
        detail: more to say of what a way gave than how long it took.
        once: whether it takes so long that it is done once.
    """

    work: str
    part: str
    ways: Mapping[str, Callable[[], Any]]
    same: Callable[[Any, Any], bool]
    detail: Callable[[Any], str] | None = None
    once: bool = False


@dataclass(frozen=True)
class Timed:
    """Seconds of one part by each way, run after run."""

    part: str
    seconds: dict[str, list[float]]
    details: dict[str, str]


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", help="devices, joined by commas (all)")
    parser.add_argument("--model", help="checkpoint folder (the demo model)")
    parser.add_argument("--tasks", default="fever,qa_wikidata,counterfact")
    parser.add_argument("--written", default="qa_wikidata,counterfact", help="those whose answers are written")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--rates", default="0.9,0.4,0.1", help="of a search with exact stop")
    parser.add_argument("--rows", type=int, default=4096, help="output features of a big matrix")
    parser.add_argument("--columns", type=int, default=16384, help="its input features")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--processor", action="store_true", help="seconds of the processor: with one thread, where others work, too"
    )
    parser.add_argument("--include-path", help="folder with more tasks")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(DEVICES)
    if unknown := sorted(set(names) - set(DEVICES)):
        sys.exit(f"no device {', '.join(unknown)}; there are {', '.join(DEVICES)}")
    print(machine())
    print(f"{options.samples} examples of each task; medians of {options.repeats}, ratios with the least and the most")
    print()
    print("| device | work | with it | without, or instead of it | | ratio | parts |")
    print("| --- | --- | ---: | --- | ---: | ---: | --- |")
    clock = time.process_time if options.processor else time.perf_counter
    work = Work(options, demo_lm(options.model))
    with empty_cache():
        for name in names:
            print_device(name, DEVICES[name](work), options.repeats, clock)


def print_device(name: str, comparisons: Iterable[Comparison], repeats: int, clock: Clock) -> None:
    """The lines of a device: one for each work and way without it."""
    for work, parts in itertools.groupby(comparisons, key=lambda one: one.work):
        found = [timed_part(name, part, repeats, clock) for part in parts]
        first, *others = found[0].seconds
        for way in others:
            totals = {one: sum(statistics.median(part.seconds[one]) for part in found) for one in (first, way)}
            runs = [
                sum(others) / sum(firsts)
                for firsts, others in zip(
                    zip(*(part.seconds[first] for part in found), strict=True),
                    zip(*(part.seconds[way] for part in found), strict=True),
                    strict=True,
                )
            ]
            ratio = f"{statistics.median(runs):.2f} ({min(runs):.2f} to {max(runs):.2f})"
            each = ", ".join(described(part, first, way) for part in found)
            cells = [name, work, seconds_text(totals[first]), way, seconds_text(totals[way]), ratio, each]
            print(f"| {' | '.join(cells)} |", flush=True)


def described(part: Timed, first: str, way: str) -> str:
    ratio = statistics.median(part.seconds[way]) / statistics.median(part.seconds[first])
    details = [part.details[one] for one in (way, first) if one in part.details]
    return " ".join(filter(None, (part.part, f"{ratio:.2f}", " to ".join(details))))


def seconds_text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def timed_part(device: str, comparison: Comparison, repeats: int, clock: Clock) -> Timed:
    """Every way in turn, so many times."""
    seconds: dict[str, list[float]] = {way: [] for way in comparison.ways}
    details: dict[str, str] = {}
    for _ in range(1 if comparison.once else repeats):
        expected: Any = None
        for number, (way, run) in enumerate(comparison.ways.items()):
            begun = clock()
            found = run()
            seconds[way].append(clock() - begun)
            if number == 0:
                expected = found
            elif not comparison.same(expected, found):
                sys.exit(f"{device}, {comparison.work}, {comparison.part}: other results by {way}")
            if comparison.detail is not None:
                details[way] = comparison.detail(found)
    return Timed(comparison.part, seconds, details)


@contextlib.contextmanager
def replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    """Inside, ``owner`` has something else under this name."""
    former = owner.__dict__[name]
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, former)


@contextlib.contextmanager
def together(*replacements: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for replacement in replacements:
            stack.enter_context(replacement)
        yield


def nothing(*_: object, **__: object) -> contextlib.AbstractContextManager[None]:
    """In the place of a context manager that changes how something runs."""
    return contextlib.nullcontext()


def ran(replacement: Replacement, function: Callable[..., Any], *arguments: Any) -> Any:
    with replacement():
        return function(*arguments)


class Work:
    """What the devices are tried on, made when it is asked for."""

    def __init__(self, options: argparse.Namespace, lm: Any) -> None:
        self.options = options
        self.lm = lm
        self.tasks: list[str] = options.tasks.split(",")
        self.written: list[str] = options.written.split(",")

    @functools.cached_property
    def targets(self) -> Any:
        from cti_edits.models.apply import target_matrices
        from cti_edits.search.candidates import MatrixId

        return {MatrixId(t.layer, t.matrix): t for t in target_matrices(self.lm.model, ("U_in", "U_out"))}

    @functools.cached_property
    def weights(self) -> Any:
        from cti_edits.linalg.spectrum_cache import SpectrumCache
        from cti_edits.search.edited_weights import EditedWeights

        return EditedWeights(self.targets, SpectrumCache())

    @functools.cache  # noqa: B019
    def calibration(self, task: str) -> Any:
        from cti_edits.harness.calibration import draw
        from cti_edits.harness.tasks import load_task

        return draw(load_task(task, self.options.include_path), self.options.samples, seed=0)

    @functools.cached_property
    def directions(self) -> Any:
        """The vectors of the tails of every matrix at every K."""
        return self.tails.vectors

    @functools.cached_property
    def tails(self) -> Any:
        """The tails of every matrix at every K."""
        return self.tail_directions(None)

    def tail_directions(self, folder: Path | None) -> Any:
        """The same, with decompositions from and into this folder."""
        from cti_edits.linalg.spectrum_cache import SpectrumCache
        from cti_edits.progress import Silent
        from cti_edits.search.gradients import last_triplets

        return last_triplets(CLUSTERS, self.targets, SpectrumCache(folder), Silent())

    @property
    def layers(self) -> list[int]:
        """The first, a middle and the last."""
        depth = 1 + max(one.layer for one in self.targets)
        return sorted({0, depth // 2, depth - 1})

    def chosen(self) -> list[Any]:
        """A matrix of each of these layers, U_in and U_out by turns."""
        from cti_edits.search.candidates import MatrixId

        return [
            MatrixId(layer, role) for layer, role in zip(self.layers, itertools.cycle(("U_in", "U_out")), strict=False)
        ]

    def demo_weights(self) -> list[tuple[str, torch.Tensor]]:
        """The weights of the matrices that are chosen."""
        return [(f"{one.matrix} of layer {one.layer}", self.targets[one].weight) for one in self.chosen()]

    @functools.cached_property
    def big_weight(self) -> torch.Tensor:
        from benchmarks.decompositions import random_weight

        return random_weight(self.options.rows, self.options.columns)

    @property
    def big(self) -> str:
        return f"{self.options.rows} x {self.options.columns} float16"


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
    from cti_edits.search.candidates import RankCut

    ways: dict[str, Replacement] = {"with": contextlib.nullcontext, **without}
    for task in tasks:
        evaluators = {}
        for way, replacement in ways.items():
            with replacement():
                evaluators[way] = ReplayEvaluator(work.lm, work.calibration(task))
                evaluators[way].evaluate()
        for target_id in work.chosen():
            members = [RankCut(target_id, 4, rho) for rho in rates]
            for candidate, _, edited in work.weights.of((target_id, 4, members)):
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
    from cti_edits.search.scores import keep_best, matrix_scores

    settings = find_preset("cl-100g-100e").settings(work.lm.kind)
    clusters = [number for number in CLUSTERS if number in settings.clusters]
    rates = [float(rate) for rate in work.options.rates.split(",")]
    task = work.tasks[0]
    calibration = work.calibration(task)
    session = Session(work.lm)
    gradients = session.sigma_gradients(list(work.targets.values()), work.directions, calibration.gold)
    scores = matrix_scores(with_values(gradients, work.tails.values), CLUSTERS, work.targets)
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
                session, ReplayEvaluator(work.lm, calibration), work.weights, groups, stop, Silent()
            ), blocks

    def same(one: tuple[Any, int], other: tuple[Any, int]) -> bool:
        a, b = one[0].best, other[0].best
        return (a.candidate, a.correct) == (b.candidate, b.correct) and abs(a.nll - b.nll) <= CLOSE

    runs = {way: functools.partial(evaluated, *how) for way, how in ways.items()}
    # Decompositions of all of them are there from now on.
    for group in groups:
        for _ in work.weights.of(group):
            pass
    number = sum(len(members) for _, _, members in groups)
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


# Decompositions


def tails(
    works: Iterable[tuple[str, str, torch.Tensor]],
    without: Mapping[str, Callable[[torch.Tensor], Any]],
    clusters: Sequence[int] = CLUSTERS,
) -> Iterator[Comparison]:
    """The last singular triplets of the row blocks, for all K.

    Args:
        works: of each weight, the work and the part that it is.
        without: by the name of the way.
        clusters: the K.
    """
    from cti_edits.linalg.block_tails import block_tails
    from cti_edits.linalg.lowrank import BIG

    for work, part, weight in works:
        ways: dict[str, Callable[[], Any]] = {"with": functools.partial(block_tails, weight, clusters)}
        ways |= {way: functools.partial(run, weight) for way, run in without.items()}
        big = weight.numel() > BIG
        yield Comparison(f"tails, {work}", part, ways, same_tails, once=big)


def tails_replaced(replacement: Replacement, weight: torch.Tensor) -> Any:
    from cti_edits.linalg.block_tails import block_tails

    with replacement():
        return block_tails(weight, CLUSTERS)


def same_tails(one: Any, other: Any) -> bool:
    """Singular values agree to a share of 1e-7 of the largest of the tail; vectors are judged by the scores."""
    return all(
        float((a.S - b.S).abs().max()) <= 1e-7 * float(a.S.max())
        for number in one
        for a, b in zip(one[number], other[number], strict=True)
    )


def demo_and_big(work: Work) -> Iterator[tuple[str, str, torch.Tensor]]:
    for part, weight in work.demo_weights():
        yield "the demo model", part, weight
    yield work.big, "", work.big_weight


def smaller_gram(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module

    def by_svd() -> contextlib.AbstractContextManager[object]:
        return replaced(tails_module, "_tail_by_gram", lambda *_: None)

    # Of a big matrix, benchmarks.decompositions has it.
    works = (("the demo model", part, weight) for part, weight in work.demo_weights())
    yield from tails(works, {"torch.linalg.svd": functools.partial(tails_replaced, by_svd)})
    yield from truncations(work, spectra_of_svd=True)


def truncations(work: Work, spectra_of_svd: bool) -> Iterator[Comparison]:
    """Nine rates from one decomposition; without, from one singular value decomposition, or each from its own."""
    from cti_edits.artifact.ranks import block_ranks
    from cti_edits.linalg.block_spectra import block_spectra, truncate_with
    from cti_edits.linalg.lowrank import assemble, decompose, truncate
    from cti_edits.search.settings import RATES

    def cut(weight: torch.Tensor, clusters: int) -> list[torch.Tensor]:
        spectra = block_spectra(weight, clusters)
        return [truncate_with(weight, spectra, ranks) for ranks in all_ranks(weight, clusters)]

    def by_svd(weight: torch.Tensor, clusters: int) -> list[torch.Tensor]:
        decomposed = decompose(weight, clusters)
        return [assemble(decomposed, ranks, weight.dtype) for ranks in all_ranks(weight, clusters)]

    def each(weight: torch.Tensor, clusters: int) -> list[torch.Tensor]:
        return [truncate(weight, ranks) for ranks in all_ranks(weight, clusters)]

    def all_ranks(weight: torch.Tensor, clusters: int) -> list[tuple[int, ...]]:
        return [block_ranks((weight.shape[0], weight.shape[1]), clusters, rho) for rho in RATES]

    block = torch.tensor_split(work.big_weight.T, 16)[0].contiguous()
    works = [
        ("the demo model", f"{part} K = {clusters}", weight, clusters)
        for (part, weight), clusters in itertools.product(work.demo_weights(), (2, 8))
    ]
    for name, part, weight, clusters in (*works, (f"{len(block)} x {block.shape[1]} float16", "K = 1", block, 1)):
        ways = {"with": functools.partial(cut, weight, clusters)}
        if spectra_of_svd:
            ways["torch.linalg.svd"] = functools.partial(by_svd, weight, clusters)
        else:
            ways["a decomposition for each rate"] = functools.partial(each, weight, clusters)
        yield Comparison(f"nine rates, {name}", part, ways, same_weights)


def same_weights(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    """Within what rounding to the weight's dtype may move it by."""
    return all(
        float(torch.linalg.matrix_norm(a.double() - b.double()))
        <= torch.finfo(a.dtype).eps * float(torch.linalg.matrix_norm(a.double()))
        for a, b in zip(one, other, strict=True)
    )


def one_decomposition(work: Work) -> Iterator[Comparison]:
    return truncations(work, spectra_of_svd=False)


def one_pass(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg.block_tails import block_tails

    def one_by_one(weight: torch.Tensor) -> Any:
        return {number: block_tails(weight, [number])[number] for number in CLUSTERS}

    return tails(demo_and_big(work), {"a pass for each K": one_by_one})


def subset_solver(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module

    def all_pairs() -> contextlib.AbstractContextManager[object]:
        return replaced(tails_module, "_last_eigenpairs", lambda gram, _: torch.linalg.eigh(gram))

    def subset_always() -> contextlib.AbstractContextManager[object]:
        return replaced(tails_module, "ALL_PAIRS", 0)

    ways = {
        "torch.linalg.eigh": functools.partial(tails_replaced, all_pairs),
        "the subset solver for the smallest, too": functools.partial(tails_replaced, subset_always),
    }
    return tails(demo_and_big(work), ways)


def half_of_the_gram(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import gram

    def whole(tall: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(tall.shape[1], tall.shape[1], dtype=torch.float64)
        for part in torch.split(tall, gram.ROWS):
            rows = part.double()
            total.addmm_(rows.T, rows)
        return total

    way = functools.partial(tails_replaced, lambda: replaced(gram, "gram_matrix", whole))
    return tails(demo_and_big(work), {"both halves": way})


def one_thread_for_the_small(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module

    def all_threads() -> contextlib.AbstractContextManager[object]:
        return together(replaced(tails_module, "ONE_THREAD", 0), replaced(tails_module, "one_torch_thread", nothing))

    return tails(demo_and_big(work), {"all threads": functools.partial(tails_replaced, all_threads)})


def all_tails(work: Work, without: Mapping[str, Replacement]) -> Iterator[Comparison]:
    """The tails of every matrix of the model, nothing cached."""

    def found(replacement: Replacement) -> Any:
        with replacement(), tempfile.TemporaryDirectory() as folder:
            return work.tail_directions(Path(folder))

    ways: dict[str, Replacement] = {"with": contextlib.nullcontext, **without}
    runs = {way: functools.partial(found, replacement) for way, replacement in ways.items()}
    yield Comparison("tails, all of the demo model", f"{len(work.targets)} matrices", runs, same_directions)


def same_directions(one: Any, other: Any) -> bool:
    """As many of the same shapes; that vectors are right is `same_gradients`' matter."""
    shapes = [[[[b.U.shape for b in blocks] for blocks in ways] for ways in found.vectors] for found in (one, other)]
    return shapes[0] == shapes[1]


def threads_beside_lapack(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module
    from cti_edits.linalg import gram, lapack

    ways: dict[str, Replacement] = {
        "scipy.linalg.eigh": lambda: replaced(gram, "some_eigenpairs", lapack._by_scipy),
        "torch.linalg.eigh": lambda: replaced(
            tails_module, "_last_eigenpairs", lambda matrix, _: torch.linalg.eigh(matrix)
        ),
    }
    return all_tails(work, ways)


def matrices_side_by_side(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module
    from cti_edits.search import gradients as module

    @contextlib.contextmanager
    def one_by_one(_: int | None = None) -> Iterator[Any]:
        yield map

    ways: dict[str, Replacement] = {
        "one after the other": lambda: replaced(module, "matrix_threads", one_by_one),
        "one after the other, all threads": lambda: together(
            replaced(module, "matrix_threads", one_by_one),
            replaced(tails_module, "ONE_THREAD", 0),
            replaced(tails_module, "one_torch_thread", nothing),
        ),
    }
    return all_tails(work, ways)


def blocks_side_by_side(work: Work) -> Iterator[Comparison]:
    from cti_edits.artifact.ranks import block_ranks
    from cti_edits.linalg import lowrank

    @contextlib.contextmanager
    def one_by_one(_: int | None = None) -> Iterator[Any]:
        yield map

    weight = work.big_weight.T.contiguous()
    shape = weight.shape[0], weight.shape[1]
    for clusters, rho in ((2, 0.01), (8, 0.1)):
        run = functools.partial(lowrank.truncate, weight, block_ranks(shape, clusters, rho))
        ways = {
            "with": lambda run=run: [run()],
            "one after the other": lambda run=run: [ran(lambda: replaced(lowrank, "matrix_threads", one_by_one), run)],
        }
        name = f"truncation, {shape[0]} x {shape[1]} float16"
        yield Comparison(f"{name}, K = {clusters}, rho = {rho:g}", "", ways, same_weights, once=True)


def decompositions_on_disk(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg.spectrum_cache import SpectrumCache
    from cti_edits.models.identity import tensor_sha256

    def spectra(folder: Path | None) -> Any:
        cache = SpectrumCache(folder)
        found: list[Any] = []
        for one in work.chosen():
            target = work.targets[one]
            found += cache.spectra(target.weight, tensor_sha256(target.parameter), 4)
        return found

    def anew(run: Callable[[Path], Any]) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return run(Path(folder))

    def same_spectra(one: Any, other: Any) -> bool:
        return all(torch.equal(a.vectors, b.vectors) for a, b in zip(one, other, strict=True))

    spectra(None)
    _ = work.directions
    ways = {
        "with": functools.partial(work.tail_directions, None),
        "computed": functools.partial(anew, work.tail_directions),
    }
    yield Comparison("tails, all of the demo model", f"{len(work.targets)} matrices", ways, same_directions)
    ways = {"with": functools.partial(spectra, None), "computed": functools.partial(anew, spectra)}
    yield Comparison("spectra, the demo model", "3 matrices, K = 4", ways, same_spectra)


def few_ranks(work: Work) -> Iterator[Comparison]:
    """The leading eigenvectors of the Gram matrix of a block, as accurate as a truncation wants them, and the proof.

    The work is truncating the big matrix at a few ranks, at several K; of each only the first block. Every way ends
    with the residual, computed from the matrix, and the Cholesky factorisation that shows that no eigenvector was
    missed, whose seconds are told; LAPACK is taken without Lanczos today, and proves nothing. At K = 4 a block has the
    same Gram matrix's size and as many ranks as at K = 2.
    """
    from cti_edits.artifact.ranks import block_ranks
    from cti_edits.linalg.gram import LARGE, gram_matrix

    weight = work.big_weight.T
    weights = [(f"{len(weight)} x {weight.shape[1]}", weight), ("the demo model", work.demo_weights()[0][1])]
    for (name, matrix), rho in itertools.product(weights, (0.05, 0.01, 0.005)):
        for clusters in (2, 8, 16):
            block = torch.tensor_split(matrix, clusters)[0]
            tall = block if len(block) >= block.shape[1] else block.T
            rank = block_ranks((matrix.shape[0], matrix.shape[1]), clusters, rho)[0]
            if len(block) // 4 <= rank:
                continue
            lower = gram_matrix(tall)
            title = f"eigenvectors, {name}, K = {clusters}, rho = {rho:g}"
            part, ways = f"{rank} of {len(lower)}", eigenvector_ways(lower, rank, block)
            yield Comparison(title, part, ways, same_span, lambda found: found[1], once=len(lower) >= LARGE)


def eigenvector_ways(lower: torch.Tensor, rank: int, block: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """The ways of `few_ranks`; each gives (n, rank) orthonormal columns, and what more there is to say."""
    from scipy.sparse.linalg import eigsh

    from cti_edits.linalg.gram import accurate_cut, eigenpairs
    from cti_edits.linalg.lanczos import _mirrored, cut_by, leading_eigenvectors, none_missed

    accurate = functools.partial(accurate_cut, shape=block.shape, dtype=block.dtype)
    size = len(lower)

    def by_lapack() -> tuple[torch.Tensor, torch.Tensor]:
        return eigenpairs(lower, size - rank - 1, size - 1)

    def proved(values: torch.Tensor, vectors: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, str]:
        begun = time.perf_counter()
        rows = vectors[:, 1:].mT.contiguous()
        projected, cut = cut_by(matrix, rows, float(values[0]))
        if not accurate(cut):
            return vectors[:, 1:], "not accurate enough"
        found = none_missed(matrix, rows, projected, cut)
        return vectors[:, 1:], f"({'' if found else 'not '}proved in {seconds_text(time.perf_counter() - begun)})"

    def arpack() -> tuple[torch.Tensor, str]:
        matrix = _mirrored(lower.clone())
        values, vectors = eigsh(matrix.numpy(), rank + 1, which="LA", tol=tolerance, v0=start, ncv=basis)
        return proved(torch.from_numpy(values), torch.from_numpy(vectors), matrix)

    def lanczos() -> tuple[torch.Tensor, str]:
        found = leading_eigenvectors(lower.clone(), rank, accurate)
        return (by_lapack()[1][:, 1:], "refused") if found is None else (found, "proved")

    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    basis = min(size - 1, max(3 * rank, rank + 30))
    matrix = _mirrored(lower.clone())
    values, vectors = by_lapack()
    _, cut = cut_by(matrix, vectors[:, 1:].mT.contiguous(), float(values[0]))
    # The residual that is just accurate enough, shared by the vectors, as a share of the largest eigenvalue.
    most = allowed_error(cut, accurate)
    tolerance = most / (rank + 1) ** 0.5 / cut.largest / 2
    return {
        "with": lanczos,
        "scipy.sparse.linalg.eigsh": arpack,
        "LAPACK's subset solver": lambda: proved(*by_lapack(), _mirrored(lower.clone())),
    }


def allowed_error(cut: Any, accurate: Callable[[Any], bool]) -> float:
    """The largest residual with which a cut is accurate enough, by bisection."""
    least, most = 0.0, cut.largest
    if not accurate(dataclasses.replace(cut, error=least)):
        return 0.0
    for _ in range(60):
        middle = (least + most) / 2
        if accurate(dataclasses.replace(cut, error=middle)):
            least = middle
        else:
            most = middle
    return least


def same_span(one: tuple[torch.Tensor, str], other: tuple[torch.Tensor, str]) -> bool:
    """The sines of the angles between the two spans are small."""
    a, b = one[0], other[0]
    return float(torch.linalg.matrix_norm(b - a @ (a.mT @ b))) < 1e-4


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
    "gram": smaller_gram,
    "half-gram": half_of_the_gram,
    "one-pass": one_pass,
    "subset": subset_solver,
    "lanczos": few_ranks,
    "one-decomposition": one_decomposition,
    "one-thread": one_thread_for_the_small,
    "beside-lapack": threads_beside_lapack,
    "side-by-side": matrices_side_by_side,
    "blocks-side-by-side": blocks_side_by_side,
    "disk": decompositions_on_disk,
}


if __name__ == "__main__":
    main()
