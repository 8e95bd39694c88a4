"""A checkpoint's safetensors files: what they store of a tensor, without loading a model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_edits.errors import CheckpointError, printable

if TYPE_CHECKING:
    import torch

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 1 << 27
"""Of a config or an index. An index has about 100 bytes a tensor."""

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


class Checkpoint:
    """A checkpoint folder or a model of the hub; files of the hub are fetched when they are first needed.

    Attributes:
        place: the folder or hub id, as it was given.
        commit: the hub commit that the files are of, or None for a folder.
    """

    def __init__(self, place: str, commit: str | None, fetch: Callable[[str], Path | None]) -> None:
        self.place = place
        self.commit = commit
        self._fetch = fetch

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What config.json says; empty if there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        file = self._fetch("config.json")
        return _json_object(file) if file else {}

    @cached_property
    def _files(self) -> Mapping[str, str]:
        """From each tensor's name to the file that holds it."""
        if single := self._fetch(SINGLE):
            with _opened(single) as opened:
                return dict.fromkeys(opened.keys(), SINGLE)
        index = self._fetch(INDEX)
        if index is None:
            raise CheckpointError(
                f"{printable(self.place)}: has neither {SINGLE} nor {INDEX}; its weights can be read from safetensors "
                "files only"
            )
        files = _json_object(index).get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
            raise CheckpointError(f"{printable(index, 1000)}: weight_map: expected an object of file names")
        for file in set(files.values()):
            if Path(file).name != file or "\\" in file:
                got = printable(file)
                raise CheckpointError(f"{printable(index, 1000)}: weight_map: expected names beside it, got {got!r}")
        return files

    def find(self, name: str) -> StoredTensor | None:
        """The tensor called ``name``, or None if there is none.

        A model with a head may have been saved without it and the other way round, so that one part of the name more
        or less in front ("transformer.", "model.") is the same tensor, unless two are.

        Raises:
            CheckpointError: the files cannot be read.
        """
        if name not in self._files:
            shorter = name.partition(".")[2]
            near = [one for one in self._files if one == shorter or one.partition(".")[2] == name]
            if len(near) != 1:
                return None
            name = near[0]
        file = self._fetch(self._files[name])
        if file is None:
            raise CheckpointError(f"{printable(self.place)}: {printable(self._files[name])} is missing")
        with _opened(file) as opened:
            values = opened.get_slice(name)
            return StoredTensor(file, name, str(values.get_dtype()), tuple(values.get_shape()))

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


def open_checkpoint(place: str, revision: str | None = None, local: bool = False) -> Checkpoint:
    """The checkpoint in a folder or on the hub.

    Args:
        place: a folder, or a hub id.
        revision: of the hub; its main branch if None. A folder has none.
        local: take what is in the hub's cache on this machine and ask no network.

    Raises:
        CheckpointError: there is no such folder or model.
    """
    folder = Path(place)
    with contextlib.suppress(OSError, ValueError):
        if place and folder.is_dir():
            return Checkpoint(place, None, lambda name: folder / name if (folder / name).is_file() else None)
    fetch = _fetch_from_hub(place, revision, local)
    config = fetch("config.json")
    if config is None:
        where = "in the hub's cache on this machine" if local else "on the hub, nor in its cache"
        raise CheckpointError(f"{printable(place)}: no such folder, and no such model {where}")
    return Checkpoint(place, config.parent.name, fetch)


def _fetch_from_hub(place: str, revision: str | None, local: bool) -> Callable[[str], Path | None]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    def fetch(name: str) -> Path | None:
        try:
            return Path(hf_hub_download(place, name, revision=revision, local_files_only=local))
        except EntryNotFoundError:
            return None
        except HFValidationError:
            raise CheckpointError(f"{printable(place)!r}: no such folder, and not the id of a hub model") from None
        except Exception as error:  # the client's, its transport's and the disk's have no base of their own
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{printable(place)}: cannot be read from the hub: {printable(said, 300)}") from None

    return fetch


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (SafetensorError, OSError, AttributeError) as error:  # AttributeError: a dtype that torch does not have
        raise CheckpointError(f"{printable(file, 1000)}: cannot be read: {printable(error)}") from None


def _json_object(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_JSON_BYTES + 1)
        found = json.loads(content) if len(content) <= MAX_JSON_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{printable(file, 1000)}: cannot be read: {printable(error)}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{printable(file, 1000)}: expected a JSON object of at most {MAX_JSON_BYTES:,} bytes")
    return found
