"""The reader of a checkpoint, in a folder or on the hub: what its config says and where each tensor is. No model here.

A checkpoint comes from a stranger. What its config and index say is checked here, before anything else uses it, and the
headers of its files are checked in stored_tensor.py.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from cti_edits.errors import MAX_SHOWN_PATH, CheckpointError, printable
from cti_edits.hub.checkpoint_file import folder_inside, from_hub
from cti_edits.models.stored_tensor import StoredTensor, tensors_in, unreadable

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 1 << 27
"""Of a config or an index. An index has about 100 bytes a tensor."""


@dataclass(frozen=True)
class Config:
    """What a checkpoint's config.json says of its model.

    Attributes:
        model_type: key of its architecture family, "gpt2"; None if it does not say.
        architectures: names of its transformers classes, usually one; none if it does not say.
        quant_method: by which its weights are quantized, "gptq"; None if it names none.
    """

    model_type: str | None = None
    architectures: tuple[str, ...] = ()
    quant_method: str | None = None


class Checkpoint:
    """A checkpoint. Each file is fetched when it is first needed: a shard when one of its tensors is looked up.

    Args:
        place: the folder or hub id, for messages.
        commit: the hub commit that the files are of, or None for a folder.
        fetch: gives the path of a file by its name, or None where there is no such file.
        variant: of the weights' file names, "fp16".
    """

    def __init__(
        self, place: str, commit: str | None, fetch: Callable[[str], Path | None], variant: str | None = None
    ) -> None:
        self.place = place
        self.commit = commit
        self._fetch = cache(fetch)
        # As transformers names them: "model.fp16.safetensors", "model.safetensors.index.fp16.json".
        self._single = SINGLE if not variant else f"model.{variant}.safetensors"
        self._index = INDEX if not variant else f"model.safetensors.index.{variant}.json"
        self._headers: dict[str, dict[str, StoredTensor]] = {}

    @cached_property
    def config(self) -> Config:
        """What config.json says; an empty `Config` if there is no such file.

        Raises:
            CheckpointError: it is no JSON object, or cannot be read.
        """
        file = self._fetch("config.json")
        content = _json_object(file) if file else {}
        model_type, architectures = content.get("model_type"), content.get("architectures")
        quantization = content.get("quantization_config")
        quant_method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        return Config(
            model_type if isinstance(model_type, str) else None,
            tuple(name for name in architectures if isinstance(name, str)) if isinstance(architectures, list) else (),
            quant_method if isinstance(quant_method, str) else None,
        )

    @property
    def config_folder(self) -> Path | None:
        """Where config.json is on this machine; None if there is none.

        Raises:
            CheckpointError: it cannot be fetched.
        """
        file = self._fetch("config.json")
        return None if file is None else file.parent

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the safetensors files.

        Raises:
            CheckpointError: the files cannot be read, or the index is wrong.
        """
        return tuple(sorted(set(self._file_of.values())))

    @cached_property
    def index(self) -> Path | None:
        """The file that says which shard holds which tensor; None where one file holds everything.

        Raises:
            CheckpointError: there is neither that nor a single file.
        """
        if self._fetch(self._single):
            return None
        if index := self._fetch(self._index):
            return index
        raise CheckpointError(
            f"{printable(self.place, MAX_SHOWN_PATH)}: has neither {printable(self._single)} nor "
            f"{printable(self._index)}; its weights can be read from safetensors files only, which save_pretrained "
            "writes"
        )

    @cached_property
    def _file_of(self) -> Mapping[str, str]:
        """From each tensor's name to the name of the file that holds it."""
        if self.index is None:
            return dict.fromkeys(self._header(self._single), self._single)
        where = f"{printable(self.index, MAX_SHOWN_PATH)}: weight_map"
        found = _json_object(self.index).get("weight_map")
        if not isinstance(found, dict) or not found:
            raise CheckpointError(f"{where}: expected an object from tensors to files")
        file_of: dict[str, str] = {}
        for name, file in found.items():
            if not isinstance(file, str):
                raise CheckpointError(f"{where}: expected an object from tensors to files")
            # Not by Path, which drops a "./".
            if os.path.basename(file) != file or "\\" in file or not file.endswith(".safetensors"):  # noqa: PTH119
                raise CheckpointError(f"{where}: expected the name of a safetensors file, got {printable(file)!r}")
            file_of[name] = file
        return file_of

    def _header(self, file_name: str) -> Mapping[str, StoredTensor]:
        """The tensors of one file by their names."""
        if file_name not in self._headers:
            file = self._fetch(file_name)
            if file is None:
                raise CheckpointError(f"{printable(self.place, MAX_SHOWN_PATH)}: {printable(file_name)} is missing")
            self._headers[file_name] = tensors_in(file)
        return self._headers[file_name]

    def find(self, name: str) -> StoredTensor | None:
        """The weight ``name`` of a model, or None if there is no such tensor.

        A model with a head may have been saved without it and the other way round. So a tensor whose name has one part
        more or less in front ("transformer.", "model.") is the weight, too, unless there are two such.

        Raises:
            CheckpointError: the files cannot be read, or the index is wrong.
        """
        found = _stored_name(self._file_of, name)
        return None if found is None else self._tensor(found)

    def _tensor(self, name: str) -> StoredTensor:
        file = self._file_of[name]
        header = self._header(file)
        if name not in header:
            raise CheckpointError(
                f"{printable(self.index, MAX_SHOWN_PATH)}: {printable(name)} is not in {printable(file)}"
            )
        return header[name]

    def tensors(self) -> tuple[StoredTensor, ...]:
        """Every tensor. Reads the headers of all files, and no weights.

        Raises:
            CheckpointError: a file is missing or cannot be read, a tensor is in two of them, or the index is wrong.
        """
        found: dict[str, StoredTensor] = {}
        for file in self.files:
            for name, tensor in self._header(file).items():
                if name in found:
                    raise CheckpointError(
                        f"{printable(self.place, MAX_SHOWN_PATH)}: the tensor {printable(name)} is in both "
                        f"{printable(found[name].file.name)} and {printable(file)}"
                    )
                found[name] = tensor
        for name in self._file_of:
            self._tensor(name)
        return tuple(found.values())


