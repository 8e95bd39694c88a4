from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import AutoConfig

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.errors import EditError
from cti_edits.harness.base_config import model_kind
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.harness.masked_lm import EditedMaskedLM
from studies.tiny.encoder_decoders import SEQ2SEQ
from tests.support.tiny_models import CAUSAL, EVERY, MASKED, save_checkpoint, tiny_model

CPU: dict[str, Any] = {"device": "cpu"}


def config_only(folder: Path, model_type: str, architectures: list[str] | None) -> str:
    """A folder with a config and no weights, as far as the kind of a model is looked at."""
    config = AutoConfig.for_model(model_type)
    config.architectures = architectures
    config.save_pretrained(folder)
    return str(folder)


def an_edit(base: str, architecture: str, revision: str | None = None) -> Edit:
    base_model = BaseModel(id=base, revision=revision, architecture=architecture, dtype="float64")
    return Edit(name="none", description="", base_model=base_model, edits=())


@pytest.mark.parametrize("model_type", EVERY)
def test_a_checkpoint_s_kind_is_that_of_the_class_it_names(model_type: str, tmp_path: Path) -> None:
    folder = config_only(tmp_path, model_type, [EVERY[model_type][1]])
    assert model_kind(folder, None, {}) == ("causal" if model_type in CAUSAL else "masked")


@pytest.mark.parametrize("model_type", EVERY)
def test_a_checkpoint_that_names_no_class_is_of_its_family_s_kind(model_type: str, tmp_path: Path) -> None:
    folder = config_only(tmp_path, model_type, None)
    assert model_kind(folder, None, {}) == ("causal" if model_type in CAUSAL else "masked")


@pytest.mark.parametrize(
    ("model_type", "architectures", "kind"),
    [
        ("roberta", ["RobertaForCausalLM"], "causal"),
        ("bert", ["BertLMHeadModel"], "causal"),
        ("bert", ["BertForPreTraining"], "masked"),
        ("electra", ["ElectraForMaskedLM"], "masked"),
        ("t5", ["T5ForConditionalGeneration"], "seq2seq"),
        ("gpt2", ["GPT2Model"], "causal"),
        ("t5", None, "seq2seq"),
        ("fsmt", ["FSMTForConditionalGeneration"], "seq2seq"),
    ],
)
def test_the_class_goes_before_the_family(
    model_type: str, architectures: list[str] | None, kind: str, tmp_path: Path
) -> None:
    assert model_kind(config_only(tmp_path, model_type, architectures), None, {}) == kind


@pytest.mark.parametrize(
    ("model_type", "name", "tied"),
    [
        ("bart", "BartForCausalLM", True),
        ("bart", "BartForSequenceClassification", True),
        ("t5", "T5EncoderModel", True),
        ("bart", "BartModel", False),
    ],
)
def test_an_encoder_decoder_without_its_head_is_refused(model_type: str, name: str, tied: bool, tmp_path: Path) -> None:
    config = AutoConfig.for_model(model_type, tie_word_embeddings=tied, architectures=[name])
    config.save_pretrained(tmp_path)
    with pytest.raises(EditError, match=f"is a {name}, which has no language model head"):
        model_kind(str(tmp_path), None, {})


@pytest.mark.parametrize(
    ("model_type", "name"),
    [*((name, SEQ2SEQ[name][1]) for name in SEQ2SEQ), ("bart", "BartModel"), ("t5", "T5WithLMHeadModel")],
)
def test_an_encoder_decoder_may_be_saved_without_a_head_that_is_tied(
    model_type: str, name: str, tmp_path: Path
) -> None:
    assert model_kind(config_only(tmp_path, model_type, [name]), None, {}) == "seq2seq"


@pytest.mark.parametrize("name", ["RobertaForSequenceClassification", "RobertaModel"])
def test_a_masked_family_s_model_without_a_language_model_head_is_refused(name: str, tmp_path: Path) -> None:
    folder = config_only(tmp_path, "roberta", [name])
    with pytest.raises(EditError, match=f"is a {name}, which has no language model head"):
        EditedLM.create_from_arg_obj({"pretrained": folder}, CPU)


