"""Which examples are asked first: those that the models before had wrong."""

from __future__ import annotations

from cti_edits.replay.example_order import ExampleOrder


def test_what_was_wrong_last_comes_first() -> None:
    models = ExampleOrder()
    batches = [[0, 1], [2, 3], [4, 5]]
    assert models.next(batches) == 0
    models.add({0: True, 1: True, 2: False, 3: False, 4: False, 5: True})
    assert models.next(batches) == 1
    assert models.next([batches[0], batches[2]]) == 1
    # The latest model, and the one before it for the examples that the latest was not asked.
    models.add({0: False, 1: False, 4: True})
    assert models.next(batches) == 0
    assert models.next(batches[1:]) == 0
    models.add({0: True, 1: True})
    assert models.next(batches) == 1


def test_the_share_counts_and_not_the_number() -> None:
    models = ExampleOrder()
    models.add({0: False, 1: False, 2: True, 3: True, 4: True, 5: False})
    assert models.next([[0, 1, 2, 3, 4], [5]]) == 1
