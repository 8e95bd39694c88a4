"""Runs a transformers model from one of its blocks on, from the hidden states that enter it.

Which module is which comes from the architecture's data file. What a model does around its blocks (embeddings,
positions, the last norm, the head) is left to its own code: blocks that are not to run pass on what they are given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.masked_lm import unused_positions
from cti_edits.harness.questions import UnsupportedError
from cti_edits.models.apply import model_family
from cti_edits.models.projection import projected_at
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
        self._returned = self._block_output()

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
            layers = [(part.before if block < start else part.after).layers[block] for part in parts]
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
        self, tokens: torch.Tensor, positions: torch.Tensor, visible: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """The logits at one further token of each row, (rows, vocabulary), running all blocks.

        Args:
            tokens: (rows, 1).
            positions: (rows, 1).
            visible: (rows, 1, columns): which of the columns of ``cache``, and of these tokens, each may see.
            cache: a transformers cache with every block's keys and values; these tokens' are added.
        """
        rows = torch.arange(len(tokens))
        return self._call(tokens, positions, visible, rows, torch.zeros_like(rows), cache)

    def _call(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        cache: Any = None,
    ) -> torch.Tensor:
        device, dtype = self._lm.device, self._model.dtype
        # Every attention of transformers adds what is of the model's dtype; not all of them take booleans.
        added = torch.zeros(visible.shape, dtype=dtype, device=device)
        added.masked_fill_(~visible.to(device), torch.finfo(dtype).min)
        arguments: dict[str, Any] = {
            "input_ids": tokens.to(device),
            "attention_mask": added[:, None],
            "position_ids": positions.to(device) + self._first_position,
        }
        if self._causal:
            arguments |= {"use_cache": cache is not None, "past_key_values": cache}
        precision = self._lm.mixed_precision_dtype
        with (
            torch.autocast(torch.device(device).type, dtype=precision, enabled=precision is not None),
            projected_at(self._head, rows, columns),
        ):
            logits: torch.Tensor = self._model(**arguments).logits
        return logits[rows.to(logits.device), columns.to(logits.device)] if logits.ndim == 3 else logits

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
