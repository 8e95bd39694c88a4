"""One hash for all weights of a model in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cti_edits.models.weights_hash import weights_sha256


@pytest.mark.parametrize("change", ["value", "name", "dtype", "shape"])
def test_the_hash_of_weights_sees_every_change(change: str) -> None:
    def model(
        name: str = "a", shape: tuple[int, int] = (2, 3), dtype: torch.dtype = torch.float32, add: int = 0
    ) -> Any:
        holder = torch.nn.Module()
        holder.register_buffer(name, torch.arange(6, dtype=dtype).reshape(shape) + add)
        return holder

    changes: dict[str, Any] = {"value": {"add": 1}, "name": {"name": "b"}, "dtype": {"dtype": torch.float64}}
    other = model(**changes.get(change, {"shape": (3, 2)}))
    assert weights_sha256(model()) == weights_sha256(model()) != weights_sha256(other)


def test_weights_that_are_not_in_memory_have_no_hash() -> None:
    with pytest.raises(TypeError, match="weight: the weights are not in memory"):
        weights_sha256(torch.nn.Linear(2, 3, bias=False, device="meta"))


def test_the_order_of_the_weights_does_not_matter() -> None:
    first, second = torch.nn.Module(), torch.nn.Module()
    for model, names in ((first, "ab"), (second, "ba")):
        for name in names:
            model.register_buffer(name, torch.full((2,), ord(name)))
    assert list(first.state_dict()) != list(second.state_dict())
    assert weights_sha256(first) == weights_sha256(second)
