"""Decompositions on disk. They depend on a weight alone, so that the next search on the same model reads them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from cti_edits.artifact.ranks import row_block_sizes
from cti_edits.errors import EditError, printable
from cti_edits.linalg.block_spectra import BlockSpectrum, block_spectra, spectrum_of
from cti_edits.linalg.block_tails import TAIL, BlockTail, block_tails
from cti_edits.linalg.finite import all_finite
from cti_edits.linalg.lowrank import BlockDecomposition
from cti_edits.linalg.spectrum_files import BoundedFolder, EntryKey, default_folder, default_limit

logger = logging.getLogger("cti_edits")

Tensors = dict[str, torch.Tensor]
"""What a file holds, by name: the number of a block, a full stop, and one of its attributes."""


class SpectrumCache:
    """Block tails and block spectra of weights: read from disk if they are there, else computed and stored.

    There is one safetensors file for each tensor hash, K, kind and precision. Processes can share the folder: a file is
    written under a temporary name and then renamed. A damaged file is reported as a warning, deleted and computed
    again. What is read has the same bits and memory layout as what was computed.

    Args:
        folder: where the files are; `spectrum_files.default_folder` if None.
        limit: bytes that all files may take; `spectrum_files.default_limit` if None. The least recently used files are
            deleted first, and an entry larger than the limit is not stored.

    Raises:
        EditError: the environment variable with the limit is no number.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = default_folder() if folder is None else folder
        self.limit = default_limit() if limit is None else limit
        self._files = BoundedFolder(self.folder, self.limit)
        self._storing = True
        self._lock = threading.Lock()

    def tails(self, weight: torch.Tensor, sha256: str, clusters: Sequence[int]) -> dict[int, tuple[BlockTail, ...]]:
        """The result of `block_tails.block_tails`. One pass over ``weight`` makes all those that are missing.

        Args:
            weight: (m, n), rows = output features, any floating dtype.
            sha256: `identity.tensor_sha256` of the tensor that ``weight`` is, or is a transposed view of.
            clusters: the K.

        Raises:
            EditError: see `block_tails.block_tails`; or ``sha256`` is no sha256.
        """
        keys = {number: _key(weight, sha256, number, f"tails{TAIL}") for number in clusters}
        found: dict[int, Tensors] = {}
        for number, key in keys.items():
            tensors = self._read(key, weight, _tail_shapes(weight, number))
            if tensors is not None:
                found[number] = tensors
        missing = [number for number in keys if number not in found]
        for number, tails in (block_tails(weight, missing) if missing else {}).items():
            found[number] = _named(tails, ("U", "S", "V"))
            self._write(keys[number], weight, found[number])
        return {
            number: tuple(
                BlockTail(*_of_block(found[number], index, ("U", "S", "V"), weight)) for index in range(number)
            )
            for number in keys
        }

    def spectra(self, weight: torch.Tensor, sha256: str, clusters: int) -> tuple[BlockSpectrum, ...]:
        """The result of `block_spectra.block_spectra`. Arguments and errors are those of `tails`, with one K.

        A singular value decomposition that a cut needs later is not stored.
        """
        key = _key(weight, sha256, clusters, "spectra")
        tensors = self._read(key, weight, _spectrum_shapes(weight, clusters))
        if tensors is None:
            spectra = block_spectra(weight, clusters)
            if weight.dtype == torch.float64:
                tensors = _named([spectrum.exact for spectrum in spectra], ("U", "S", "Vh"))
            else:
                tensors = _named(spectra, ("S", "vectors"))
            self._write(key, weight, tensors)
        sizes = row_block_sizes(weight.shape[0], clusters)
        return tuple(_spectrum(tensors, index, size, weight) for index, size in enumerate(sizes))

    def _read(self, key: EntryKey, weight: torch.Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Tensors | None:
        """The tensors of an entry; None if it is not there, or is damaged or has other ``shapes``."""
        path = self.folder / key.file_name
        try:
            # Not mapped into memory: a file that another program cuts short would end this process.
            content = path.read_bytes()
            tensors: Tensors = load(content)
            _check(tensors, _metadata(content), _description(key, weight), shapes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            self._stop_storing(error)
            return None
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("%s: damaged, made anew: %s", printable(path), printable(error))
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return tensors

    def _write(self, key: EntryKey, weight: torch.Tensor, tensors: Tensors) -> None:
        if not self._storing:
            return
        metadata = {**_description(key, weight), "checksum": _checksum(tensors)}
        try:
            content = save(tensors, metadata)
            with self._lock:
                self._files.store(key, content)
        except (EditError, OSError) as error:
            self._stop_storing(error)

    def _stop_storing(self, error: Exception) -> None:
        """Store nothing from now on, with one warning: a search has hundreds of entries, which would all fail."""
        if self._storing:
            self._storing = False
            reason = getattr(error, "strerror", None) or error
            logger.warning("%s: cannot keep decompositions here: %s", printable(self.folder), printable(reason))


def _key(weight: torch.Tensor, sha256: str, clusters: int, kind: str) -> EntryKey:
    if re.fullmatch("[0-9a-f]{64}", sha256) is None:
        raise EditError(f"expected a sha256 of 64 hexadecimal digits, got {printable(sha256, 80)!r}")
    if weight.ndim != 2:
        raise EditError(f"expected a matrix, got a tensor of shape {tuple(weight.shape)}")
    transposed = weight.mT.is_contiguous() and not weight.is_contiguous()
    return EntryKey(sha256, "columns" if transposed else "rows", clusters, kind)


def _description(key: EntryKey, weight: torch.Tensor) -> dict[str, str]:
    """What a file's metadata says of its content, since files can be renamed."""
    return {
        "format": "cti-edits spectrum 1",
        "sha256": key.sha256,
        "orientation": key.orientation,
        "shape": json.dumps(list(weight.shape)),
        "clusters": str(key.clusters),
        "kind": key.kind,
        "precision": key.precision,
    }


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file, which is JSON after eight bytes with its length.

    Raises:
        ValueError: there is no metadata.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] | None = header.get("__metadata__")
    if metadata is None:
        raise ValueError("it does not say what it is")
    return metadata


def _check(
    tensors: Tensors,
    metadata: Mapping[str, str],
    description: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse tensors that are not those of an entry's description and shapes, or are damaged.

    Raises:
        ValueError: they differ; the message says how.
    """
    for field, value in description.items():
        if metadata.get(field) != value:
            raise ValueError(f"{field}: expected {value}, found {metadata.get(field)}")
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != shapes:
        raise ValueError("its tensors have other names or shapes")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float64:
            raise ValueError(f"{name}: expected float64, found {tensor.dtype}")
        if not all_finite(tensor):
            raise ValueError(f"{name}: holds NaN or infinite values")
    if metadata.get("checksum") != _checksum(tensors):
        raise ValueError("its checksum is not that of its tensors")


def _checksum(tensors: Tensors) -> str:
    """sha256 of all values, tensor by tensor in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _named(blocks: Sequence[object], attributes: Sequence[str]) -> Tensors:
    return {
        f"{index}.{attribute}": getattr(block, attribute).cpu().contiguous()
        for index, block in enumerate(blocks)
        for attribute in attributes
    }


def _of_block(tensors: Tensors, index: int, attributes: Sequence[str], weight: torch.Tensor) -> list[torch.Tensor]:
    return [tensors[f"{index}.{attribute}"].to(weight.device) for attribute in attributes]


def _spectrum(tensors: Tensors, index: int, size: int, weight: torch.Tensor) -> BlockSpectrum:
    if f"{index}.vectors" in tensors:
        S, vectors = _of_block(tensors, index, ("S", "vectors"), weight)
        return BlockSpectrum((size, weight.shape[1]), S, vectors)
    return spectrum_of(BlockDecomposition(*_of_block(tensors, index, ("U", "S", "Vh"), weight)))


def _tail_shapes(weight: torch.Tensor, clusters: int) -> dict[str, tuple[int, ...]]:
    columns = weight.shape[1]
    shapes: dict[str, tuple[int, ...]] = {}
    for index, size in enumerate(row_block_sizes(weight.shape[0], clusters)):
        count = min(TAIL, size, columns)
        shapes |= {f"{index}.U": (size, count), f"{index}.S": (count,), f"{index}.V": (columns, count)}
    return shapes


def _spectrum_shapes(weight: torch.Tensor, clusters: int) -> dict[str, tuple[int, ...]]:
    """Those of Gram matrices' spectra; of a float64 weight, those of singular value decompositions."""
    columns = weight.shape[1]
    shapes: dict[str, tuple[int, ...]] = {}
    for index, size in enumerate(row_block_sizes(weight.shape[0], clusters)):
        rank = min(size, columns)
        if weight.dtype == torch.float64:
            shapes |= {f"{index}.U": (size, rank), f"{index}.S": (rank,), f"{index}.Vh": (rank, columns)}
        else:
            shapes |= {f"{index}.S": (rank,), f"{index}.vectors": (rank, rank)}
    return shapes
