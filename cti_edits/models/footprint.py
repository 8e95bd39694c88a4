"""The size of a layer and a model with an edit run as factors, and their speed on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import EditError, printable
from cti_edits.models.checkpoint import Checkpoint

DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
TOKENS = (1, 64)
"""Lengths in tokens of the inputs that are timed: a step of generation, and a short prompt."""


@dataclass(frozen=True)
class Size:
    """Parameters, or bytes, with the edit run as factors, and with dense matrices."""

    factored: int
    dense: int

    @property
    def share(self) -> float:
        """``factored`` as a share of ``dense``."""
        return self.factored / self.dense


def layer_size(one: MatrixEdit) -> Size:
    """Parameters of an edited layer run as factors, without bias; see `method.Method.kept_parameters`.

    Raises:
        EditError: the edit's method is not known here.
    """
    from cti_edits.methods.method import method_of

    method, dense = method_of(one), one.shape[0] * one.shape[1]
    # A part of a weight may have no layer that runs factors.
    runs = not one.is_part or method.runs_as_factors(one)
    return Size(method.kept_parameters(one) if runs else dense, dense)


def model_size(edit: Edit, checkpoint: Checkpoint) -> tuple[Size, Size]:
    """Parameters, and bytes, of a model as its checkpoint stores it.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FitError: it lacks a tensor that the edit changes.
    """
    from cti_edits.models.verify import stored_matrix

    tensors = checkpoint.tensors()
    numbers, stored_bytes = sum(math.prod(one.shape) for one in tensors), sum(one.size for one in tensors)
    saved = saved_bytes = 0
    for one in edit.edits:
        size = layer_size(one)
        stored, _ = stored_matrix(edit, one, checkpoint)
        saved += size.dense - size.factored
        saved_bytes += (size.dense - size.factored) * stored.size // size.dense
    return Size(numbers - saved, numbers), Size(stored_bytes - saved_bytes, stored_bytes)


@dataclass(frozen=True)
class Seconds:
    """Median seconds of a forward pass over ``tokens`` tokens, with factors and with the dense matrix."""

    tokens: int
    factored: float
    dense: float


def layer_seconds(one: MatrixEdit, dtype: str = "float32") -> tuple[Seconds, ...]:
    """Time of an edited layer on this CPU, with random weights. Nothing if all of its blocks are dense.

    Args:
        one: a matrix edit.
        dtype: of weights and inputs, "float32".
    """
    import torch

    from cti_edits.linalg.factors import Block, LowRank
    from cti_edits.methods.method import method_of

    rows, columns = one.shape
    method = method_of(one)
    if not method.runs_as_factors(one):
        return ()
    dense = torch.nn.Linear(columns, rows, bias=False, dtype=getattr(torch, dtype))
    blocks: list[Block | None] = []
    for form in method.block_forms(one):
        if form.unchanged:
            blocks.append(None)
        elif form.rank is not None:
            blocks.append(LowRank(torch.randn(form.rows, form.rank), torch.randn(form.rank, columns)))
        else:
            blocks.append(torch.randn(form.rows, columns))
    factored = method.factored_layer(dense.weight.detach(), one, dense, blocks)
    inputs = [torch.randn(tokens, columns, dtype=getattr(torch, dtype)) for tokens in TOKENS]
    with torch.inference_mode():
        return tuple(
            Seconds(tokens, *median_seconds((lambda x=x: factored(x), lambda x=x: dense(x))))  # type: ignore[misc]
            for tokens, x in zip(TOKENS, inputs, strict=True)
        )


def model_seconds(edit: Edit, model: str, revision: str | None = None) -> tuple[Seconds, ...]:
    """Time of forward passes of the edited model on this CPU, in the edit's dtype, over random tokens.

    Raises:
        EditError: the model cannot be loaded, or the edit does not fit it.
    """
    import torch
    import transformers

    from cti_edits.models.apply import applied

    try:
        loaded: Any = getattr(transformers, edit.base_model.architecture).from_pretrained(
            model, revision=revision or "main", dtype=edit.base_model.dtype or "auto", trust_remote_code=False
        )
    except (AttributeError, OSError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EditError(f"cannot load the model {printable(model)!r}: {printable(said, 300)}") from None
    loaded.eval()
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(loaded.config.vocab_size, (1, tokens), generator=generator) for tokens in TOKENS]
    times: list[list[float]] = []
    for factorize in (True, False):
        with applied(edit, loaded, verify=False, factorize=factorize), torch.inference_mode():
            times.append([median_seconds((lambda x=x: loaded(x),))[0] for x in inputs])  # type: ignore[misc]
    return tuple(Seconds(*row) for row in zip(TOKENS, *times, strict=True))


def median_seconds(passes: Sequence[Callable[[], object]], least_runs: int = 5, seconds: float = 1.0) -> list[float]:
    """Median seconds of each of ``passes``. They are run in turn, so that other load on the machine affects all alike.

    Args:
        passes: what is timed; each is run once before.
        least_runs: how often each is run at least.
        seconds: more runs follow until this time has passed.
    """
    for one in passes:
        one()
    taken: list[list[float]] = [[] for _ in passes]
    start = time.perf_counter()
    while len(taken[0]) < least_runs or time.perf_counter() - start < seconds:
        for runs, one in zip(taken, passes, strict=True):
            before = time.perf_counter()
            one()
            runs.append(time.perf_counter() - before)
    return [statistics.median(runs) for runs in taken]
