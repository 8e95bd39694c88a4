"""The model of a checkpoint's config, without values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cti_edits.errors import EditError, FitError
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.config_model import model_of_config
from tests.support.tiny_models import save_checkpoint, tiny_model


def test_it_has_the_model_s_parameters_and_none_of_their_values(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(save_checkpoint(tmp_path, "llama")))
    model = model_of_config("LlamaForCausalLM", checkpoint)
    shapes = {name: tuple(one.shape) for name, one in model.named_parameters()}
    assert shapes == {name: tuple(one.shape) for name, one in tiny_model("llama").named_parameters()}
    assert all(one.is_meta for one in model.parameters())
    assert model_of_config("LlamaForCausalLM", checkpoint) is model


def test_what_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "llama")
    with pytest.raises(FitError, match=r"^base_model\.architecture: the edit is for GPT2LMHeadModel"):
        model_of_config("GPT2LMHeadModel", open_checkpoint(str(folder)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    with pytest.raises(FitError, match=r"^base_model\.architecture: transformers has no NoSuchModel for this"):
        model_of_config("NoSuchModel", open_checkpoint(str(folder)))
    (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": "four"}))
    with pytest.raises(EditError, match=r"cannot make the model of its config\.json: ") as caught:
        model_of_config("LlamaForCausalLM", open_checkpoint(str(folder)))
    assert "\n" not in str(caught.value)