def _stored_name(names: Collection[str], wanted: str) -> str | None:
    if wanted in names:
        return wanted
    shorter = wanted.partition(".")[2]
    near = [name for name in names if name == shorter or name.partition(".")[2] == wanted]
    return near[0] if len(near) == 1 else None


def _json_object(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise CheckpointError(f"{printable(file, MAX_SHOWN_PATH)}: expected at most {MAX_JSON_BYTES:,} bytes")
        found: object = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(file, error) from None
    if not isinstance(found, dict):
        got = type(found).__name__
        raise CheckpointError(f"{printable(file, MAX_SHOWN_PATH)}: expected a JSON object, got {got}")
    return found


def folder_checkpoint(folder: Path, variant: str | None = None) -> Checkpoint:
    """The checkpoint in ``folder``.

    Args:
        folder: where config and weights are.
        variant: of the weights' file names, "fp16".

    Raises:
        CheckpointError: there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{printable(folder, MAX_SHOWN_PATH)}: no such folder")

    def fetch(name: str) -> Path | None:
        # Not by Path, which raises where a name is too long.
        return folder / name if os.path.isfile(folder / name) else None  # noqa: PTH113

    return Checkpoint(str(folder), None, fetch, variant)


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
    with contextlib.suppress(OSError, ValueError):  # a name that no folder can have
        if place and Path(place).is_dir():
            return folder_checkpoint(Path(place, *parts), variant)
    fetch = from_hub(place, revision, local, "/".join(parts), cache_dir)
    config = fetch("config.json")
    shown = f"{place}/{subfolder}" if parts else place
    if config is None:
        where = "in the hub's cache on this machine" if local else "on the hub, nor in its cache"
        raise CheckpointError(f"{printable(shown)}: no such folder, and no such model {where}")
    return Checkpoint(shown, config.parents[len(parts)].name, fetch, variant)
