"""The model of a checkpoint's config on the meta device: its modules and shapes, without values."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from cti_edits.errors import EditError, FitError, printable
from cti_edits.models.architectures import check_architecture
from cti_edits.models.gguf_checkpoint import GgufCheckpoint
from cti_edits.models.stored_names import AnyCheckpoint

if TYPE_CHECKING:
    import transformers


@lru_cache(maxsize=2)
def model_of_config(architecture: str, checkpoint: AnyCheckpoint) -> torch.nn.Module:
    """The model of class ``architecture`` that the checkpoint's config gives, whose parameters hold no values.

    Raises:
        FitError: the checkpoint is of another class, or transformers has none of that name for it.
        EditError: its config gives no model.
    """
    import transformers

    place = printable(checkpoint.place)
    check_architecture(architecture, checkpoint.config.architectures, place)
    model_class = getattr(transformers, architecture, None)
    try:
        where = {"gguf_file": checkpoint.file.name} if isinstance(checkpoint, GgufCheckpoint) else {}
        config = transformers.AutoConfig.from_pretrained(
            str(checkpoint.config_folder), trust_remote_code=False, **where
        )
        if model_class is None or not (isinstance(config, model_class.config_class) or _borrows(config, architecture)):
            raise FitError(f"base_model.architecture: transformers has no {architecture} for this checkpoint")
        with torch.device("meta"):
            model: torch.nn.Module = model_class(config)
            return model
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{place}: cannot make the model of its config.json: {_line(error)}") from None


def _borrows(config: transformers.PretrainedConfig, architecture: str) -> bool:
    """Whether transformers has for a config a class that was made for another one: EXAONE's model is Llama's."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) == architecture


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return printable(said[0], 300) if said else type(error).__name__
