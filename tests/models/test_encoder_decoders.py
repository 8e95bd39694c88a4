"""Edits of both stacks of encoder-decoders, against numpy and plain transformers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from cti_edits import export, verify
from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit
from cti_edits.artifact.matrix_id import StackName
from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import FitError
from cti_edits.models.apply import apply, target_matrix
from cti_edits.models.identity import tensor_sha256
from studies.tiny.encoder_decoders import SEQ2SEQ
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model

ALWAYS = ("t5", "umt5", "bart", "marian", "led")
"""Plain and gated MLPs, both ways to name blocks, a class of another ending, and an encoder of another layout."""
TYPES = [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.thorough) for name in SEQ2SEQ]
SCALES = {0: 1.5, 3: -0.5, 7: 0.0}


def edit_of_both_stacks(model: Any, base: Path) -> tuple[Edit, dict[str, np.ndarray]]:
    """A rank cut in the encoder, directions in the decoder; and the edited weights by numpy, in float64."""
    cut, step, cross = (
        target_matrix(model, "U_in", 1, "encoder"),
        target_matrix(model, "U_out", 0, "decoder"),
        target_matrix(model, "W_crossv", 1, "decoder"),
    )
    shape = (cut.weight.shape[0], cut.weight.shape[1])
    ranks = block_ranks(shape, 2, 0.4)
    halves = np.array_split(cut.weight.double().numpy(), 2)
    parts = [(np.linalg.svd(half, full_matrices=False), rank) for half, rank in zip(halves, ranks, strict=True)]
    expected = {cut.module: np.concatenate([(U[:, :j] * S[:j]) @ Vh[:j] for (U, S, Vh), j in parts])}
    edits: list[Any] = [
        BlockSvdEdit(
            **cut.place(), shape=shape, rho=0.4, clusters=2, block_ranks=ranks, sha256=tensor_sha256(cut.parameter)
        )
    ]
    for one in (step, cross):
        U, S, Vh = np.linalg.svd(one.weight.double().numpy(), full_matrices=False)
        edits.append(
            DirectionsEdit(
                **one.place(),
                shape=(one.weight.shape[0], one.weight.shape[1]),
                clusters=1,
                index=tuple(SCALES),
                scale=tuple(SCALES.values()),
                sigma=tuple(float(S[index]) for index in SCALES),
                sha256=tensor_sha256(one.parameter),
            )
        )
        S[list(SCALES)] *= list(SCALES.values())
        expected[one.module] = (U * S) @ Vh
    return dataclasses.replace(edit_of(model, base_id=str(base)), edits=tuple(edits)), expected


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(
        input_ids=torch.arange(5, 45).reshape(2, 20), decoder_input_ids=torch.arange(5, 19).reshape(2, 7)
    ).logits
    return found


def loaded(folder: Path) -> Any:
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("model_type", TYPES)
def test_an_edit_of_both_stacks(model_type: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_model(model_type).save_pretrained(base)
    model = loaded(base)
    made, expected = edit_of_both_stacks(model, base)
    edit = load(made.write(tmp_path / "edit.json"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unedited = logits(model)
    in_force = apply(edit, model)
    assert in_force.verified
    assert [one.stack for one in edit.edits] == ["encoder", "decoder", "decoder"]
    for name, tensor in model.state_dict().items():
        module = name.removesuffix(".weight")
        if name.endswith(".weight") and module in expected:
            np.testing.assert_allclose(tensor.double().numpy(), expected[module], rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(tensor, before[name]), name
    edited = logits(model)
    assert not torch.allclose(edited, unedited, atol=1e-3)

    assert [one.verdict for one in verify(edit, str(base))] == ["ok"] * 3
    export(edit, tmp_path / "exported")
    assert torch.equal(logits(loaded(tmp_path / "exported")), edited)
    in_force.revert()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(logits(model), unedited)


@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_an_adapter_of_both_stacks(model_type: str, tmp_path: Path) -> None:
    tiny_model(model_type).save_pretrained(tmp_path / "base")
    model = loaded(tmp_path / "base")
    made, _ = edit_of_both_stacks(model, tmp_path / "base")
    # A cut to so many ranks is no smaller as an adapter.
    edit = dataclasses.replace(made, edits=made.edits[1:])
    export(edit, tmp_path / "adapter", format="peft")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_2_SEQ_LM"
    adapted = peft.PeftModel.from_pretrained(loaded(tmp_path / "base"), str(tmp_path / "adapter")).eval()
    apply(edit, model)
    torch.testing.assert_close(logits(adapted), logits(model), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_without_a_head_or_of_t5_s_old_class_is_the_base(tmp_path: Path) -> None:
    """Published BART checkpoints name BartModel, and some of T5 a class that is gone."""
    for model_type, name in (("bart", "BartModel"), ("t5", "T5WithLMHeadModel")):
        base = tmp_path / name
        model = tiny_model(model_type)
        (model.model if name == "BartModel" else model).save_pretrained(base)
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({**config, "architectures": [name]}))
        edit, _ = edit_of_both_stacks(model, base)
        assert [one.verdict for one in verify(edit, str(base))] == ["ok"] * 3
        apply(edit, model, revertible=False)
        export(edit, tmp_path / f"{name}-exported")
        assert torch.equal(logits(loaded(tmp_path / f"{name}-exported")), logits(model))


def test_what_an_edit_says_of_the_stack_has_to_be_so(tmp_path: Path) -> None:
    model = tiny_model("t5")
    edit, _ = edit_of_both_stacks(model, tmp_path)
    cases: tuple[tuple[StackName | None, str], ...] = (
        (None, r"edits\[0\]\.stack: the t5 family has the stacks encoder, decoder, expected one of them"),
        (
            "decoder",
            r"edits\[0\]\.module: U_in of decoder layer 1 is decoder\.block\.1\.layer\.2\.DenseReluDense\.wi in",
        ),
    )
    for stack, message in cases:
        wrong: Any = dataclasses.replace(edit.edits[0], stack=stack)
        with pytest.raises(FitError, match=message):
            apply(dataclasses.replace(edit, edits=(wrong,)), model)
