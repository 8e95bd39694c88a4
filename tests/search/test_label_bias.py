from __future__ import annotations

from random import Random

import numpy as np
import pytest
from scipy.special import log_softmax

from cti_edits.harness.evaluation import Evaluation
from cti_edits.search.label_bias import corrected, fitted_offsets, label_bias


def biased(rows: int, seed: int, bias: tuple[float, ...], spread: float = 1.0) -> tuple[list[list[float]], list[int]]:
    """Likelihoods that tell the right label but for ``bias``, and the right labels."""
    generator = Random(seed)
    gold = [generator.randrange(len(bias)) for _ in range(rows)]
    found = [
        [-20 + generator.gauss(0, spread) + 2 * (label == right) + added for label, added in enumerate(bias)]
        for right in gold
    ]
    return found, gold


def evaluation(likelihoods: list[list[float]], gold: list[int]) -> Evaluation:
    right = tuple(row.index(max(row)) == one for row, one in zip(likelihoods, gold, strict=True))
    return Evaluation(sum(right) / len(right), 1.0, right, likelihoods=tuple(map(tuple, likelihoods)))


@pytest.mark.parametrize("bias", [(5.0, 0.0), (0.0, 3.0, -2.0)])
def test_a_bias_is_found_and_taken_off(bias: tuple[float, ...]) -> None:
    likelihoods, gold = biased(4000, 0, bias)
    offsets = fitted_offsets(likelihoods, gold)
    assert sum(offsets) == pytest.approx(0.0, abs=1e-6)
    mean = sum(bias) / len(bias)
    assert offsets == pytest.approx([mean - one for one in bias], abs=0.2)
    before = evaluation(likelihoods, gold).accuracy
    after = np.mean([one == right for one, right in zip(corrected(likelihoods, offsets), gold, strict=True)])
    assert after > before + 0.2


def test_no_other_numbers_make_the_right_labels_likelier() -> None:
    likelihoods, gold = biased(200, 1, (1.0, 0.0, 0.5))
    offsets = np.array(fitted_offsets(likelihoods, gold))

    def loss(added: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        """The least over all scales."""
        scores = np.array(likelihoods) + added
        every = [log_softmax(scale * scores, axis=1) for scale in np.geomspace(0.2, 20, 200)]
        return min(-float(one[range(len(gold)), gold].mean()) for one in every)

    for place in range(3):
        for step in (-0.3, 0.3):
            assert loss(offsets) < loss(offsets + step * np.eye(3)[place])


def test_rows_of_one_label_or_that_are_told_apart_give_finite_numbers() -> None:
    for gold in ([0, 0, 0], [0, 1, 1]):
        offsets = fitted_offsets([[0.0, -9.0], [-9.0, 0.0], [-8.0, 0.0]], gold)
        assert all(np.isfinite(offsets))
    assert corrected([[0.0, -9.0], [-9.0, 0.0]], fitted_offsets([[0.0, -9.0], [-9.0, 0.0]], [0, 0]))[0] == 0


def test_an_edit_that_does_no_more_than_that_is_not_shown_to() -> None:
    known, test = biased(100, 2, (4.0, 0.0)), biased(1000, 3, (4.0, 0.0))
    unbiased = evaluation([[a - 4, b] for a, b in test[0]], test[1])
    found = label_bias(evaluation(*known), known[1], evaluation(*test), test[1], unbiased.correct, None)
    assert found is not None
    assert found.n == 1000
    assert found.ci95[0] <= 0 <= found.ci95[1]
    assert found.corrected > evaluation(*test).accuracy + 0.2
    better = [True] * 1000
    more = label_bias(evaluation(*known), known[1], evaluation(*test), test[1], better, None)
    assert more is not None
    assert more.ci95[0] > 0


def test_a_task_without_fixed_labels_has_none() -> None:
    one = Evaluation(0.5, 1.0, (True, False))
    assert label_bias(one, [0, 0], one, [0, 0], [True, True], None) is None
