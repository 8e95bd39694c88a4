"""Which examples are asked first: those that models alike had wrong."""

from __future__ import annotations

from cti_edits.replay import example_order
from cti_edits.replay.example_order import ExampleOrder


def test_what_is_expected_wrong_comes_first() -> None:
    models = ExampleOrder()
    batches = [[0, 1], [2, 3], [4, 5]]
    assert models.next(batches, {}) == 0
    models.add({0: True, 1: True, 2: False, 3: False, 4: False, 5: True})
    assert models.next(batches, {}) == 1
    assert models.next([batches[0], batches[2]], {}) == 1
    # The latest model, and the one before it for the examples that the latest was not asked.
    models.add({0: False, 1: False, 4: True})
    assert models.next(batches, {}) == 0
    assert models.next(batches[1:], {}) == 0
    # One that is like the first from what is known: not the latest, although 0 was wrong of it.
    assert models.next(batches, {4: False}) == 1
    assert models.next(batches, {1: True, 4: True}) == 0
    assert models.next(batches, {0: True, 1: True, 4: True}) == 1


def test_the_oldest_models_are_forgotten() -> None:
    models = ExampleOrder()
    models.add({0: True, 1: False, 2: False})
    for _ in range(example_order.MODELS_COMPARED):
        models.add({0: False, 1: True, 2: True})
    assert models.next([[0], [1]], {2: False}) == 0
