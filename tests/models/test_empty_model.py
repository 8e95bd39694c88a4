"""A model of a config, without weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from cti_edits.errors import EditError, FitError
from cti_edits.models.empty_model import empty_model, kind_of
from tests.support.tiny_models import EVERY, MASKED, tiny_model


@pytest.mark.parametrize("model_type", EVERY)
def test_it_has_the_modules_and_shapes_of_the_model_and_no_values(model_type: str) -> None:
    model = tiny_model(model_type)
    empty = empty_model(model.config, kind_of(model.config))
    assert type(empty) is type(model)
    found, expected = dict(empty.named_parameters()), dict(model.named_parameters())
    assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in expected.items()}
    assert all(one.is_meta for one in found.values())
    assert not empty.training


@pytest.mark.parametrize("model_type", EVERY)
def test_the_kind_is_that_of_the_class_and_without_one_that_of_the_type(model_type: str) -> None:
    config = tiny_model(model_type).config
    expected = "masked" if model_type in MASKED else "causal"
    assert kind_of(config) == expected
    config.architectures = None
    assert kind_of(config) == expected


def test_a_class_of_its_own_decides_where_a_type_has_several() -> None:
    config = transformers.BertConfig(is_decoder=True)
    config.architectures = ["BertLMHeadModel"]
    assert kind_of(config) == "causal"
    assert kind_of(transformers.BertConfig(is_decoder=True)) == "causal"
    assert kind_of(transformers.T5Config()) == "seq2seq"


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(FitError, match=r"^expected a language model, got vit$"):
        kind_of(transformers.ViTConfig())


def test_a_config_that_makes_no_model_is_refused_in_one_line() -> None:
    config = transformers.LlamaConfig(hidden_act="no_such_function")
    with pytest.raises(EditError, match=r"^cannot make the model of its config: .*no_such_function"):
        empty_model(config, "causal")


def test_the_model_of_a_checkpoint_needs_no_weights(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((llama / "config.json").read_bytes())
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert empty_model(config, kind_of(config)).get_submodule("model.layers.2.mlp.gate_proj") is not None
