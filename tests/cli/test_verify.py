"""``cti-edits verify``, ``pack``, ``unpack`` and what ``show`` measures, run as commands."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.manifest import Edit, load
from cti_edits.cli import main
from cti_edits.models.apply import target_matrix
from cti_edits.models.identity import checkpoint_of, identity_of
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model

PLACES = (("U_in", 1, 2, 0.2), ("W_o", 0, 1, 0.1))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in this process: importing torch anew for each would take most of the time."""
    command, out, err = ["cti-edits", *map(str, words)], io.StringIO(), io.StringIO()
    former, sys.argv = sys.argv, command
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = former
    return subprocess.CompletedProcess(command, int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("gpt2"), "gpt2")


def recorded(folder: Path) -> Edit:
    """As a search records it."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    edit = edit_of(model, *PLACES, base_id=str(folder), name="tiny")
    edits = []
    for one in edit.edits:
        parameter = target_matrix(model, one.matrix, one.layer).parameter
        identity = identity_of(parameter, f"{one.module}.weight", checkpoint_of(model))
        edits.append(dataclasses.replace(one, **vars(identity)))
    return dataclasses.replace(edit, edits=tuple(edits))


@pytest.fixture
def edit(base: Path, tmp_path: Path) -> Path:
    return recorded(base).write(tmp_path / "edit.json")


def changed(path: Path, **values: Any) -> Path:
    """The manifest with other values in its first matrix edit."""
    document = json.loads(path.read_text())
    document["edits"][0].update(values)
    path.write_text(json.dumps(document))
    return path


def verified(path: Path, *words: str | Path) -> tuple[int, list[str]]:
    done = run("verify", path, *words)
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
         "has no transformer.h.7.mlp.c_fc.weight"),
        ({"matrix": "W_q"}, "does not fit: matrix: the gpt2 family has no matrix 'W_q'"),
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
    done = run("verify", edit, "--model", model)
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


def test_pack_verify_and_unpack(edit: Path) -> None:
    recipe = load(edit)
    done = run("pack", edit)
    target = edit.with_name("tiny.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{target}: {target.stat().st_size:,} bytes",
        f"{edit}: {edit.stat().st_size:,} bytes, digest {load(edit).digest()}",
    ]
    assert verified(edit) == (0, OK)
    content = target.read_bytes()
    target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, lines = verified(edit)
    assert code == 1
    assert all("does not fit: tiny: edits[0].factors.sha256: " in line for line in lines)
    target.write_bytes(content)
    done = run("unpack", edit)
    assert done.stdout.splitlines()[0] == f"{target}: deleted"
    assert load(edit) == recipe
    assert not target.exists()


def test_a_folder_is_packed_and_unpacked_too(edit: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "alone" / "mine.json"
    load(edit).write(manifest)
    done = run("pack", manifest.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith(f"{manifest}: ")
    assert manifest.with_name("tiny.safetensors").exists()
    assert run("unpack", manifest.parent).returncode == 0
    assert load(manifest) == load(edit)
    assert not manifest.with_name("tiny.safetensors").exists()


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_an_edit_on_the_hub_is_to_be_pulled_before_it_is_packed(command: str) -> None:
    done = run(command, "someone/edits/fever.json@v1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "cti-edits: error: someone/edits/fever.json@v1 is on the hub, and this writes beside the manifest; "
        "get it first: cti-edits pull someone/edits/fever.json@v1\n"
    )


def test_pack_refuses_in_one_line(edit: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other", "gpt2", tiny_model("gpt2", seed=1))
    done = run("pack", edit, "--model", tmp_path / "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cti-edits: error: tiny: transformer.h.1.mlp.c_fc: ")
    assert done.stderr.count("\n") == 1


def test_show_reports_the_model_and_measures_time_when_asked(edit: Path, base: Path) -> None:
    done = run("show", edit, "--model", base, "--time")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index(f"model {base}")
    numbers = sum(parameter.numel() for parameter in tiny_model("gpt2").parameters())
    # 2 blocks of 24 x 32 at rank 4, and one of 32 x 32 at rank 3.
    kept = numbers - (48 * 32 - 2 * 4 * (24 + 32)) - (32 * 32 - 3 * 64)
    assert lines[start + 1].split(maxsplit=1)[1].endswith(f"% kept with factorize=true, {kept:,} of {numbers:,}")
    assert lines[start + 2].split(maxsplit=1)[1] == f"{4 * kept:,} of {4 * numbers:,} bytes as stored"
    start = next(number for number, line in enumerate(lines) if line.startswith("time on this CPU, "))
    assert [line.split(": ")[1] for line in lines[start + 1 :]] == [
        *["transformer.h.1.mlp.c_fc, random"] * 2,
        *["transformer.h.0.attn.c_proj, random"] * 2,
        *["the whole model"] * 2,
    ]
    assert [line.split(" ms")[0].split()[:2] for line in lines[start + 1 :]] == [["1", "token"], ["64", "tokens"]] * 3
