"""An edit in words: a line for each thing that a manifest says, and for what is measured of its layers here."""

from __future__ import annotations

import contextlib
import itertools
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit
from cti_edits.artifact.ranks import K_SUBSPACES, full_ranks, whole_rank
from cti_edits.errors import MAX_SHOWN_PATH, CheckpointError, EditError, printable
from cti_edits.methods.method import is_known
from cti_edits.models.footprint import DTYPE_BYTES, Seconds, Size, layer_seconds, layer_size, model_seconds, model_size
from cti_edits.report.measurements import BASE, EDITED, Line, result_lines

if TYPE_CHECKING:
    from cti_edits.models.checkpoint import Checkpoint

VALUES_AT = 15
"""The column where values start. A digest, 64 characters, then ends within 80 columns."""

LARGEST = 5
"""How many of the directions of a matrix are listed."""


def wrapped(key: str, value: str, width: int | None) -> str:
    """One line, or several of at most ``width`` columns; a key alone is a heading."""
    line = f"{key:<{VALUES_AT}}{value}" if value else key
    if width is None or len(line) <= width:
        return line
    indent = " " * (VALUES_AT if value else 2)
    return textwrap.fill(line, max(width, 2 * VALUES_AT), subsequent_indent=indent, break_on_hyphens=False)


def manifest_lines(edit: Edit) -> Iterator[Line]:
    """What a manifest says: what it changes, what it keeps, where it came from, what it measured."""
    yield "name", edit.name
    if edit.description:
        yield "description", edit.description
    yield "digest", edit.digest()
    base = edit.base_model
    yield "base model", base.id
    yield "  revision", base.revision or "not given"
    yield "  class", base.architecture
    yield "  dtype", base.dtype or "not given"
    if not edit.edits:
        yield "edits", "none: the base model as it is"
    for one in edit.edits:
        yield "", ""
        yield from _matrix_lines(one, base.dtype)
    yield "", ""
    yield from _origin_lines(edit)
    yield from result_lines(edit.results)
    reported = edit.results.reported
    if reported is not None:
        yield "", ""
        yield "reported, not measured here", ""
        yield "  source", reported.source
        for name, accuracy in ((BASE, reported.baseline), (EDITED, reported.edited)):
            yield f"  {name}", f"{100 * accuracy:.1f} % (no interval: the number of rows is not given)"
        yield "  majority", "share of the most frequent answer not given"


def stored_sizes(edit: Edit, model: str) -> tuple[Size, Size]:
    """Parameters, and bytes, of a whole model as its checkpoint stores it.

    Raises:
        CheckpointError: the checkpoint cannot be read, or is a GGUF file.
        FitError: it lacks a tensor that the edit changes.
    """
    return model_size(edit, _stored(edit, model))


def _stored(edit: Edit, model: str) -> Checkpoint:
    from cti_edits.models.checkpoint import Checkpoint
    from cti_edits.models.verify import base_checkpoint

    checkpoint = base_checkpoint(edit, model, None, local=True)
    if not isinstance(checkpoint, Checkpoint):
        raise CheckpointError(
            f"{printable(checkpoint.place, MAX_SHOWN_PATH)}: sizes are shown of safetensors files, not of GGUF"
        )
    return checkpoint


def model_lines(edit: Edit, model: str | None, measure_time: bool) -> Iterator[Line]:
    """What is asked for on top of what the manifest says: of the whole model, and measured here."""
    if model is not None:
        from cti_edits.models.config_model import model_of_config
        from cti_edits.models.targets import shared_blocks

        checkpoint = _stored(edit, model)
        numbers, stored = model_size(edit, checkpoint)
        yield "", ""
        yield f"model {model}", ""
        yield "  parameters", _parameters(numbers)
        yield "  memory", f"{_bytes_of(stored, 1)} as stored"
        with contextlib.suppress(EditError):
            if shared := shared_blocks(model_of_config(edit.base_model.architecture, checkpoint)):
                yield "  layers", shared
    if measure_time and edit.edits:
        import torch

        yield "", ""
        yield f"time on this CPU, {torch.get_num_threads()} threads: factors, dense, ratio", ""
        for one in edit.edits:
            for row in layer_seconds(one, edit.base_model.dtype or "float32"):
                yield f"  {row.tokens} token{'s' if row.tokens > 1 else ''}", f"{_times(row)}: {one.module}, random"
        if model is not None:
            for row in model_seconds(edit, model, checkpoint.commit):
                yield f"  {row.tokens} token{'s' if row.tokens > 1 else ''}", f"{_times(row)}: the whole model"


def _times(row: Seconds) -> str:
    return f"{1000 * row.factored:.3g} ms, {1000 * row.dense:.3g} ms, {row.dense / row.factored:.1f}"


def _parameters(size: Size) -> str:
    """How many of the numbers are kept, or come on top where the factors run beside the matrix."""
    if size.factored > size.dense:
        return f"{size.factored - size.dense:,} beside {size.dense:,} with factorize=true"
    return f"{100 * size.share:.1f} % kept with factorize=true, {size.factored:,} of {size.dense:,}"


