"""A GGUF file as a checkpoint: the values that transformers loads from each of its tensors, under the model's names.

Quantized numbers are an encoding of values, and it is these that a model has and an edit changes. So a tensor is here
what its blocks are when they are unpacked to float32, in the order of transformers' rows, and its hash is over that:
the same for a GGUF file, for a checkpoint that was saved from it, and for a model that was loaded from either. The hash
of the file's own bytes stands beside it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_edits.errors import MAX_SHOWN_PATH, CheckpointError, printable
from cti_edits.hub.checkpoint_file import folder_inside, from_hub
from cti_edits.models.checkpoint import Config
from cti_edits.models.stored_tensor import matrix_sha256, unreadable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

ENDING = ".gguf"
DTYPE = "F32"
"""In which values are unpacked; it holds those of every type of GGUF but F64."""


@dataclass(frozen=True)
class GgufTensor:
    """The values of one tensor. It answers as a `StoredTensor` of them would.

    Attributes:
        file: the GGUF file.
        name: of the model's parameter.
        content: its values, float32, with the axes of the parameter.
        stored: its bytes in the file, quantized as they are.
    """

    file: Path
    name: str
    content: torch.Tensor
    stored: NDArray[np.generic]

    @property
    def dtype(self) -> str:
        """As safetensors names it."""
        return DTYPE

    @property
    def is_weight(self) -> bool:
        """Whether an edited weight can have its dtype."""
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameter."""
        return tuple(self.content.shape)

    @property
    def size(self) -> int:
        """How many bytes the values take."""
        return self.content.nbytes

    def tensor(self) -> torch.Tensor:
        """The values."""
        return self.content

    def values(self, start: int, size: int) -> torch.Tensor:
        """The numbers in ``size`` bytes from byte ``start`` on."""
        width = self.content.itemsize
        return self.content.reshape(-1)[start // width : (start + size) // width].clone()

    def sha256(self) -> str:
        """Hash of the values as if they were stored."""
        return matrix_sha256(self.dtype, self.content)

    def bytes_sha256(self) -> str:
        """Hash of the bytes that the file has of it."""
        return hashlib.sha256(self.stored.tobytes()).hexdigest()

    def frobenius_norm(self) -> float:
        """‖W‖_F, summed in float64; NaN or infinite where a value is."""
        return math.sqrt(float(self.content.double().square().sum()))

    def write(self, values: torch.Tensor, start: int = 0) -> None:  # noqa: ARG002
        """Refused.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(f"{printable(self.file, MAX_SHOWN_PATH)}: a GGUF file is not written")


class GgufCheckpoint:
    """The weights of a GGUF file. It is read when something of it is first needed.

    Args:
        file: the file.
        commit: the hub commit that it is of, or None.
    """

    def __init__(self, file: Path, commit: str | None = None) -> None:
        self.place = str(file)
        self.commit = commit
        self.file = file

    @property
    def config_folder(self) -> Path:
        """Where the file is, which is its own config."""
        return self.file.parent

    @property
    def config(self) -> Config:
        """What the file says of its model.

        Raises:
            CheckpointError: it cannot be read, or is of a type of model that transformers does not load.
        """
        model_type = self._transformers["config"].get("model_type")
        return Config(model_type if isinstance(model_type, str) else None)

    @cached_property
    def _transformers(self) -> dict[str, Any]:
        """What transformers reads of the file, but for the tensors."""
        try:
            from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

            found: dict[str, Any] = load_gguf_checkpoint(str(self.file))
        except ImportError:
            raise CheckpointError(
                f"{printable(self.file, MAX_SHOWN_PATH)}: reading a GGUF file needs the package gguf: "
                'pip install "cti-edits[demo]"'
            ) from None
        except Exception as error:  # of a file that is damaged, or written by a stranger
            raise unreadable(self.file, error) from None
        return found

    @cached_property
    def _reader(self) -> Any:
        import gguf

        return gguf.GGUFReader(str(self.file))

    @cached_property
    def _tensors(self) -> dict[str, Any]:
        """The reader's tensors by their names in the file; their numbers are read when they are needed."""
        return {tensor.name: tensor for tensor in self._reader.tensors}

    def find(self, name: str) -> GgufTensor | None:
        """The weight ``name`` of a model; None if the file has none, or has it in another form.

        Raises:
            CheckpointError: the file cannot be read.
        """
        config = self._transformers["config"]
        try:
            return self._found(name, config)
        except Exception as error:
            raise unreadable(self.file, error) from None

    def _found(self, name: str, config: dict[str, Any]) -> GgufTensor | None:
        import gguf
        import torch
        from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

        architecture = str(self._reader.fields["general.architecture"].contents())
        known = {called: number for number, called in gguf.MODEL_ARCH_NAMES.items()}
        blocks = int(self._reader.fields[f"{architecture}.block_count"].contents())
        names = gguf.get_tensor_name_map(known[architecture], blocks)
        module, _, parameter = name.rpartition(".")
        # Some files are made of the model inside the one with a head.
        found = names.get_name(module) or names.get_name(module.partition(".")[2])
        tensor = self._tensors.get(f"{found}.{parameter}")
        if tensor is None:
            return None
        processors: dict[str, Any] = TENSOR_PROCESSORS
        processor = processors.get(architecture, TensorProcessor)(config=config)
        unpacked = gguf.dequantize(tensor.data, tensor.tensor_type)
        # Some architectures have rows in another order, or input features as rows.
        read = processor.process(
            weights=unpacked,
            name=tensor.name,
            tensor_key_mapping={tensor.name: name},
            parsed_parameters={"tensors": {}, "config": config},
        )
        if read.name != tensor.name:
            return None
        values = torch.from_numpy(read.weights.astype("float32")).contiguous()
        return GgufTensor(self.file, name, values, tensor.data)


def open_gguf(
    place: str,
    gguf_file: str,
    revision: str | None = None,
    local: bool = False,
    subfolder: str = "",
    cache_dir: str | None = None,
) -> GgufCheckpoint:
    """A GGUF file inside a folder or a model on the hub.

    Args:
        place: a folder, or a hub id.
        gguf_file: its name there.
        revision: of the hub; its main branch if None.
        local: take what is in the hub's cache on this machine and ask no network.
        subfolder: of ``place``.
        cache_dir: the hub's cache; its client's own if None.

    Raises:
        CheckpointError: there is no such file.
    """
    parts = folder_inside(place, subfolder).parts
    inside = folder_inside(place, gguf_file)
    if Path(place).is_dir():
        found: Path | None = Path(place, *parts, inside)
        commit = None
    else:
        found = from_hub(place, revision, local, "/".join(parts), cache_dir)(str(inside))
        commit = None if found is None else found.parents[len(parts) + len(inside.parts) - 1].name
    if found is None or not found.is_file():
        raise CheckpointError(f"{printable(place)}: has no {printable(gguf_file)}")
    return GgufCheckpoint(found, commit)
