"""What a manifest says of one weight matrix: a dataclass for each method, and the checks that no schema can express.

- `BlockSvdEdit`: method ``block-svd``, row blocks are cut to ranks.
- `DirectionsEdit`: method ``directions``, some singular values get other values.
- `PluginEdit`: any other method, which a plugin has to know.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from cti_edits.artifact.matrix_id import MatrixId, StackName
from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks, full_ranks, row_block_size
from cti_edits.artifact.rows import Rows
from cti_edits.errors import EditError

MEASURED = ("retained_energy", "tied_blocks")
"""Keys of a matrix edit that say what came of it and change nothing of it: not in the digest."""


PLACE = ("matrix", "stack", "layer", "module", "parameter", "expert", "rows", "shape")
"""Keys of a matrix edit that say which matrix it is of."""

NOT_IN_1 = ("stack", "parameter", "expert", "rows", "gguf_sha256")
"""Keys of a matrix edit that version 1 has not."""


@dataclass(frozen=True)
class Factors:
    """A safetensors file beside the manifest, with its sha256 and its size in bytes."""

    file: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class MatrixEdit:
    """One weight matrix W (m, n), rows = output features, and how an edit changes it.

    Attributes:
        matrix: its role, "U_in", "U_out", …
        layer: 0-based index of the transformer block.
        module: dotted name of the module that holds it.
        shape: (m, n).
        sha256: hash of W as the checkpoint stores it (see `identity.tensor_sha256`), or None.
        frobenius_norm: ‖W‖_F, or None.
        factors: where the factors are, or None.
        dtype: the dtype that ``sha256`` is over, "F16"; None: ``base_model.dtype``.
        tensor: name in the checkpoint of the tensor that has W; None: that of ``module`` and ``parameter``.
        gguf_sha256: sha256 of the tensor's bytes in the GGUF file that the base was read from, where it is a whole one.
        stack: which list of blocks, in models that have several.
        expert: which expert's, where the parameter has a matrix for each.
        parameter: which parameter of the module; None: its weight.
        rows: which output features of the parameter, where several matrices are fused in it; None: all.
    """

    matrix: str
    layer: int
    module: str
    shape: tuple[int, int]
    sha256: str | None = None
    frobenius_norm: float | None = None
    factors: Factors | None = None
    dtype: str | None = None
    tensor: str | None = None
    gguf_sha256: str | None = None
    stack: StackName | None = None
    expert: int | None = None
    parameter: str | None = None
    rows: Rows | None = None

    ORDER: ClassVar[tuple[str, ...]] = ()
    """The keys of the manifest's object, in the order in which they are written."""

    @property
    def method(self) -> str:
        """Name of the method that makes Ŵ."""
        raise NotImplementedError

    @property
    def id(self) -> MatrixId:
        """Which matrix it is. An edit has each once."""
        return MatrixId(self.layer, self.matrix, self.stack, self.expert)

    @property
    def is_part(self) -> bool:
        """Whether W is a part of its parameter, or a parameter that is no layer's weight."""
        return self.expert is not None or self.parameter is not None or self.rows is not None

    @property
    def matrix_name(self) -> str:
        """Of the matrix, in files and messages: the module's, and what tells it from others of the module."""
        more = (self.parameter, self.matrix if self.rows is not None else None, self.expert)
        return ".".join([self.module, *(str(one) for one in more if one is not None)])

    def meets(self, other: MatrixEdit) -> bool:
        """Whether it is of the same matrix as ``other``, or of numbers that both have."""
        if self.id == other.id:
            return True
        if (self.module, self.parameter) != (other.module, other.parameter):
            return False
        if None not in (self.expert, other.expert) and self.expert != other.expert:
            return False
        return self.rows is None or other.rows is None or self.rows.meets(other.rows)

    @property
    def summary(self) -> str:
        """What is done to the matrix, in a few words."""
        return f"method {self.method}"

    def to_json(self) -> dict[str, Any]:
        """The manifest's object, of the newest version."""
        left_out = {one.name for one in fields(self) if one.default is None} - {"sha256", "frobenius_norm", "factors"}
        document: dict[str, Any] = {}
        for key in self.ORDER:
            value = getattr(self, key)
            if isinstance(value, Factors):
                value = {"file": value.file, "sha256": value.sha256, "size": value.size}
            if isinstance(value, Rows):
                value = value.to_json()
            if value is not None or key not in left_out:
                document[key] = list(value) if isinstance(value, tuple) else value
        return document

    def faults(self) -> Iterator[str]:
        """What is wrong with it beyond what the schema rules: "block_ranks[0]: expected …"."""
        if self.rows is not None:
            yield from (f"rows: {fault}" for fault in self.rows.faults(self.shape[0]))


