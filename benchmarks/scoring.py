"""Scores of all matrices at K = 1, 2, 4, 8, 16: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.scoring``.

Hooks and tails from Gram matrices, nothing cached, against ∂L/∂W by autograd and torch.linalg.svd of every block. Both
give a score for every matrix and K, which have to agree, and the same five best for every K.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from benchmarks.demo import demo_lm, empty_cache, machine, quiet, timed

CLUSTERS = (1, 2, 4, 8, 16)
CLOSE = 1e-4
"""Relative to the largest score of the same K."""


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder (the demo model)")
    parser.add_argument("--task", default="fever")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--include-path", help="folder with more tasks")
    options = parser.parse_args()
    from cti_edits.harness.calibration import draw
    from cti_edits.harness.tasks import load_task
    from cti_edits.models.apply import target_matrices
    from cti_edits.search.candidates import MatrixId
    from cti_edits.search.scores import keep_best

    lm = demo_lm(options.model)
    calibration = draw(load_task(options.task, options.include_path), options.samples, seed=0)
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, ("U_in", "U_out"))}
    fast, slow = [], []
    for _ in range(options.repeats):
        seconds, found = timed(lambda: by_hooks(lm, calibration, targets))
        fast.append(seconds)
        seconds, expected = timed(lambda: by_autograd(lm, calibration, targets))
        slow.append(seconds)
        for clusters in CLUSTERS:
            scale = max(abs(score) for score in expected[clusters].values())
            off = max(abs(found[clusters][one] - score) / scale for one, score in expected[clusters].items())
            if off > CLOSE or keep_best(found[clusters], 5) != keep_best(expected[clusters], 5):
                sys.exit(f"the two differ at K = {clusters}: by {off:.1e} of the largest score")
    print(machine())
    print(
        f"{len(targets)} matrices at K = {', '.join(map(str, CLUSTERS))}; {options.samples} examples of {options.task}"
    )
    print("scores agree, and so do the five best matrices for every K")
    print(f"autograd and torch.linalg.svd (float64): {statistics.median(slow):.1f} s (median of {options.repeats})")
    print(f"hooks and Gram matrices:                 {statistics.median(fast):.1f} s")
    print(f"ratio of the medians: {statistics.median(slow) / statistics.median(fast):.1f}")


def by_hooks(lm: Any, calibration: Any, targets: Any) -> Any:
    from cti_edits.linalg.spectrum_cache import SpectrumCache
    from cti_edits.progress import Silent
    from cti_edits.replay.session import Session
    from cti_edits.search.gradients import sigma_gradients
    from cti_edits.search.scores import matrix_scores

    with empty_cache():
        directions = sigma_gradients(Session(lm), calibration, CLUSTERS, targets, SpectrumCache(), Silent())
        return matrix_scores(directions, CLUSTERS, targets)


def by_autograd(lm: Any, calibration: Any, targets: Any) -> Any:
    from cti_edits.linalg.lowrank import decompose
    from cti_edits.linalg.spectrum import matrix_score, sigma_gradients
    from cti_edits.replay.gradients import loss_gradients

    gradients = loss_gradients(lm, list(targets.values()), calibration.gold, batch_size=16)
    return {
        clusters: {
            target_id: matrix_score(sigma_gradients(decompose(target.weight, clusters), gradient))
            for (target_id, target), gradient in zip(targets.items(), gradients, strict=True)
        }
        for clusters in CLUSTERS
    }


if __name__ == "__main__":
    main()
