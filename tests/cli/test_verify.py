"""``cti-edits verify``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.models.apply import target_matrix
from tests.support.command import run_here
from tests.support.edits import edit_of, recorded
from tests.support.tiny_models import save_checkpoint, tiny_model

PLACES = (("U_in", 1, 2, 0.2), ("W_o", 0, 1, 0.1))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture
def edit(base: Path, tmp_path: Path) -> Path:
    return recorded(base, *PLACES).write(tmp_path / "edit.json")


def changed(path: Path, **values: Any) -> Path:
    """The manifest with other values in its first matrix edit."""
    document = json.loads(path.read_text())
    document["edits"][0].update(values)
    path.write_text(json.dumps(document))
    return path


def verified(path: Path, *words: str | Path) -> tuple[int, list[str]]:
    done = run_here("verify", path, *words)
    assert done.stderr == ""
    assert all(line.isprintable() for line in done.stdout.splitlines())
    return done.returncode, done.stdout.splitlines()


OK = [
    "transformer.h.1.mlp.c_fc: ok: transformer.h.1.mlp.c_fc.weight, F32",
    "transformer.h.0.attn.c_proj: ok: transformer.h.0.attn.c_proj.weight, F32",
]


def test_the_base_is_ok_line_by_line(edit: Path, base: Path) -> None:
    assert verified(edit) == (0, OK)
    assert verified(edit, "--model", base) == (0, OK)


@pytest.mark.parametrize("options", [{"max_shard_size": "10KB"}, {}])
@pytest.mark.parametrize("inner", [False, True])
def test_shards_and_a_checkpoint_without_the_head_are_the_same_base(
    inner: bool, options: dict[str, Any], edit: Path, tmp_path: Path
) -> None:
    model = tiny_model("gpt2")
    (model.transformer if inner else model).save_pretrained(tmp_path / "other", **options)
    model.config.save_pretrained(tmp_path / "other")
    code, lines = verified(edit, "--model", tmp_path / "other")
    assert (code, len(lines)) == (0, 2)
    assert lines[0].endswith(f"ok: {'' if inner else 'transformer.'}h.1.mlp.c_fc.weight, F32")


@pytest.mark.parametrize(("dtype", "stored", "code"), [("float64", "F64", 0), ("float16", "F16", 1)])
def test_a_checkpoint_saved_again_in_another_dtype(
    dtype: str, stored: str, code: int, edit: Path, tmp_path: Path
) -> None:
    tiny_model("gpt2").to(getattr(torch, dtype)).save_pretrained(tmp_path / "other")
    found, lines = verified(edit, "--model", tmp_path / "other")
    assert found == code
    if code:
        assert f"it is stored as {stored}, the hash is over F32" in lines[0]
    else:
        assert lines[0].endswith(f"loaded as F32 (stored as {stored})")


def test_another_base_does_not_fit(edit: Path, tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        target_matrix(model, "U_in", 1).parameter[0, 0] *= 1 + 2**-20
    model.save_pretrained(tmp_path / "other")
    code, lines = verified(edit, "--model", tmp_path / "other")
    assert code == 1
    assert lines[0].startswith("transformer.h.1.mlp.c_fc: does not fit: sha256: transformer.h.1.mlp.c_fc.weight: ")
    assert lines[1] == OK[1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"shape": [48, 31]}, "does not fit: shape: the edit is for [48, 31] (rows, columns)"),
        ({"frobenius_norm": 1.0}, "does not fit: frobenius_norm: expected 1, "),
        ({"module": "transformer.h.2.mlp.c_fc"}, "does not fit: module: U_in of layer 1 is transformer.h.1.mlp.c_fc "),
        ({"layer": 7, "module": "transformer.h.7.mlp.c_fc", "tensor": "transformer.h.7.mlp.c_fc.weight"},
         "does not fit: layer: expected 0 to 2 (the model has 3 layers), got 7"),
        ({"matrix": "U_up"}, "does not fit: matrix: the gpt2 family has no matrix 'U_up'"),
        ({"sha256": "0" * 64}, f"does not fit: sha256: transformer.h.1.mlp.c_fc.weight: expected {'0' * 64}, found "),
        ({"sha256": None}, "cannot tell: the edit has no sha256; shape and norm agree"),
        ({"sha256": None, "frobenius_norm": None}, "cannot tell: the edit has no sha256; the shape agrees"),
        ({"sha256": None, "frobenius_norm": 1.0}, "does not fit: frobenius_norm: expected 1, "),
    ],
)  # fmt: skip
def test_what_differs_is_named(values: dict[str, Any], expected: str, edit: Path) -> None:
    code, lines = verified(changed(edit, **values))
    assert expected in lines[0]
    assert code == (2 if "cannot tell" in expected else 1)
    assert lines[1] == OK[1]


def test_the_worst_verdict_is_the_exit_code(edit: Path) -> None:
    document = json.loads(edit.read_text())
    document["edits"][0]["sha256"], document["edits"][1]["sha256"] = None, "0" * 64
    edit.write_text(json.dumps(document))
    code, lines = verified(edit)
    assert code == 1
    assert ["cannot tell" in lines[0], "does not fit" in lines[1]] == [True, True]


def test_another_architecture_or_an_unknown_one(edit: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "llama", "llama")
    code, lines = verified(edit, "--model", tmp_path / "llama")
    assert code == 1
    assert all(f"edit is for GPT2LMHeadModel, {tmp_path}/llama is a LlamaForCausalLM" in line for line in lines)
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "\\u001b[31m"}')
    code, lines = verified(edit, "--model", tmp_path / "llama")
    assert code == 2
    assert all("cannot tell: no architecture file covers the model type" in line for line in lines)


def test_weights_that_cannot_be_read_leave_it_open(edit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    save_checkpoint(folder, "gpt2")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    code, lines = verified(edit, "--model", folder)
    assert code == 2
    assert all("cannot tell: " in line and "cannot be read" in line for line in lines)
    (folder / "model.safetensors").unlink()
    assert "has neither model.safetensors" in verified(edit, "--model", folder)[1][0]


@pytest.mark.parametrize("model", ["no/such-model", "/no/such/folder"])
def test_a_model_that_is_not_there_is_one_line_and_exit_code_2(model: str, edit: Path) -> None:
    done = run_here("verify", edit, "--model", model)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cti-edits: error: ")
    assert done.stderr.count("\n") == 1


def test_nan_does_not_fit_and_an_empty_edit_does(edit: Path, base: Path, tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        target_matrix(model, "U_in", 1).parameter[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    assert (
        "does not fit: transformer.h.1.mlp.c_fc.weight holds NaN" in verified(edit, "--model", tmp_path / "nan")[1][0]
    )
    empty = edit_of(model, base_id=str(base)).write(tmp_path / "empty.json")
    assert verified(empty) == (0, ["ok: the edit changes no matrix and fits any base"])


def test_verify_loads_no_model(edit: Path) -> None:
    """Not even the library that could."""
    program = (
        "import sys\nfrom cti_edits.cli import main\ntry:\n    main()\nfinally:\n"
        "    print('transformers' in sys.modules, 'lm_eval' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, "verify", edit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "False False\n")