@dataclass(frozen=True, kw_only=True)
class BlockSvdEdit(MatrixEdit):
    """A matrix whose K row blocks are cut to ``block_ranks``.

    Attributes:
        rho: ρ, the share of the maximum rank that was asked for.
        clusters: K.
        block_ranks: j_k, the ranks that are kept and applied.
        partition: how rows are assigned to blocks; see `ranks.partition_rows`.
        retained_energy: ‖Ŵ_k‖²_F / ‖W_k‖²_F, one a block, or None.
        tied_blocks: indices of blocks whose singular values tie at the cut, or None.
    """

    rho: float
    clusters: int
    block_ranks: tuple[int, ...]
    partition: str = ROW_BLOCKS
    retained_energy: tuple[float, ...] | None = None
    tied_blocks: tuple[int, ...] | None = None

    METHOD: ClassVar[str] = "block-svd"
    ORDER: ClassVar[tuple[str, ...]] = (
        *("method", *PLACE, "rho", "clusters", "block_ranks", "partition", "sha256"),
        *("frobenius_norm", "factors", "dtype", "tensor", "gguf_sha256", "retained_energy", "tied_blocks"),
    )

    @property
    def method(self) -> str:
        """See `MatrixEdit.method`."""
        return self.METHOD

    @property
    def summary(self) -> str:
        """See `MatrixEdit.summary`."""
        return f"rho {self.rho:g}, K {self.clusters}, {sum(self.block_ranks)} ranks kept"

    def faults(self) -> Iterator[str]:
        """Block ranks that are not those of shape, K and ρ, and measurements of another number of blocks."""
        yield from super().faults()
        rows, clusters, ranks = self.shape[0], self.clusters, self.block_ranks
        if clusters > rows:
            yield f"clusters: expected at most {rows} (the number of rows), got {clusters}"
        if len(ranks) != clusters:
            yield f"block_ranks: expected {clusters} ranks, one a row block (clusters), got {len(ranks)}"
            return
        try:
            expected = block_ranks(self.shape, clusters, self.rho, self.partition)
        except EditError as error:
            yield f"partition: {error}"
            return
        if ranks != expected:
            block = next(k for k in range(clusters) if ranks[k] != expected[k])
            full = full_ranks(self.shape, clusters, self.partition)[block]
            because = f"rho {self.rho} of the block's full rank {full}"
            yield f"block_ranks[{block}]: expected {expected[block]} ({because}), got {ranks[block]}"
        energy, tied = self.retained_energy, self.tied_blocks
        if energy is not None and len(energy) != clusters:
            yield f"retained_energy: expected {clusters} numbers, one a row block, got {len(energy)}"
        if tied is not None and (tuple(sorted(set(tied))) != tied or tied[-1] >= clusters):
            yield f"tied_blocks: expected ascending block numbers from 0 to {clusters - 1}, got {list(tied[:20])}"


