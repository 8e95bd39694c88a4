"""Replay against the reference evaluator: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.evaluation``.

For each task: the reference evaluator's best batch size, on a third of the examples; then every candidate of a few
matrices (those with the best scores, and one of the first, a middle and the last layer) by both evaluators in turn,
whose predictions have to be the same on every example; then candidates of every layer by replaying alone. A layer's
ratio is the median time of the reference evaluator, which does not depend on the layer, over that of the replay. What
it takes to come from the layer before, the candidates of a (matrix, K) share: a ninth of it counts, for the nine rates
of the presets.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from typing import Any

from benchmarks.demo import TASKS, demo_lm, geometric_mean, machine, quiet, timed

RATES = (0.6, 0.1)
SHARING = 9
"""So many candidates of a (matrix, K) share what it takes to come to their layer: `space.RATES`."""


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder of a model with two or more layers (the demo model)")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--clusters", type=int, default=4, help="row blocks, K")
    parser.add_argument("--batch-sizes", default="8,16,32", help="tried for the reference evaluator")
    parser.add_argument("--repeats", type=int, default=3, help="replays of every layer")
    parser.add_argument("--include-path", help="folder with more tasks")
    options = parser.parse_args()
    lm = demo_lm(options.model)
    print(machine())
    print(f"{options.samples} examples of each task, K = {options.clusters}")
    ratios: list[float] = []
    for name in options.tasks.split(","):
        ratios += task_ratios(lm, name, options)
    print(f"geometric mean over tasks and layers: {geometric_mean(ratios):.1f}")


def task_ratios(lm: Any, name: str, options: argparse.Namespace) -> list[float]:
    """The ratio of every layer."""
    from cti_edits.harness.calibration import draw
    from cti_edits.harness.reference_evaluator import ReferenceEvaluator
    from cti_edits.harness.tasks import load_task
    from cti_edits.linalg.spectrum_cache import SpectrumCache
    from cti_edits.models.apply import target_matrices
    from cti_edits.replay.replay_evaluator import ReplayEvaluator
    from cti_edits.replay.session import replaced_weight
    from cti_edits.search.candidates import Group, MatrixId, RankCut
    from cti_edits.search.edited_weights import EditedWeights

    calibration = draw(load_task(name, options.include_path), options.samples, seed=0)
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, ("U_in", "U_out"))}
    cache = SpectrumCache()
    weights = EditedWeights(targets, cache)
    few = draw(load_task(name, options.include_path), max(1, options.samples // 3), seed=0)
    best_batch_size(lm, ReferenceEvaluator(lm, few), [int(size) for size in options.batch_sizes.split(",")])
    reference = ReferenceEvaluator(lm, calibration)
    replay = ReplayEvaluator(lm, calibration)
    replay.evaluate()
    depth = 1 + max(target_id.layer for target_id in targets)
    slow, off, compared = [], 0.0, 0
    for target_id in chosen(lm, calibration, targets, cache, options.clusters, depth):
        members = [RankCut(target_id, options.clusters, rho) for rho in RATES]
        for candidate, _, edited in weights.of(Group(target_id, options.clusters, members)):
            with replaced_weight(targets[target_id], edited):
                fast = replay.evaluate(target_id.layer)
                seconds, expected = timed(reference.evaluate)
            slow.append(seconds)
            if fast is None or fast.correct != expected.correct or fast.predicted != expected.predicted:
                sys.exit(f"{name}: the two differ on {candidate}")
            off, compared = max(off, abs(fast.nll - expected.nll)), compared + 1
    if off > 1e-4:
        sys.exit(f"{name}: mean log-probabilities differ by {off:.1e}")
    seconds_of: dict[int, list[float]] = {layer: [] for layer in range(depth)}
    for _ in range(options.repeats):
        replay.evaluate(0)
        for layer in range(depth):
            seconds_of[layer].append(candidate_seconds(replay, targets, weights, layer, options.clusters))
    whole = statistics.median(slow)
    ratios = [whole / statistics.median(seconds_of[layer]) for layer in range(depth)]
    first, middle, last = (statistics.median(seconds_of[layer]) for layer in (0, depth // 2, depth - 1))
    print(
        f"{name}: same predictions for all of {compared} candidates, mean log-probabilities within {off:.0e}; "
        f"reference {whole:.2f} s (batches of {lm.batch_size}); replay {first:.2f} s from the first layer, "
        f"{middle:.2f} s from the middle, {last:.2f} s from the last; ratio {geometric_mean(ratios):.1f}",
        flush=True,
    )
    return ratios


def candidate_seconds(replay: Any, targets: Any, weights: Any, layer: int, clusters: int) -> float:
    """Mean seconds of a candidate of a layer, when the replay comes from the layer before."""
    from cti_edits.replay.session import replaced_weight
    from cti_edits.search.candidates import Group, MatrixId, RankCut

    target_id = MatrixId(layer, "U_in" if layer % 2 else "U_out")
    measure = functools.partial(replay.evaluate, layer, target_id.matrix)
    members = [RankCut(target_id, clusters, rho) for rho in RATES]
    seconds: list[float] = []
    coming = 0.0
    for _, _, edited in weights.of(Group(target_id, clusters, members)):
        with replaced_weight(targets[target_id], edited):
            if not seconds:
                coming = timed(measure)[0]
            seconds.append(timed(measure)[0])
    return statistics.fmean(seconds) + max(0.0, coming - seconds[0]) / SHARING


def best_batch_size(lm: Any, reference: Any, sizes: list[int]) -> None:
    """Give the reference evaluator the batch size that is fastest for it."""
    seconds = {}
    for size in sizes:
        lm.batch_size_per_gpu = size
        seconds[size], _ = timed(reference.evaluate)
    lm.batch_size_per_gpu = min(seconds, key=lambda size: seconds[size])


def chosen(lm: Any, calibration: Any, targets: Any, cache: Any, clusters: int, depth: int) -> list[Any]:
    """The two matrices with the best scores, and one of the first, a middle and the last layer; by layer."""
    from cti_edits.progress import Silent
    from cti_edits.replay.session import Session
    from cti_edits.search.candidates import MatrixId
    from cti_edits.search.gradients import sigma_gradients
    from cti_edits.search.scores import keep_best, matrix_scores

    directions = sigma_gradients(Session(lm), calibration, (clusters,), targets, cache, Silent())
    top = keep_best(matrix_scores(directions, (clusters,), targets)[clusters], 2)
    return sorted({*top, MatrixId(0, "U_in"), MatrixId(depth // 2, "U_out"), MatrixId(depth - 1, "U_in")})


if __name__ == "__main__":
    main()