@pytest.mark.parametrize("model_type", ["gpt2", "roberta"])
def test_lm_eval_s_constructors_go_by_the_checkpoint(model_type: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, model_type)
    expected = EditedLM if model_type == "gpt2" else EditedMaskedLM
    given: list[EditedHFLM] = [
        EditedLM.create_from_arg_obj({"pretrained": str(folder)}, {"batch_size": 2, "device": "cpu", "extra": None}),
        EditedLM.create_from_arg_string(f"pretrained={folder},batch_size=2", CPU),
        EditedLM.create_from_arg_string(f"edit={manifest(folder, model_type)},batch_size=2", CPU),
        load_base(read_base(str(folder), ""), device="cpu", dtype="float32", batch_size=2),
    ]
    for lm in given:
        assert type(lm) is expected
        assert lm.kind == ("causal" if expected is EditedLM else "masked")
        assert type(lm.model).__name__ == EVERY[model_type][1]
        assert lm.batch_size == 2


def manifest(folder: Path, model_type: str) -> Path:
    path = folder / "edit.json"
    an_edit(str(folder), EVERY[model_type][1]).write(path)
    return path


def test_a_subclass_makes_causal_models_of_itself(tmp_path: Path) -> None:
    class Mine(EditedLM):
        pass

    folder = save_checkpoint(tmp_path, "gpt2")
    assert type(Mine.create_from_arg_obj({"pretrained": str(folder)}, CPU)) is Mine


@pytest.mark.parametrize(
    ("lm_class", "model_type", "message"),
    [
        (EditedLM, "bert", "is a masked language model, which EditedLM cannot run; use EditedMaskedLM, or `lm_eval"),
        (EditedMaskedLM, "opt", "is a causal language model, which EditedMaskedLM cannot run; use EditedLM, or"),
        (EditedLM, "bart", "is a seq2seq language model, which EditedLM cannot run; use EditedSeq2SeqLM, or"),
    ],
)
def test_a_class_refuses_the_other_kind(
    lm_class: type[EditedHFLM], model_type: str, message: str, tmp_path: Path
) -> None:
    name = {**EVERY, **SEQ2SEQ}[model_type][1]
    folder = config_only(tmp_path, model_type, [name])
    with pytest.raises(EditError, match=message):
        lm_class(pretrained=folder, **CPU)
    with pytest.raises(EditError, match=f"{name} {message}"):
        lm_class(pretrained=tiny_model(model_type), **CPU)


def test_a_loaded_model_that_lm_eval_would_take_for_causal_is_not(tmp_path: Path) -> None:
    config = tiny_model("roberta").config
    config.is_decoder = True
    assert model_kind(transformers.RobertaForCausalLM(config), None, {}) == "causal"
    assert model_kind(transformers.RobertaForMaskedLM(config), None, {}) == "masked"


def test_a_base_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="cannot load the model") as caught:
        EditedLM.create_from_arg_obj({"pretrained": str(tmp_path / "nothing")}, CPU)
    assert "\n" not in str(caught.value)


def test_something_has_to_be_loaded() -> None:
    with pytest.raises(EditError, match="expected edit=FILE, pretrained=MODEL or both in --model_args, got neither"):
        EditedLM.create_from_arg_obj({}, CPU)


@pytest.mark.parametrize("name", ["verify", "factorize"])
def test_a_switch_is_true_or_false(name: str, tmp_path: Path) -> None:
    folder = config_only(tmp_path, "gpt2", ["GPT2LMHeadModel"])
    with pytest.raises(EditError, match=f"{name}: expected true or false, got 'maybe'"):
        EditedLM.create_from_arg_obj({"pretrained": folder, name: "maybe"})


@pytest.mark.parametrize("model_type", ["gpt2", *MASKED])
def test_the_manifest_gives_base_revision_and_dtype_where_they_are_left_out(model_type: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, model_type)
    edit = an_edit(str(folder), EVERY[model_type][1], revision="v1")
    lm = EditedLM.for_checkpoint(edit=edit, **CPU)
    info: dict[str, Any] = lm.get_model_info()
    assert (lm.pretrained, lm.revision) == (str(folder), "v1")
    assert str(info["model_dtype"]) == "torch.float64"
    assert info["edit"] == {
        "name": "none", "digest": edit.digest(), "base_model": str(folder), "base_model_revision": "v1",
        "applied_to": str(folder), "verified": True, "factorize": False, "factorized": [],
    }  # fmt: skip
    base = EditedLM.for_checkpoint(pretrained=str(folder), **CPU).get_model_info()
    assert EditedLM.for_checkpoint(edit=edit, pretrained=str(folder), **CPU).revision == "main"
    assert (str(base["model_dtype"]), base["edit"]) == ("torch.float32", None)