@dataclass(frozen=True, kw_only=True)
class DirectionsEdit(MatrixEdit):
    """A matrix of which some singular values σ_i become s_i σ_i, with the same singular vectors.

    The tuples are parallel: entry d is about direction (k, i), the i-th largest singular value of row block k.
    Directions ascend by block, then by index.

    Attributes:
        clusters: K, the number of consecutive row blocks.
        block: k of each direction; None where K is 1.
        index: i of each, from 0.
        scale: the factor s_i of each.
        sigma: σ_i of each in the base, by which a wrong or ambiguous base is told.
    """

    clusters: int = 1
    block: tuple[int, ...] | None = None
    index: tuple[int, ...]
    scale: tuple[float, ...]
    sigma: tuple[float, ...]

    METHOD: ClassVar[str] = "directions"
    ORDER: ClassVar[tuple[str, ...]] = (
        *("method", *PLACE, "clusters", "block", "index", "scale", "sigma"),
        *("sha256", "frobenius_norm", "factors", "dtype", "tensor", "gguf_sha256"),
    )

    @property
    def method(self) -> str:
        """See `MatrixEdit.method`."""
        return self.METHOD

    @property
    def summary(self) -> str:
        """See `MatrixEdit.summary`."""
        blocks = f", K {self.clusters}" if self.clusters > 1 else ""
        return f"{len(self.index)} directions{blocks}, scale {min(self.scale):.4g} to {max(self.scale):.4g}"

    @property
    def directions(self) -> tuple[tuple[int, int], ...]:
        """(k, i) of each direction."""
        return tuple(zip(self.block or itertools.repeat(0), self.index, strict=False))

    def of_block(self, block: int) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
        """Indices, factors and σ of the directions of one row block."""
        blocks = self.block or (0,) * len(self.index)
        chosen = slice(bisect.bisect_left(blocks, block), bisect.bisect_right(blocks, block))
        return self.index[chosen], self.scale[chosen], self.sigma[chosen]

    def faults(self) -> Iterator[str]:
        """Arrays of different lengths, directions that the matrix has not or that do not ascend, σ that rise."""
        yield from super().faults()
        if self.clusters > self.shape[0]:
            yield f"clusters: expected at most {self.shape[0]} (the number of rows), got {self.clusters}"
            return
        if self.block is None and self.clusters > 1:
            yield f"block: missing; of {self.clusters} row blocks (clusters), each index has to name its own"
            return
        if self.block is not None and self.clusters == 1:
            yield "block: expected only where there are several row blocks (clusters), got it where there is 1"
            return
        arrays = {"block": self.block, "scale": self.scale, "sigma": self.sigma}
        for name, values in arrays.items():
            if values is not None and len(values) != len(self.index):
                yield f"{name}: expected {len(self.index)} values, one for each index, got {len(values)}"
                return
        for place, (block, index) in enumerate(self.directions):
            if block >= self.clusters:
                yield f"block[{place}]: expected at most {self.clusters - 1} (clusters), got {block}"
                return
            most = min(row_block_size(self.shape[0], self.clusters, block), self.shape[1]) - 1
            if index > most:
                yield f"index[{place}]: expected at most {most} (the last singular value), got {index}"
                return
        for place, (before, after) in enumerate(itertools.pairwise(self.directions), start=1):
            if after <= before:
                name, value = ("block", after[0]) if after[0] < before[0] else ("index", after[1])
                yield f"{name}[{place}]: expected directions in ascending order, each once, got {value}"
                return
            most_sigma = self.sigma[place - 1]
            if before[0] == after[0] and self.sigma[place] > most_sigma:
                yield f"sigma[{place}]: expected at most {most_sigma}, the one before, got {self.sigma[place]}"
                return


@dataclass(frozen=True, kw_only=True)
class PluginEdit(MatrixEdit):
    """A matrix that is changed by a method of a plugin.

    Attributes:
        name: of the method.
        distribution: name of the package that has the plugin. Nothing is installed or imported by it.
        parameters: what the method needs to know, plain JSON.
    """

    name: str
    distribution: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    ORDER: ClassVar[tuple[str, ...]] = (
        *("method", "distribution", *PLACE, "parameters"),
        *("sha256", "frobenius_norm", "factors", "dtype", "tensor", "gguf_sha256"),
    )

    @property
    def method(self) -> str:
        """See `MatrixEdit.method`."""
        return self.name


METHODS: tuple[type[BlockSvdEdit] | type[DirectionsEdit], ...] = (BlockSvdEdit, DirectionsEdit)
"""Those with fields of their own in the manifest."""


def matrix_edit_of(entry: Mapping[str, Any]) -> MatrixEdit:
    """The matrix edit of a manifest's object, which the schema allows."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    values["factors"] = Factors(**entry["factors"]) if entry["factors"] else None
    if "rows" in entry:
        values["rows"] = Rows.from_json(entry["rows"])
    name = values.pop("method")
    for kind in METHODS:
        if name == kind.METHOD:
            return kind(**values)
    return PluginEdit(name=name, **values)
