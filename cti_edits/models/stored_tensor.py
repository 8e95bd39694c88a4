"""A tensor of a safetensors file: where its bytes are, their hash, and their values.

The format: 8 bytes with the header's length (little-endian), a JSON header that has each tensor's dtype, shape and
offsets after the header, and the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from cti_edits.errors import MAX_SHOWN_PATH, CheckpointError, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

CHUNK_BYTES = 1 << 24
"""How much of a tensor is held at once while it is hashed."""

TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The dtypes that an edited weight can have: torch's name by safetensors' name."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file, and where its bytes are.

    Attributes:
        file: the file that holds it.
        name: its name there.
        dtype: as safetensors names it, "F16".
        shape: as it is stored.
        start: offset of its first byte in the file.
        size: how many bytes it takes.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def is_weight(self) -> bool:
        """Whether an edited weight can have its dtype. Quantized weights have others."""
        return self.dtype in TORCH_NAMES

    def chunks(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The tensor's bytes in parts of whole rows (of its first axis), each of about `CHUNK_BYTES`.

        Raises:
            CheckpointError: the file cannot be read.
        """
        row = self.size // self.shape[0] if self.shape and self.size else 0
        step = max(1, CHUNK_BYTES // row) * row if row else max(1, self.size)
        for start in range(0, self.size, step):
            yield self._read(start, min(step, self.size - start))

    def tensor(self) -> torch.Tensor:
        """The whole tensor in the stored dtype, on the CPU.

        Raises:
            CheckpointError: the file cannot be read, or the dtype is none of `TORCH_NAMES`.
        """
        return self.values(0, self.size).reshape(self.shape)

    def values(self, start: int, size: int) -> torch.Tensor:
        """The numbers in ``size`` of its bytes, from byte ``start`` of it on; as `tensor`."""
        return self._typed(self._read(start, size))

    def write(self, values: torch.Tensor, start: int = 0) -> None:
        """Overwrite its numbers in the file with ``values``, of its dtype, from byte ``start`` of it on."""
        import torch

        content = values.contiguous().reshape(-1).view(torch.uint8).numpy()
        assert start + content.nbytes <= self.size
        with self.file.open("r+b") as stream:
            stream.seek(self.start + start)
            stream.write(content.data)

    def sha256(self) -> str:
        """Hash of "F32 [2, 3]", a line feed, and the tensor's bytes; `identity.tensor_sha256` of a tensor in memory.

        Raises:
            CheckpointError: the file cannot be read.
        """
        digest = hashlib.sha256(f"{self.dtype} {list(self.shape)}\n".encode())
        for chunk in self.chunks():
            digest.update(chunk.data)
        return digest.hexdigest()

    def frobenius_norm(self) -> float:
        """‖W‖_F, summed in float64; NaN or infinite where a value is.

        Raises:
            CheckpointError: the file cannot be read, or the dtype is none of `TORCH_NAMES`.
        """
        chunks = (self._typed(chunk) for chunk in self.chunks())
        return math.sqrt(math.fsum(float(chunk.double().square().sum()) for chunk in chunks))

    def _read(self, start: int, size: int) -> npt.NDArray[np.uint8]:
        import numpy as np

        try:
            content = np.fromfile(self.file, np.uint8, size, offset=self.start + start)
        except OSError as error:
            raise unreadable(self.file, error) from None
        if len(content) != size:
            raise unreadable(self.file, "it ends too early")
        return content

    def _typed(self, content: npt.NDArray[np.uint8]) -> torch.Tensor:
        import torch

        if not self.is_weight:
            raise CheckpointError(
                f"{printable(self.name)} is stored as {printable(self.dtype)}, which holds no plain weights"
            )
        dtype: torch.dtype = getattr(torch, TORCH_NAMES[self.dtype])
        return torch.from_numpy(content).view(dtype)


def matrix_sha256(dtype: str, values: torch.Tensor) -> str:
    """The hash that `StoredTensor.sha256` has of values of this dtype, were they stored."""
    import torch

    digest = hashlib.sha256(f"{dtype} {list(values.shape)}\n".encode())
    digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_in(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by their names. Reads the header alone.

    Raises:
        CheckpointError: it is no such file, or is damaged.
    """
    try:
        # The library checks that the header describes the file: shapes, offsets without holes, and its length.
        with safe_open(file, framework="numpy"), file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(file, error) from None
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if not isinstance(entry, dict):  # the library takes a list of the values, too
            raise unreadable(file, f"expected a JSON object for {printable(name)} in its header")
        start, end = entry["data_offsets"]
        place = 8 + length + start
        found[name] = StoredTensor(file, name, entry["dtype"], tuple(entry["shape"]), place, end - start)
    return found


def unreadable(file: Path, why: object) -> CheckpointError:
    """The error of a file that cannot be read because of ``why``."""
    return CheckpointError(f"{printable(file, MAX_SHOWN_PATH)}: cannot be read: {printable(why)}")
