"""Logits at the places that are asked for, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from cti_edits.models.projection import projected_at

HIDDEN = torch.arange(24.0).reshape(2, 3, 4)
ROWS, COLUMNS = torch.tensor([1, 0, 1]), torch.tensor([2, 0, 2])


@pytest.fixture
def head() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 5)


def test_only_these_places_are_projected_in_the_order_in_which_they_are_asked_for(head: torch.nn.Linear) -> None:
    with projected_at(head, ROWS, COLUMNS):
        found = head(HIDDEN)
    assert torch.equal(found, head(torch.stack([HIDDEN[1, 2], HIDDEN[0, 0], HIDDEN[1, 2]])))


def test_everything_is_projected_again_afterwards_whatever_was_raised(head: torch.nn.Linear) -> None:
    whole = head(HIDDEN)
    with pytest.raises(KeyboardInterrupt), projected_at(head, ROWS, COLUMNS):
        raise KeyboardInterrupt
    assert torch.equal(head(HIDDEN), whole)


def test_what_has_no_places_is_left_as_it_is(head: torch.nn.Linear) -> None:
    """A layer that is given something else than (batch, sequence, width), and a model without such a layer."""
    flat = HIDDEN.reshape(6, 4)
    with projected_at(head, ROWS, COLUMNS):
        assert head(flat).shape == (6, 5)
    with projected_at(None, ROWS, COLUMNS):
        assert head(HIDDEN).shape == (2, 3, 5)
