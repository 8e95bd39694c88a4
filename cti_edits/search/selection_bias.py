"""What the best of many is worth where no rows are left to measure it on: BBC-CV, the bootstrap of the choice itself.

Tsamardinos, Greasidou and Borboudakis, Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation (2018), section 4. Rows are drawn with replacement, the best candidate on those is chosen, and measured
on the rows that were not drawn. That takes off what choosing adds. What is fitted on the very rows keeps what fitting
adds: no row is held out of a gradient here.
"""

from __future__ import annotations

from collections.abc import Sequence

from cti_edits.artifact.records import SelectionCorrected
from cti_edits.search.outcome import Outcome

RESAMPLES = 1000


def selection_corrected(unedited: Outcome, outcomes: Sequence[Outcome], seed: int = 0) -> SelectionCorrected | None:
    """The accuracy of choosing the best of these, the unedited model among them; None for too few rows.

    Args:
        unedited: the outcome of the unedited model.
        outcomes: of every candidate, each on all rows.
        seed: of the bootstrap.
    """
    import numpy as np

    table = np.array([one.correct for one in (unedited, *outcomes)], dtype=float)
    candidates, rows = table.shape
    generator = np.random.default_rng(seed)
    accuracies, gains = [], []
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        left = times == 0
        if not left.any():
            continue
        # Of equals the first: the unedited model, then the candidates in their order.
        chosen = int(np.argmax(table @ times))
        accuracies.append(float(table[chosen, left].mean()))
        gains.append(accuracies[-1] - float(table[0, left].mean()))
    if not gains:
        return None
    low, high = np.quantile(gains, [0.025, 0.975])
    return SelectionCorrected(rows, candidates - 1, float(np.mean(accuracies)), (float(low), float(high)))
