"""A module runs something else for a while."""

from __future__ import annotations

import copy

import pytest
import torch

from cti_edits.replay.replaced_forward import replaced_forward

X = torch.ones(2)


def test_the_module_runs_it_inside_and_its_own_after() -> None:
    module = torch.nn.ReLU()
    with replaced_forward(module, lambda x: x + 1):
        assert module(X).tolist() == [2, 2]
    assert module(X).tolist() == [1, 1]
    assert "forward" not in module.__dict__
    copy.deepcopy(module)


def test_also_after_an_error() -> None:
    module = torch.nn.ReLU()
    with pytest.raises(KeyboardInterrupt), replaced_forward(module, lambda x: x + 1):
        raise KeyboardInterrupt
    assert "forward" not in module.__dict__


def test_one_inside_another_and_what_accelerate_put_there() -> None:
    """accelerate sets a forward of its own on an instance: that one comes back, and not the class's."""
    module = torch.nn.ReLU()

    def hooked(input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (as torch names it)
        return input * 5

    module.forward = hooked  # type: ignore[method-assign]
    with replaced_forward(module, lambda x: x + 1):
        with replaced_forward(module, lambda x: x + 2):
            assert module(X).tolist() == [3, 3]
        assert module(X).tolist() == [2, 2]
    assert module.forward is hooked
