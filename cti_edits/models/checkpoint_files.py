"""The files of a checkpoint folder: where each tensor's bytes are, and which files beside them belong to the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from cti_edits.errors import EditError, printable
from cti_edits.models.checkpoint import INDEX, SINGLE
from cti_edits.models.checkpoint_json import json_object

COMPANIONS = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    "additional_chat_templates/*.jinja",
    "LICENSE*",
    "NOTICE*",
)
"""Files beside the weights that say how they are used: config, tokenizer, generation, licence. No code, no pickle."""
NOT_COMPANIONS = ("*.index.json", "trainer_state.json", "optimizer*")
HUB_FILES = (SINGLE, INDEX, "model-*.safetensors", *COMPANIONS)
"""What is fetched of a model on the hub."""


@dataclass(frozen=True)
class TensorPlace:
    """A tensor in a safetensors file: its name, the file's name, its dtype, where its bytes start and how many."""

    name: str
    file: str
    dtype: str
    start: int
    size: int


@dataclass(frozen=True)
class CheckpointFiles:
    """The weights of a folder.

    Attributes:
        folder: where the files are.
        files: names of the safetensors files.
        index: name of the index, or None where one file holds everything.
        tensors: from each tensor's name to the file that holds it.
    """

    folder: Path
    files: tuple[str, ...]
    index: str | None
    tensors: Mapping[str, str]

    def companions(self) -> list[Path]:
        """The files beside the weights that belong to the model, relative to the folder."""
        found = {path for pattern in COMPANIONS for path in self.folder.glob(pattern) if path.is_file()}
        left_out = {path for pattern in NOT_COMPANIONS for path in self.folder.glob(pattern)}
        return sorted(path.relative_to(self.folder) for path in found - left_out)

    def place_of(self, name: str, folder: Path | None = None) -> TensorPlace:
        """Where the bytes of the tensor ``name`` are.

        Args:
            name: the tensor's.
            folder: of a copy of the files, which is looked at instead.

        Raises:
            EditError: the file is not what its index says.
        """
        file = self.tensors[name]
        path = (folder or self.folder) / file
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        if name not in header:
            raise EditError(f"{printable(path)}: expected the tensor {printable(name)}, which {INDEX} has there")
        start, end = header[name]["data_offsets"]
        return TensorPlace(name, file, header[name]["dtype"], 8 + length + start, end - start)


def checkpoint_files(folder: Path) -> CheckpointFiles:
    """The checkpoint in ``folder``. Reads headers, no weights.

    Raises:
        EditError: there are no safetensors weights, a file is missing or damaged, or the index is wrong.
    """
    if (folder / SINGLE).is_file():
        files, index, claimed = [SINGLE], None, None
    elif (folder / INDEX).is_file():
        claimed = json_object(folder / INDEX).get("weight_map")
        files, index = _shards(folder / INDEX, claimed), INDEX
    else:
        raise EditError(
            f"{printable(folder)}: expected {SINGLE} or {INDEX}, found neither; "
            "save the model with save_pretrained, which writes them"
        )
    tensors: dict[str, str] = {}
    for file in files:
        for name in _tensor_names(folder / file):
            if name in tensors:
                raise EditError(
                    f"{printable(folder)}: the tensor {printable(name)} is in both {printable(tensors[name])} "
                    f"and {printable(file)}"
                )
            tensors[name] = file
    if claimed is not None:
        for name, file in claimed.items():
            if tensors.get(name) != file:
                raise EditError(f"{printable(folder / INDEX)}: {printable(name)} is not in {printable(file)}")
    return CheckpointFiles(folder, tuple(files), index, tensors)


def _shards(index: Path, claimed: Any) -> list[str]:
    if not isinstance(claimed, dict) or not claimed or not all(isinstance(file, str) for file in claimed.values()):
        raise EditError(f"{printable(index)}: weight_map: expected an object from tensors to files")
    files = sorted(set(claimed.values()))
    for file in files:
        if os.path.basename(file) != file or not file.endswith(".safetensors"):  # noqa: PTH119 (Path drops a "./")
            raise EditError(
                f"{printable(index)}: weight_map: expected the name of a safetensors file, got {printable(file)!r}"
            )
    return files


def _tensor_names(path: Path) -> list[str]:
    if not path.is_file():
        raise EditError(f"{printable(path)}: expected a safetensors file, but there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise EditError(f"{printable(path)}: not a safetensors file that can be read: {printable(error)}") from None
