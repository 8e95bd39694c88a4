"""Apply, verify and export give one answer to whether a model is the base of an edit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import BaseMismatchError, EditError, FitError
from cti_edits.models.apply import apply, target_matrix
from cti_edits.models.architectures import check_architecture
from cti_edits.models.base_match import Verdict
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.export import export
from cti_edits.models.identity import checkpoint_of, identity_of, tensor_sha256
from cti_edits.models.verify import verify
from tests.support.edits import matrix_edit
from tests.support.tiny_models import tiny_model

F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
EVERY_DTYPE = (F64, F32, F16, BF16)
OUTCOMES: dict[Verdict, str] = {"ok": "verified", "does not fit": "refused", "cannot tell": "refused"}


def named(model: Any) -> torch.nn.Parameter:
    return target_matrix(model, "U_in", 1).parameter


def llama(values: Callable[[torch.Tensor], torch.Tensor] = lambda weight: weight) -> Any:
    """A float32 model whose matrix is ``values`` of the plain one's."""
    model = tiny_model("llama")
    with torch.no_grad():
        named(model).copy_(values(named(model).detach().clone()))
    return model


def nudged(weight: torch.Tensor) -> torch.Tensor:
    """Other values, which neither half precision can tell from ``weight``."""
    found = weight.clone()
    found[0, 0] *= 1 + 2**-20
    assert not torch.equal(found, weight)
    for dtype in (F16, BF16):
        assert torch.equal(found.to(dtype), weight.to(dtype))
    return found


def as_bf16(weight: torch.Tensor) -> torch.Tensor:
    return weight.bfloat16().float()