def _bytes_of(size: Size, each: int) -> str:
    """Both in the unit that suits the larger one; "beside" as in `_parameters`."""
    unit, name = next(
        (unit, name) for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1, "bytes")) if size.dense * each >= unit
    )
    digits = 0 if unit == 1 else 1
    first, word = (size.factored, "of") if size.factored <= size.dense else (size.factored - size.dense, "beside")
    return f"{first * each / unit:,.{digits}f} {word} {size.dense * each / unit:,.{digits}f} {name}"


def _matrix_lines(one: MatrixEdit, dtype: str | None) -> Iterator[Line]:
    rows, columns = one.shape
    yield "edit of " + str(one.id).replace(" of ", ", ", 1), ""
    yield "  module", one.module
    if one.parameter is not None:
        yield "  parameter", one.parameter
    if one.rows is not None:
        yield "  part", str(one.rows)
    yield "  shape", f"{rows} rows x {columns} columns"
    if isinstance(one, BlockSvdEdit):
        yield from _rank_lines(one)
    elif isinstance(one, DirectionsEdit):
        yield from _direction_lines(one)
    else:
        yield "  method", one.method
    if is_known(one.method):
        size = layer_size(one)
        yield "  parameters", _parameters(size)
        if dtype is not None:
            yield "  memory", f"{_bytes_of(size, DTYPE_BYTES[dtype])} in {dtype}"
    if isinstance(one, BlockSvdEdit):
        yield from _cut_lines(one)
    yield "  base hash", one.sha256 or "none: base not verified"
    if one.tensor is not None:
        yield "  of", f"{one.tensor}, {one.dtype or 'dtype not given'}"
    if one.factors is not None:
        yield "  factors", f"{one.factors.file}, {one.factors.size:,} bytes"


def _rank_lines(one: BlockSvdEdit) -> Iterator[Line]:
    yield "  rho", f"{one.rho:.12g}"
    assigned = ", rows assigned by k-subspaces" if one.partition.startswith(K_SUBSPACES) else ""
    yield "  K", f"{one.clusters} row block{'s' if one.clusters > 1 else ''}{assigned}"
    yield "  ranks kept", f"{_ranks(one.block_ranks)} of {_ranks(full_ranks(one.shape, one.clusters, one.partition))}"


def _cut_lines(one: BlockSvdEdit) -> Iterator[Line]:
    """What was measured of a cut."""
    if one.retained_energy is not None:
        lowest, highest = min(one.retained_energy), max(one.retained_energy)
        yield "  energy", f"{100 * lowest:.4g} to {100 * highest:.4g} % of each block's squared norm is retained"
    if one.tied_blocks:
        plural = "s" if len(one.tied_blocks) > 1 else ""
        numbers = ", ".join(map(str, one.tied_blocks))
        yield "  tie", f"singular values tie at the cut of block{plural} {numbers}: the truncation is not unique"


def _direction_lines(one: DirectionsEdit) -> Iterator[Line]:
    """How many singular values change, by what factors, and those that change most: |s − 1| σ."""
    blocks = f" in {one.clusters} row blocks" if one.clusters > 1 else ""
    yield "  method", one.method
    yield "  directions", f"{len(one.index)} of {whole_rank(one.shape, one.clusters)}{blocks}"
    yield "  scale", f"{min(one.scale):.4g} to {max(one.scale):.4g}"
    entries = sorted(
        zip(one.directions, one.scale, one.sigma, strict=True), key=lambda entry: -abs(entry[1] - 1) * entry[2]
    )
    for place, ((block, index), scale, sigma) in enumerate(entries[:LARGEST]):
        of_block = f" of block {block}" if one.clusters > 1 else ""
        yield "  largest" if place == 0 else "", f"sigma {index}{of_block}: {sigma:.5g} times {scale:.5g}"
    if len(entries) > LARGEST:
        yield "", f"and {len(entries) - LARGEST} smaller changes"


def _ranks(ranks: tuple[int, ...]) -> str:
    """``102`` for one block, else runs of equal ranks: ``3 x 103 + 5 x 102``."""
    if len(ranks) == 1:
        return str(ranks[0])
    return " + ".join(f"{len(list(run))} x {rank}" for rank, run in itertools.groupby(ranks))


def _origin_lines(edit: Edit) -> Iterator[Line]:
    if edit.task is not None:
        data = edit.task.dataset
        yield "task", f"{edit.task.name}, metric {edit.task.metric}"
        given = [f"{key} {value}" for key, value in (("revision", data.revision), ("split", data.split)) if value]
        yield "  dataset", ", ".join([data.id or "no id", *given])
    if edit.search is not None:
        found = edit.search
        preset = f", preset {found.preset}" if found.preset else ""
        rows = found.samples if found.evaluated_on is None else found.evaluated_on
        yield "search", f"{found.candidates} candidates on {rows} examples, seed {found.seed}{preset}"
        if found.time_budget is not None:
            yield "  cut short", f"after {found.time_budget:g} s: there were more candidates, which might have won"
    made = edit.provenance
    yield "made by", f"{made.tool}, {made.created or 'time not given'}"
    if made.source:
        yield "source", made.source
    if made.versions:
        yield "versions", ", ".join(f"{package} {version}" for package, version in made.versions.items())
