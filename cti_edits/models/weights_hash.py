"""One hash for all weights of a model in memory."""

from __future__ import annotations

import hashlib

import torch

from cti_edits.models.identity import tensor_sha256


def weights_sha256(model: torch.nn.Module) -> str:
    """Hash over names, dtypes, shapes and bytes of a model's state dict. It depends on neither order nor device.

    Raises:
        TypeError: an entry is no tensor, or one whose bytes are not in memory.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        if tensor.is_meta:
            raise TypeError(f"{name}: the weights are not in memory")
        digest.update(f"{name}\n{tensor_sha256(tensor)}\n".encode())
    return digest.hexdigest()
