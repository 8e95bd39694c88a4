"""Models and checkpoints with quantized weights. No library that quantizes is here: layers of their names are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cti_edits.errors import FitError
from cti_edits.models.apply import apply, target_matrices, target_matrix
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.verify import verify
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model

NAME = "model.layers.1.mlp.up_proj"


def layer(name: str, **parameters: torch.Tensor) -> torch.nn.Module:
    """A layer of a class of this name that holds these numbers."""
    made: torch.nn.Module = type(name, (torch.nn.Module,), {})()
    for key, values in parameters.items():
        made.register_parameter(key, torch.nn.Parameter(values, requires_grad=False))
    return made


def packed() -> torch.Tensor:
    return torch.zeros((768, 1), dtype=torch.uint8)


LAYERS = {
    "bitsandbytes": (
        layer("Linear4bit", weight=packed()),
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        "load the model without quantization_config, load_in_4bit or load_in_8bit",
    ),
    "GPTQ": (
        layer("QuantLinear", qweight=packed(), scales=torch.zeros(1)),
        {"quant_method": "gptq"},
        "load the checkpoint that it was quantized from",
    ),
    "AWQ": (layer("WQLinear_GEMM", qweight=packed()), {}, "load the checkpoint that it was quantized from"),
    "FP8": (
        layer("FP8Linear", weight=torch.zeros((48, 32)).to(torch.float8_e4m3fn)),
        {"quant_method": "fp8"},
        "load a bfloat16 checkpoint of it, or one dequantized",
    ),
    "hqq": (layer("HQQLinear", weight=packed()), {"quant_method": "hqq"}, "load the checkpoint that it was"),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_quantized_matrix_is_refused_with_what_to_load_and_the_others_are_edited(kind: str) -> None:
    quantized, config, instead = LAYERS[kind]
    model = tiny_model("llama")
    edit = edit_of(model, ("U_up", 1, 2, 0.5), ("U_out", 1, 2, 0.5))
    alone = edit_of(model, ("U_out", 1, 2, 0.5))
    model.set_submodule(NAME, quantized)
    if config:
        model.config.quantization_config = config
    before = target_matrix(model, "U_out", 1).weight.clone()
    with pytest.raises(FitError) as caught:
        apply(edit, model)
    assert f"edits[0].module: {NAME} is quantized by {kind} ({type(quantized).__name__}): {instead}" in str(
        caught.value
    )
    assert torch.equal(target_matrix(model, "U_out", 1).weight, before)
    apply(alone, model)
    assert not torch.equal(target_matrix(model, "U_out", 1).weight, before)


def test_experts_of_mxfp4() -> None:
    from studies.tiny import TINY

    model = TINY["gpt_oss"].build()
    name = "model.layers.0.mlp.experts"
    model.set_submodule(name, layer("Mxfp4GptOssExperts", gate_up_proj_blocks=packed(), down_proj_blocks=packed()))
    with pytest.raises(FitError, match=r"is quantized by MXFP4 .*: load it dequantized \(Mxfp4Config\(dequantize"):
        target_matrices(model, ("U_in",))


def quantized_checkpoint(folder: Path, tensors: dict[str, torch.Tensor | None], method: str | None) -> Any:
    """A checkpoint of a tiny model with some tensors replaced or left out, and an edit of the model as it was."""
    save_checkpoint(folder, "llama")
    edit = edit_of(tiny_model("llama"), ("U_up", 1, 2, 0.5), base_id=str(folder))
    stored = load_file(folder / "model.safetensors")
    for name, values in tensors.items():
        stored.pop(name, None)
        if values is not None:
            stored[name] = values
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    if method is not None:
        config["quantization_config"] = {"quant_method": method}
    (folder / "config.json").write_text(json.dumps(config))
    return edit


@pytest.mark.parametrize(
    ("tensors", "method", "message"),
    [
        (
            {f"{NAME}.weight": torch.zeros((48, 32)).to(torch.float8_e4m3fn)},
            "fp8",
            f"stores {NAME}.weight as F8_E4M3; it is quantized by FP8: load the checkpoint that it was quantized from",
        ),
        (
            {f"{NAME}.weight": None, f"{NAME}.qweight": torch.zeros((4, 48), dtype=torch.int32)},
            "gptq",
            "it is quantized by GPTQ: load the checkpoint that it was quantized from",
        ),
        ({f"{NAME}.weight": None}, None, "is it quantized?"),
    ],
)
def test_a_quantized_checkpoint_is_named(
    tensors: dict[str, torch.Tensor | None], method: str | None, message: str, tmp_path: Path
) -> None:
    edit = quantized_checkpoint(tmp_path / "base", tensors, method)
    (found,) = verify(edit, open_checkpoint(str(tmp_path / "base")))
    assert found.verdict != "ok"
    from cti_edits import export

    with pytest.raises(FitError) as caught:
        export(edit, tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_matrices_that_a_quantized_checkpoint_keeps_as_they_are_can_be_verified_and_exported(tmp_path: Path) -> None:
    from cti_edits import export

    edit = quantized_checkpoint(
        tmp_path / "base", {"model.layers.0.mlp.up_proj.weight": torch.zeros(3, dtype=torch.uint8)}, "gptq"
    )
    (found,) = verify(edit, open_checkpoint(str(tmp_path / "base")))
    assert found.verdict == "ok"
    export(edit, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
