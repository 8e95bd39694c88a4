"""How far each block of a model looks back, which the masks of packed rows have to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Window:
    """What a token may look at, of what is before it.

    Attributes:
        size: a count of tokens.
        chunked: whether the text is divided into parts of so many, and a token looks at its own part; else it looks at
            the last tokens, itself included, and a masked model's at so many on each side.
    """

    size: int
    chunked: bool = False

    def holds(self, positions: torch.Tensor, seen: torch.Tensor, causal: bool) -> torch.Tensor:
        """Whether what is at the positions ``seen`` is in the windows of tokens at ``positions``."""
        if self.chunked:
            return positions // self.size == seen // self.size
        return positions - seen < self.size if causal else (positions - seen).abs() <= self.size


def attention_windows(config: Any, depth: int) -> tuple[Window | None, ...]:
    """The window of each block, as a config of transformers says; None where a block looks at everything.

    Args:
        config: of the model, or of the text model inside it.
        depth: how many blocks it has.
    """
    text = config.get_text_config(decoder=True)
    sizes = {"sliding": getattr(text, "sliding_window", None), "chunked": getattr(text, "attention_chunk_size", None)}
    types = getattr(text, "layer_types", None) or ["sliding_attention"] * depth
    if len(types) != depth:
        return (None,) * depth
    found: list[Window | None] = []
    for one in types:
        kind = one.partition("_")[0]
        size = sizes.get(kind)
        found.append(Window(size, kind == "chunked") if isinstance(size, int) else None)
    return tuple(found)