def recorded(folder: Path, dtype: torch.dtype, matrix: str = "U_in") -> Edit:
    """As a search records it: hash, dtype, name and norm of what the checkpoint stores."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    one = matrix_edit(model, matrix, 1)
    identity = identity_of(target_matrix(model, matrix, 1), checkpoint_of(model))
    base = BaseModel(str(folder), None, type(model).__name__, str(dtype)[6:])
    return Edit("tried", "", base, (dataclasses.replace(one, **vars(identity)),))


def with_values(edit: Edit, base_dtype: str | None = "", **values: Any) -> Edit:
    base = edit.base_model if base_dtype == "" else dataclasses.replace(edit.base_model, dtype=base_dtype)
    return dataclasses.replace(edit, base_model=base, edits=(dataclasses.replace(edit.edits[0], **values),))


def asked_of_all(edit: Edit, folder: Path, target: Path, loaded_as: torch.dtype) -> tuple[str, str, str]:
    """What verify, export and apply say: "verified", "refused", or "unverified" where they go on without a hash."""
    (finding,) = verify(edit, open_checkpoint(str(folder)))
    said = OUTCOMES[finding.verdict]
    if edit.edits[0].sha256 is None and finding.verdict == "cannot tell":
        said = "unverified"
    model = getattr(transformers, edit.base_model.architecture).from_pretrained(folder, dtype=loaded_as)
    found: list[str] = []
    messages: list[str] = []
    calls: tuple[Callable[[], bool], ...] = (
        lambda: export(edit, folder, target).verified,
        lambda: apply(edit, model).verified,
    )
    for call in calls:
        try:
            found.append("verified" if call() else "unverified")
        except FitError as error:
            found.append("refused")
            messages.append(str(error))
    assert all(message.startswith("tried: edits[0].") and message.isprintable() for message in messages)
    return said, found[0], found[1]


@dataclass(frozen=True)
class Case:
    """An edit of ``base``, stored as ``kept_as``, loaded as ``made_in``, tried on ``other``, stored as ``stored``."""

    name: str
    expected: str
    base: Callable[[torch.Tensor], torch.Tensor] = lambda weight: weight
    kept_as: torch.dtype = F32
    made_in: torch.dtype | None = None
    changes: Callable[[Edit], Edit] = lambda edit: edit
    other: Callable[[torch.Tensor], torch.Tensor] = lambda weight: weight
    stored: torch.dtype = F32
    loaded_as: tuple[torch.dtype, ...] = EVERY_DTYPE


def as_loaded(edit: Edit) -> Edit:
    """As manifests were written before they said what the hash is over."""
    base = edit.base_model
    model = transformers.AutoModelForCausalLM.from_pretrained(base.id, dtype=getattr(torch, str(base.dtype)))
    return with_values(edit, sha256=tensor_sha256(named(model)), dtype=None, tensor=None, frobenius_norm=None)


def nameless(edit: Edit) -> Edit:
    """As for a model in memory, of which no checkpoint is known."""
    return with_values(edit, tensor=None)


CASES = [
    Case("the very checkpoint", "verified"),
    Case("a wider copy", "verified", stored=F64),
    Case("a wider copy of float16", "verified", kept_as=F16, other=lambda w: w.half().float()),
    Case("a narrower copy that holds every value", "verified", base=as_bf16, other=as_bf16, stored=BF16),
    Case("a narrower copy that does not", "refused", stored=BF16),
    Case("a copy in the other half precision", "refused", kept_as=BF16, stored=F16),
    Case("a wider base that rounds to the recorded one", "refused", kept_as=F16),
    Case("the same, of an edit that names no tensor", "refused", kept_as=F16, changes=nameless),
    Case("another base", "refused", other=lambda w: w * 1.5),
    Case("another base that no half precision can tell", "refused", other=nudged),
    Case("another base that rounds to one of bfloat16 values", "refused",
         base=as_bf16, other=lambda w: nudged(as_bf16(w))),
    Case("another base, wider, by one bit", "refused", other=nudged, stored=F64),
    Case("an older manifest, loaded as it says", "verified", made_in=F16, changes=as_loaded, loaded_as=(F16,)),
    Case("an older manifest of another base", "refused", made_in=F16, changes=as_loaded, other=lambda w: w * 1.5),
    Case("an older manifest, made in a wider dtype", "verified",
         kept_as=BF16, made_in=F32, changes=as_loaded, stored=BF16),
    Case("an older manifest of a wider base, in float32", "verified", made_in=F32, changes=as_loaded, stored=F64),
    Case("no dtype at all", "verified", changes=lambda e: with_values(e, base_dtype=None, dtype=None)),
    Case("no dtype at all, another base", "refused",
         changes=lambda e: with_values(e, base_dtype=None, dtype=None), other=nudged),
    Case("a norm that is another one's", "refused", changes=lambda e: with_values(e, frobenius_norm=1.0)),
    Case("no hash, the right norm", "unverified", changes=lambda e: with_values(e, sha256=None)),
    Case("no hash and no norm", "unverified", changes=lambda e: with_values(e, sha256=None, frobenius_norm=None)),
    Case("no hash, another norm", "refused", changes=lambda e: with_values(e, sha256=None), other=lambda w: w * 1.5),
    Case("no hash, a norm that is close", "refused",
         changes=lambda e: with_values(e, sha256=None, frobenius_norm=1.001 * (e.edits[0].frobenius_norm or 0))),
    Case("the hash of another tensor, which it names", "refused",
         changes=lambda e: with_values(e, layer=0, module="model.layers.0.mlp.gate_proj")),
    Case("an edit of another layer's values", "refused",
         changes=lambda e: with_values(
             e, layer=0, module="model.layers.0.mlp.gate_proj", tensor=None, frobenius_norm=None)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_apply_verify_and_export_agree(case: Case, tmp_path: Path) -> None:
    llama(case.base).to(case.kept_as).save_pretrained(tmp_path / "base")
    edit = case.changes(recorded(tmp_path / "base", case.made_in or case.kept_as))
    llama(case.other).to(case.stored).save_pretrained(tmp_path / "other")
    for dtype in case.loaded_as:
        said = asked_of_all(edit, tmp_path / "other", tmp_path / f"exported-{dtype}", dtype)
        assert said == (case.expected,) * 3, dtype


@pytest.mark.parametrize("transposed", [False, True])
def test_a_square_weight_of_conv1d_has_an_orientation(transposed: bool, tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.save_pretrained(tmp_path / "base")
    edit = recorded(tmp_path / "base", F32, "W_o")
    if transposed:
        weight = target_matrix(model, "W_o", 1).parameter
        with torch.no_grad():
            weight.copy_(weight.T.clone())
    model.save_pretrained(tmp_path / "other")
    said = asked_of_all(edit, tmp_path / "other", tmp_path / "exported", F32)
    assert said == ("refused" if transposed else "verified",) * 3


def test_a_checkpoint_with_tied_embeddings(tmp_path: Path) -> None:
    tiny_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    edit = recorded(tmp_path / "base", F32)
    assert asked_of_all(edit, tmp_path / "base", tmp_path / "exported", F32) == ("verified",) * 3


def masked_edit() -> Edit:
    model = tiny_model("bert")
    one: MatrixEdit = matrix_edit(model, "U_in", 1)
    return Edit("tried", "", BaseModel("tiny", None, "BertForMaskedLM", "float32"), (one,))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BertForMaskedLM", "verified"),
        ("BertForPreTraining", "verified"),
        ("BertModel", "verified"),
        ("BertForSequenceClassification", "refused"),
        (None, "verified"),
    ],
)
def test_the_head_that_a_checkpoint_was_saved_with(name: str | None, expected: str, tmp_path: Path) -> None:
    """One with a masked language model in it, or without any head, is the base; a classifier's is another model."""
    edit, source = masked_edit(), tiny_model("bert")
    other = getattr(transformers, name or "BertForMaskedLM")(source.config)
    inner = other if name == "BertModel" else other.bert
    inner.load_state_dict(source.bert.state_dict(), strict=False)
    other.save_pretrained(tmp_path / "other")
    if name is None:
        config = json.loads((tmp_path / "other" / "config.json").read_text())
        del config["architectures"]
        (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    (finding,) = verify(edit, open_checkpoint(str(tmp_path / "other")))
    assert OUTCOMES[finding.verdict] == expected
    loaded = transformers.BertForMaskedLM.from_pretrained(tmp_path / "other")
    if expected == "verified":
        assert export(edit, tmp_path / "other", tmp_path / "exported").verified
        assert apply(edit, loaded).verified
    else:
        with pytest.raises(EditError, match=r"base_model\.architecture: the edit is for BertForMaskedLM"):
            export(edit, tmp_path / "other", tmp_path / "exported")
        with pytest.raises(FitError, match=r"base_model\.architecture: the edit is for BertForMaskedLM"):
            apply(edit, other)


def test_a_model_in_memory_with_a_further_head(tmp_path: Path) -> None:
    source = tiny_model("bert")
    further = transformers.BertForPreTraining(source.config)
    further.bert.load_state_dict(source.bert.state_dict(), strict=False)
    assert apply(masked_edit(), further).verified


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("GPT2LMHeadModel", "GPT2LMHeadModel", True),
        ("GPT2LMHeadModel", "GPT2Model", True),
        ("GPT2LMHeadModel", "GPT2DoubleHeadsModel", True),
        ("GPT2LMHeadModel", "GPT2ForSequenceClassification", False),
        ("LlamaForCausalLM", "LlamaModel", True),
        ("LlamaForCausalLM", "MistralForCausalLM", False),
        ("RobertaForMaskedLM", "RobertaForCausalLM", False),
        ("BertForMaskedLM", "RobertaForMaskedLM", False),
        ("BertForMaskedLM", "BertForPreTraining", True),
        ("BertForPreTraining", "BertForMaskedLM", False),
    ],
)
def test_classes_that_hold_the_same_matrices(wanted: str, found: str, fits: bool) -> None:
    refused = pytest.raises(FitError, match=f"the edit is for {wanted}, the model is a {found}")
    with contextlib.nullcontext() if fits else refused:
        check_architecture(wanted, [found], "the model")


def test_a_refusal_names_the_field_that_decided(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "base")
    edit = recorded(tmp_path / "base", F32)
    model = llama()
    for values, expected in (
        ({"frobenius_norm": 1.0}, "tried: edits[0].frobenius_norm: model.layers.1.mlp.gate_proj.weight is not "),
        ({"sha256": "0" * 64}, "tried: edits[0].sha256: model.layers.1.mlp.gate_proj.weight is not "),
    ):
        for call in (
            lambda edit: apply(edit, model),
            lambda edit: export(edit, tmp_path / "base", tmp_path / "exported"),
        ):
            with pytest.raises(BaseMismatchError) as caught:
                call(with_values(edit, **values))
            assert str(caught.value).startswith(expected)


def test_a_wider_model_in_memory_of_an_older_manifest_is_told_how_to_load_it(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "base")
    edit = as_loaded(recorded(tmp_path / "base", F16))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=F32)
    with pytest.raises(BaseMismatchError, match="loaded as float32, the edit was made for dtype=float16, which does"):
        apply(edit, model)
