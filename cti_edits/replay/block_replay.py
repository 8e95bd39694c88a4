"""Runs a transformers model from one of its blocks on, from the hidden states that enter it.

Which module is which comes from the architecture's data file. What a model does around its blocks (embeddings,
positions, the last norm, the head) is left to its own code: blocks that are not to run pass on what they are given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.masked_lm import unused_positions
from cti_edits.harness.questions import UnsupportedError
from cti_edits.models.apply import model_family
from cti_edits.models.projection import projected_at
from cti_edits.replay.attention_windows import Window, attention_windows
from cti_edits.replay.packed_rows import PackedBatch
from cti_edits.replay.replaced_forward import replaced_forward


@dataclass(frozen=True)
class CachePart:
    """Keys and values of some sequences of a packed batch.

    Attributes:
        before: the cache of the unedited blocks.
        after: that of the others.
        rows: of each sequence, its row.
        paths: of each sequence, its columns.
    """

    before: Any
    after: Any
    rows: list[int]
    paths: list[list[int]]


class BlockReplay:
    """A model whose blocks can be run in parts.

    Attributes:
        blocks: the model's blocks.
        depth: how many there are.
    """

    def __init__(self, lm: EditedHFLM) -> None:
        """Take the model of ``lm``.

        Raises:
            UnsupportedError: it has an encoder and a decoder.
        """
        if lm.kind == "seq2seq":
            raise UnsupportedError(f"{type(lm.model).__name__} has two stacks of blocks, an encoder and a decoder")
        self._lm = lm
        self._model = lm.model
        family = model_family(self._model)
        self._causal = family.kind == "causal"
        self.blocks: Sequence[torch.nn.Module] = list(self._model.get_submodule(family.layers))
        self.depth = len(self.blocks)
        self._head = self._model.get_output_embeddings()
        self._first_position = 0 if self._causal else unused_positions(self._model)
        self._windows = attention_windows(self._model.config, self.depth)
        self._returned = self._block_output()

    @cached_property
    def in_parts(self) -> bool:
        """Whether blocks need nothing of those before them but the hidden states, so that they can be run without them.

        Not so where blocks share keys and values, or run several times in a circle.
        """
        length = 8
        positions = torch.arange(length)[None]
        batch = PackedBatch(positions + 1, positions, torch.ones(1, length, length, dtype=torch.bool).tril(), {})
        rows = torch.zeros(length, dtype=torch.long)
        entering = None
        with torch.no_grad():
            together = self.logits(batch, 0, None, rows, positions[0])
            try:
                for block in range(1, self.depth):
                    entering = self.hidden(batch, block - 1, entering, block)
                apart = self.logits(batch, self.depth - 1, entering, rows, positions[0])
            except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                if should_reduce_batch_size(error):
                    raise
                return False
        return torch.allclose(together, apart, rtol=1e-3, atol=1e-3, equal_nan=True)

    def hidden(
        self, batch: PackedBatch, start: int, entering: torch.Tensor | None, stop: int, cache: Any = None
    ) -> torch.Tensor:
        """The hidden states that enter block ``stop``.

        Args:
            batch: the tokens.
            start: the block to start at.
            entering: the hidden states that enter it, (rows, width, model width); None from block 0 on.
            stop: a block after ``start``.
            cache: a transformers cache that takes the keys and values of the blocks that run.
        """
        found: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(_hidden_argument(arguments, named))

        nowhere = torch.zeros(0, dtype=torch.long)
        handle = self.blocks[stop].register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with self._skipped((*range(start), *range(stop, self.depth))), self._entering(start, entering):
                self._call(batch.tokens, batch.positions, batch.visible, nowhere, nowhere, cache)
        finally:
            handle.remove()
        return found[0]

    @staticmethod
    def empty_cache() -> Any:
        """A transformers cache without keys and values."""
        from transformers import DynamicCache

        return DynamicCache()

    def gathered_cache(self, parts: Sequence[CachePart], start: int) -> Any:
        """One cache with a row for every path of ``parts``, padded on the right to the longest.

        Args:
            parts: of some batches.
            start: the block that divides what is unedited of a part from what is not.
        """
        gathered = self.empty_cache()
        width = max(len(path) for part in parts for path in part.paths)
        places = []
        for part in parts:
            columns = torch.zeros((len(part.paths), width), dtype=torch.long)
            for index, path in enumerate(part.paths):
                columns[index, : len(path)] = torch.tensor(path)
            places.append((torch.tensor(part.rows)[:, None].to(self._lm.device), columns.to(self._lm.device)))
        for block in range(self.depth):
            layers = [_cached(part.before if block < start else part.after, block) for part in parts]
            if layers[0] is None:
                continue
            keys, values = (
                torch.cat([tensor[rows, :, columns] for tensor, (rows, columns) in zip(tensors, places, strict=True)])
                for tensors in ([layer.keys for layer in layers], [layer.values for layer in layers])
            )
            gathered.update(keys.transpose(1, 2), values.transpose(1, 2), block)
        return gathered

    def logits(
        self,
        batch: PackedBatch,
        start: int,
        entering: torch.Tensor | None,
        rows: torch.Tensor,
        columns: torch.Tensor,
        cache: Any = None,
    ) -> torch.Tensor:
        """The logits at the places (rows, columns), (places, vocabulary), running from block ``start`` on.

        Args:
            batch: the tokens.
            start: the block to start at.
            entering: as in `hidden`.
            rows: of each place.
            columns: of each place.
            cache: a transformers cache that takes the keys and values of the blocks that run.
        """
        with self._skipped(range(start)), self._entering(start, entering):
            return self._call(batch.tokens, batch.positions, batch.visible, rows, columns, cache)

    def next_logits(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor,
        seen_positions: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The logits at one further token of each row, (rows, vocabulary), running all blocks.

        Args:
            tokens: (rows, 1).
            positions: (rows, 1).
            visible: (rows, 1, columns): which of the columns of ``cache``, and of these tokens, each may see.
            seen_positions: (rows, columns): of what is in them.
            cache: a transformers cache with every block's keys and values; these tokens' are added.
        """
        rows = torch.arange(len(tokens))
        return self._call(tokens, positions, visible, rows, torch.zeros_like(rows), cache, seen_positions)

    def _call(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        cache: Any = None,
        seen_positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        device = self._lm.device
        arguments: dict[str, Any] = {
            "input_ids": tokens.to(device),
            "attention_mask": self._added(visible),
            "position_ids": positions.to(device) + self._first_position,
        }
        if self._causal:
            arguments |= {"use_cache": cache is not None, "past_key_values": cache}
        precision = self._lm.mixed_precision_dtype
        with (
            torch.autocast(torch.device(device).type, dtype=precision, enabled=precision is not None),
            projected_at(self._head, rows, columns),
            self._windowed(positions, positions if seen_positions is None else seen_positions, visible),
        ):
            logits: torch.Tensor = self._model(**arguments).logits
        return logits[rows.to(logits.device), columns.to(logits.device)] if logits.ndim == 3 else logits

    def _added(self, visible: torch.Tensor) -> torch.Tensor:
        """What is added to the attention: every attention of transformers takes the model's dtype, not all booleans."""
        dtype = self._model.dtype
        added = torch.zeros(visible.shape, dtype=dtype, device=self._lm.device)
        return added.masked_fill_(~visible.to(self._lm.device), torch.finfo(dtype).min)[:, None]

    @contextlib.contextmanager
    def _windowed(self, positions: torch.Tensor, seen: torch.Tensor, visible: torch.Tensor) -> Iterator[None]:
        """Inside, blocks that look at a window see no more of what is ``visible``.

        Args:
            positions: (rows, width) of the tokens.
            seen: (rows, columns) of what they look at.
            visible: (rows, width, columns).
        """
        masks: dict[Window, torch.Tensor] = {}
        with contextlib.ExitStack() as stack:
            for block, window in zip(self.blocks, self._windows, strict=True):
                if window is None or int(positions.max()) < window.size:
                    continue
                if window not in masks:
                    near = window.holds(positions[:, :, None], seen[:, None, :], self._causal)
                    masks[window] = self._added(visible & near)
                stack.enter_context(_given(block, masks[window]))
            yield

    def _block_output(self) -> Callable[[torch.Tensor], Any]:
        """How a block gives back its hidden states: alone, or first in a tuple."""
        found: list[Any] = []
        handle = self.blocks[0].register_forward_hook(lambda _, __, output: found.append(output))
        try:
            with torch.no_grad():
                self._model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=self._lm.device))
        finally:
            handle.remove()
        if isinstance(found[0], tuple):
            rest = (None,) * (len(found[0]) - 1)
            return lambda hidden: (hidden, *rest)
        return lambda hidden: hidden

    @contextlib.contextmanager
    def _skipped(self, indices: Sequence[int]) -> Iterator[None]:
        """Inside, these blocks give back what they are given."""

        def pass_through(*arguments: Any, **named: Any) -> Any:
            return self._returned(_hidden_argument(arguments, named))

        with contextlib.ExitStack() as stack:
            for index in indices:
                stack.enter_context(replaced_forward(self.blocks[index], pass_through))
            yield

    @contextlib.contextmanager
    def _entering(self, start: int, hidden: torch.Tensor | None) -> Iterator[None]:
        """Inside, block ``start`` is given ``hidden``."""
        if hidden is None:
            yield
            return

        def replace_hidden(
            _: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if arguments:
                return (hidden, *arguments[1:]), named
            return arguments, {**named, "hidden_states": hidden}

        handle = self.blocks[start].register_forward_pre_hook(replace_hidden, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def _hidden_argument(arguments: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    hidden: torch.Tensor = arguments[0] if arguments else named["hidden_states"]
    return hidden


@contextlib.contextmanager
def _given(block: torch.nn.Module, mask: torch.Tensor) -> Iterator[None]:
    """Inside, a block that takes a mask by its name is given this one."""

    def replace_mask(
        _: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return arguments, {**named, "attention_mask": mask} if "attention_mask" in named else named

    handle = block.register_forward_pre_hook(replace_mask, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _cached(cache: Any, block: int) -> Any:
    """What a transformers cache has of a block; None of one that takes its keys and values from another."""
    layer = cache.layers[block] if block < len(cache.layers) else None
    return None if layer is None or layer.keys is None else layer
