"""A backward pass that stops at a block and asks no weight for a gradient, against plain autograd."""

from __future__ import annotations

import contextlib

import pytest
import torch

from cti_edits.replay.backward import gradients_stop_at, observe_gradients, without_weight_gradients


@pytest.fixture
def layers() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(*(torch.nn.Linear(3, 3, dtype=torch.float64) for _ in range(3)))


X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_inputs_and_gradients_at_outputs_give_the_gradients_of_the_weights(layers: torch.nn.Sequential) -> None:
    layers(X).square().sum().backward()
    expected = {index: layers[index].weight.grad for index in (1, 2)}
    layers.zero_grad()
    found: dict[int, torch.Tensor] = {}

    def take(index: int, x: torch.Tensor, delta: torch.Tensor) -> None:
        assert not x.requires_grad
        found[index + 1] = delta.T @ x

    with (
        without_weight_gradients(layers),
        gradients_stop_at(layers[1]),
        observe_gradients([layers[1], layers[2]], take),
    ):
        layers(X).square().sum().backward()
    assert sorted(found) == [1, 2]
    for index, gradient in expected.items():
        torch.testing.assert_close(found[index], gradient)
    assert all(parameter.grad is None for parameter in layers.parameters())


def test_nothing_before_the_block_is_in_the_backward_pass(layers: torch.nn.Sequential) -> None:
    taken: list[int] = []
    with (
        without_weight_gradients(layers),
        gradients_stop_at(layers[1]),
        observe_gradients(list(layers), lambda index, *_: taken.append(index)),
    ):
        layers(X).sum().backward()
    assert sorted(taken) == [1, 2]


def test_what_is_before_the_block_gets_no_gradient_even_where_it_asks_for_one(layers: torch.nn.Sequential) -> None:
    with gradients_stop_at(layers[1]):
        layers(X).sum().backward()
    assert [layer.weight.grad is None for layer in layers] == [True, False, False]


def test_a_block_that_takes_its_states_by_name() -> None:
    class Block(torch.nn.Module):
        def forward(self, hidden_states: torch.Tensor, other: int) -> torch.Tensor:
            assert hidden_states.requires_grad
            assert other == 7
            return hidden_states * 2

    block = Block()
    with gradients_stop_at(block):
        assert block(hidden_states=X, other=7).requires_grad
    with pytest.raises(AssertionError):
        block(hidden_states=X, other=7)


def test_all_is_as_before_also_after_an_error(layers: torch.nn.Sequential) -> None:
    layers[0].bias.requires_grad_(False)
    former = [parameter.requires_grad for parameter in layers.parameters()]
    with contextlib.suppress(KeyboardInterrupt):
        with (
            without_weight_gradients(layers),
            gradients_stop_at(layers[1]),
            observe_gradients(list(layers), lambda *_: None),
        ):
            assert not any(parameter.requires_grad for parameter in layers.parameters())
            raise KeyboardInterrupt
        raise AssertionError("the error was swallowed")
    assert [parameter.requires_grad for parameter in layers.parameters()] == former
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
