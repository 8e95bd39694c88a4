"""A checkpoint's safetensors files: what they store of a tensor, without loading a model."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_edits.errors import CheckpointError, printable
from cti_edits.hub.checkpoint_file import folder_inside, from_hub
from cti_edits.models.checkpoint_json import json_object

if TYPE_CHECKING:
    import torch

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHUNK_BYTES = 1 << 24
"""How much of a tensor is held at once while it is hashed."""

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The dtypes that an edit can be of, as safetensors names them, with bytes a number."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file.

    Attributes:
        file: where it is.
        name: its name there.
        dtype: as safetensors names it, "F16".
        shape: as it is stored.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    def chunks(self) -> Iterator[torch.Tensor]:
        """The tensor in parts along its first axis, of about `CHUNK_BYTES` each and the stored dtype, on the CPU.

        Raises:
            CheckpointError: the file cannot be read.
        """
        with _opened(self.file) as opened:
            if not self.shape or not math.prod(self.shape):
                yield opened.get_tensor(self.name)
                return
            values = opened.get_slice(self.name)
            step = max(1, CHUNK_BYTES // (BYTES.get(self.dtype, 1) * math.prod(self.shape[1:])))
            for start in range(0, self.shape[0], step):
                yield values[start : start + step]

    def tensor(self) -> torch.Tensor:
        """The whole tensor in the stored dtype, on the CPU.

        Raises:
            CheckpointError: the file cannot be read.
        """
        with _opened(self.file) as opened:
            found: torch.Tensor = opened.get_tensor(self.name)
        return found

    def sha256(self) -> str:
        """Hash of what is stored: of "F32 [2, 3]", a line feed, and the tensor's bytes. `identity.tensor_sha256` is
        the same of a tensor in memory.

        Raises:
            CheckpointError: the file cannot be read.
        """
        import torch

        digest = hashlib.sha256(f"{self.dtype} {list(self.shape)}\n".encode())
        for chunk in self.chunks():
            if chunk.numel():
                digest.update(chunk.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def frobenius_norm(self) -> float:
        """‖W‖_F, summed in float64; NaN or infinite where a value is.

        Raises:
            CheckpointError: the file cannot be read.
        """
        return math.sqrt(math.fsum(float(chunk.double().square().sum()) for chunk in self.chunks()))


def stored_name(tensors: Collection[str], name: str) -> str | None:
    """What a checkpoint with ``tensors`` calls the weight ``name`` of a model; None if it has none.

    A model with a head may have been saved without it and the other way round, so that one part of the name more or
    less in front ("transformer.", "model.") is the same tensor, unless two are.
    """
    if name in tensors:
        return name
    shorter = name.partition(".")[2]
    near = [one for one in tensors if one == shorter or one.partition(".")[2] == name]
    return near[0] if len(near) == 1 else None


class Checkpoint:
    """A checkpoint folder or a model of the hub; files of the hub are fetched when they are first needed.

    Attributes:
        place: the folder or hub id, as it was given.
        commit: the hub commit that the files are of, or None for a folder.
    """

    def __init__(
        self, place: str, commit: str | None, fetch: Callable[[str], Path | None], variant: str | None = None
    ) -> None:
        self.place = place
        self.commit = commit
        self._fetch = fetch
        # As transformers names them: "model.fp16.safetensors", "model.safetensors.index.fp16.json".
        self._single = SINGLE if not variant else f"model.{variant}.safetensors"
        self._index = INDEX if not variant else f"model.safetensors.index.{variant}.json"

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What config.json says; empty if there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        file = self._fetch("config.json")
        return json_object(file) if file else {}

    @cached_property
    def _files(self) -> Mapping[str, str]:
        """From each tensor's name to the file that holds it."""
        if single := self._fetch(self._single):
            with _opened(single) as opened:
                return dict.fromkeys(opened.keys(), self._single)
        index = self._fetch(self._index)
        if index is None:
            raise CheckpointError(
                f"{printable(self.place)}: has neither {printable(self._single)} nor {printable(self._index)}; "
                "its weights can be read from safetensors files only"
            )
        files = json_object(index).get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
            raise CheckpointError(f"{printable(index, 1000)}: weight_map: expected an object of file names")
        for file in set(files.values()):
            if Path(file).name != file or "\\" in file:
                got = printable(file)
                raise CheckpointError(f"{printable(index, 1000)}: weight_map: expected names beside it, got {got!r}")
        return files

    def find(self, name: str) -> StoredTensor | None:
        """The tensor called ``name``, see `stored_name`, or None if there is none.

        Raises:
            CheckpointError: the files cannot be read.
        """
        found = stored_name(self._files, name)
        if found is None:
            return None
        file = self._fetch(self._files[found])
        if file is None:
            raise CheckpointError(f"{printable(self.place)}: {printable(self._files[found])} is missing")
        with _opened(file) as opened:
            values = opened.get_slice(found)
            return StoredTensor(file, found, str(values.get_dtype()), tuple(values.get_shape()))

    def sizes(self) -> tuple[int, int]:
        """Numbers and bytes of all tensors. Reads the headers of every file.

        Raises:
            CheckpointError: the files cannot be read.
        """
        numbers = stored = 0
        for name in set(self._files.values()):
            file = self._fetch(name)
            if file is None:
                raise CheckpointError(f"{printable(self.place)}: {printable(name)} is missing")
            with _opened(file) as opened:
                for tensor in opened.keys():  # noqa: SIM118 (no mapping)
                    values = opened.get_slice(tensor)
                    count = math.prod(values.get_shape())
                    numbers += count
                    stored += count * BYTES.get(values.get_dtype(), 1)
        return numbers, stored


def open_checkpoint(
    place: str,
    revision: str | None = None,
    local: bool = False,
    subfolder: str = "",
    variant: str | None = None,
    cache_dir: str | None = None,
) -> Checkpoint:
    """The checkpoint in a folder or on the hub.

    Args:
        place: a folder, or a hub id.
        revision: of the hub; its main branch if None. A folder has none.
        local: take what is in the hub's cache on this machine and ask no network.
        subfolder: of ``place``, where config and weights are.
        variant: of the weights' file names, "fp16".
        cache_dir: the hub's cache; its client's own if None.

    Raises:
        CheckpointError: there is no such folder or model.
    """
    parts = folder_inside(place, subfolder).parts
    shown = f"{place}/{subfolder}" if parts else place
    with contextlib.suppress(OSError, ValueError):
        if place and Path(place).is_dir():
            folder = Path(place, *parts)
            if not folder.is_dir():
                raise CheckpointError(f"{printable(shown)}: no such folder")
            return Checkpoint(shown, None, lambda name: folder / name if (folder / name).is_file() else None, variant)
    fetch = from_hub(place, revision, local, "/".join(parts), cache_dir)
    config = fetch("config.json")
    if config is None:
        where = "in the hub's cache on this machine" if local else "on the hub, nor in its cache"
        raise CheckpointError(f"{printable(shown)}: no such folder, and no such model {where}")
    return Checkpoint(shown, config.parents[len(parts)].name, fetch, variant)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (SafetensorError, OSError, AttributeError) as error:  # AttributeError: a dtype that torch does not have
        raise CheckpointError(f"{printable(file, 1000)}: cannot be read: {printable(error)}") from None
