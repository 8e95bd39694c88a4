"""A matrix that is a part of a tensor of a file: read, hashed and written alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cti_edits.artifact.rows import Rows
from cti_edits.linalg.fused_rows import put_rows, rows_of
from cti_edits.models.gguf_checkpoint import GgufTensor
from cti_edits.models.stored_tensor import StoredTensor, matrix_sha256


@dataclass(frozen=True)
class StoredPart:
    """A part of a stored tensor, as a matrix (m, n). It answers as a `StoredTensor` of such a shape would.

    Attributes:
        whole: the tensor.
        piece: which of the equal pieces along its first axis.
        pieces: how many there are; of a tensor of three axes, as many as its first is long.
        transposed: whether the piece has output features as columns.
        rows: which output features of the piece; None for all.
    """

    whole: StoredTensor | GgufTensor
    piece: int = 0
    pieces: int = 1
    transposed: bool = False
    rows: Rows | None = None

    @property
    def name(self) -> str:
        """Of the tensor."""
        return self.whole.name

    @property
    def dtype(self) -> str:
        """As safetensors names it."""
        return self.whole.dtype

    @property
    def is_weight(self) -> bool:
        """Whether an edited weight can have its dtype."""
        return self.whole.is_weight

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, n)."""
        found = self._piece_shape[::-1] if self.transposed else self._piece_shape
        return (found[0] if self.rows is None else len(self.rows), *found[1:])

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * (self.whole.size // math.prod(self.whole.shape))

    @property
    def fits(self) -> bool:
        """Whether the tensor has such a part."""
        shape = self.whole.shape
        fits = self.pieces == shape[0] if len(shape) == 3 else len(shape) == 2 and shape[0] % self.pieces == 0
        if not fits or not 0 <= self.piece < self.pieces:
            return False
        outputs = self._piece_shape[1 if self.transposed else 0]
        return self.rows is None or self.rows.end <= outputs

    def tensor(self) -> torch.Tensor:
        """The matrix (m, n) in the stored dtype, on the CPU.

        Raises:
            CheckpointError: the file cannot be read, or the dtype is none of a plain weight.
        """
        return rows_of(self._oriented(self._read()), self.rows).contiguous()

    def sha256(self) -> str:
        """Hash of the matrix as if it were stored as (m, n).

        Raises:
            CheckpointError: see `tensor`.
        """
        return matrix_sha256(self.dtype, self.tensor())

    def frobenius_norm(self) -> float:
        """‖W‖_F, summed in float64; NaN or infinite where a value is.

        Raises:
            CheckpointError: see `tensor`.
        """
        return math.sqrt(float(self.tensor().double().square().sum()))

    def write(self, values: torch.Tensor) -> None:
        """Overwrite the matrix in the file with ``values`` (m, n), of its dtype. Other bytes stay.

        Raises:
            CheckpointError: the file cannot be read.
        """
        piece = self._read()
        put_rows(self._oriented(piece), self.rows, values)
        self.whole.write(piece, self.piece * self._piece_size)

    @property
    def _piece_shape(self) -> tuple[int, ...]:
        shape = self.whole.shape
        return shape[1:] if len(shape) == 3 else (shape[0] // self.pieces, *shape[1:])

    @property
    def _piece_size(self) -> int:
        return self.whole.size // self.pieces

    def _oriented(self, piece: torch.Tensor) -> torch.Tensor:
        return piece.mT if self.transposed else piece

    def _read(self) -> torch.Tensor:
        return self.whole.values(self.piece * self._piece_size, self._piece_size).reshape(self._piece_shape)
