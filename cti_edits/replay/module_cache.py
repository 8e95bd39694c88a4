"""What the edit of one matrix leaves as it was within the matrix's own block, kept from one edit of it to the next."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cti_edits.replay.replaced_forward import replaced_forward


@dataclass
class ModuleCache:
    """Of one batch, what modules of a block give whatever the values of one of its matrices are.

    Attributes:
        matrix: the role of that matrix.
        outputs: what the modules gave, by their names in the block; empty until the block has run.
        keys_values: what the block's attention put into a cache, if it was given one.
    """

    matrix: str
    outputs: dict[str, Any] = field(default_factory=dict)
    keys_values: tuple[torch.Tensor, torch.Tensor] | None = None


def with_parents(names: Iterable[str]) -> list[str]:
    """These modules and all those within the block that they are part of: "mlp.fc_in" and "mlp"."""
    found: set[str] = set()
    for name in names:
        parts = name.split(".")
        found.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return sorted(found)


@contextlib.contextmanager
def reused_outputs(
    block: torch.nn.Module, edited: str, names: Sequence[str], outputs: dict[str, Any]
) -> Iterator[None]:
    """Inside, modules that the edit does not reach run once: the first time, what they give is put into ``outputs``.

    A module is not reached if it has finished before the edited one begins, or is given the very tensor that the
    edited one is given and nothing else.

    Args:
        block: what the modules are part of.
        edited: the edited one's name.
        names: of those that may be reused.
        outputs: what is reused.
    """
    names = [name for name in names if name != edited and not edited.startswith(f"{name}.")]
    with contextlib.ExitStack() as stack:
        if outputs:
            for name in outputs:
                stack.enter_context(
                    replaced_forward(block.get_submodule(name), functools.partial(_given, outputs[name]))
                )
            yield
            return
        entering: list[torch.Tensor] = []

        def begin(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            entering.append(inputs[0])

        def keep(name: str, _: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if not entering or (len(inputs) == 1 and inputs[0] is entering[0] and not named):
                outputs[name] = output

        stack.callback(block.get_submodule(edited).register_forward_pre_hook(begin).remove)
        for name in names:
            hook = functools.partial(keep, name)
            stack.callback(block.get_submodule(name).register_forward_hook(hook, with_kwargs=True).remove)
        try:
            yield
        except BaseException:
            outputs.clear()
            raise
    for name in [name for name in outputs if any(name.startswith(f"{whole}.") for whole in outputs)]:
        del outputs[name]


def _given(output: Any, *_: Any, **__: Any) -> Any:
    return output
