"""``cti-edits architectures``, and the other commands on a model of a type that no file covers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.manifest import load
from cti_edits.harness.lm import EditedLM
from cti_edits.models.architectures import known
from tests.conftest import Run
from tests.support.command import run_here
from tests.support.custom_code import save_custom_code
from tests.support.tiny_models import byte_tokenizer


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """No architecture file is given yet in this process."""
    monkeypatch.setattr(known, "_given", {})


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of a type without a file."""
    folder = tmp_path_factory.mktemp("unknown")
    config = transformers.Jais2Config(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Jais2ForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def written(unknown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The architecture file that is proposed for it."""
    file = tmp_path_factory.mktemp("written") / "jais2.json"
    done = run_here("architectures", unknown, "--write", file)
    assert done.returncode == 0, done.stderr
    return file


def refused(*words: str | Path) -> str:
    """The one line of a command that must end so."""
    done = run_here(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stdout + done.stderr
    return done.stderr


def test_what_is_known_is_listed() -> None:
    done = run_here("architectures")
    assert done.returncode == 0
    assert "llama" in [line.split()[0] for line in done.stdout.splitlines()]
    every = json.loads(run_here("architectures", "--json").stdout)["architectures"]
    assert {one["name"] for one in every} == {family.name for family in known.families().values()}


def test_a_model_of_a_known_type_is_shown_from_its_config_alone(llama: Path, tmp_path: Path) -> None:
    shutil.copy(llama / "config.json", tmp_path)
    shown = run_here("architectures", tmp_path).stdout
    assert "model.layers: 3 layers" in shown
    assert "A search tries U_in, U_out: 6 matrices" in shown
    found = json.loads(run_here("architectures", tmp_path, "--json").stdout)
    assert (found["architecture"], found["class"]) == ("llama", "LlamaForCausalLM")
    assert "proposal" not in found


def test_a_model_of_another_type_gets_a_proposal_and_the_command_that_goes_on(unknown: Path, written: Path) -> None:
    shown = run_here("architectures", unknown).stdout
    assert shown.startswith("No architecture file covers this model. Proposed, by what flows into what in it:\n")
    assert f"cti-edits architectures {unknown} --write jais2.json" in shown
    assert "--architecture jais2.json" in shown
    assert "architecture=jais2.json" in shown
    content = json.loads(written.read_text())
    assert json.loads(run_here("architectures", unknown, "--json").stdout)["proposal"] == content
    assert content["layers"] == "model.layers"
    assert content["matrices"]["U_in"] == "mlp.up_proj"


def test_a_file_that_is_there_is_not_overwritten(unknown: Path, written: Path, llama: Path, tmp_path: Path) -> None:
    before = written.read_bytes()
    assert "--write: " in (line := refused("architectures", unknown, "--write", written))
    assert line.endswith("is there already\n")
    assert written.read_bytes() == before
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    assert "is there already" in refused("architectures", unknown, "--write", tmp_path / "link.json")
    assert "known already" in refused("architectures", llama, "--write", tmp_path / "llama.json")
    assert "MODEL" in refused("architectures", "--write", tmp_path / "llama.json")


def test_without_the_file_everything_is_refused_and_says_how_to_go_on(unknown: Path, tmp_path: Path) -> None:
    line = refused("search", "--task", "capitals", "--model", unknown, "--output", tmp_path / "edit.json")
    assert "no architecture file covers the model type 'jais2'" in line
    assert "cti-edits architectures MODEL" in line
    assert "--architecture FILE" in line


def test_with_the_file_a_model_is_searched_verified_exported_and_run(
    unknown: Path, written: Path, tmp_path: Path, run_command: Run
) -> None:
    edit, given = tmp_path / "edit.json", ("--architecture", written)
    small = ("--samples", "6", "--top-q", "1", "--clusters", "1", "--rates", "0.1", "--preset", "cl-100g-100e")
    done = run_here("search", "--task", "capitals", "--model", unknown, "--output", edit, *small, *given)
    assert done.returncode == 0, done.stderr
    (one,) = load(edit).edits
    assert one.module == f"model.layers.{one.layer}.{ {'U_in': 'mlp.up_proj', 'U_out': 'mlp.down_proj'}[one.matrix] }"

    known._given.clear()
    assert "no architecture file" in run_here("verify", edit).stdout
    assert run_here("verify", edit, *given).returncode == 0
    known._given.clear()
    assert "no architecture file" in refused("export", edit, "--out", tmp_path / "refused")
    assert run_here("export", edit, "--out", tmp_path / "exported", *given).returncode == 0

    known._given.clear()
    lm = EditedLM.for_checkpoint(edit=str(edit), device="cpu", architecture=str(written))
    exported: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    assert torch.equal(lm.model.get_parameter(f"{one.module}.weight"), exported.get_parameter(f"{one.module}.weight"))


def test_code_of_a_model_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    folder, ran = save_custom_code(tmp_path / "custom", "model")
    assert "--trust-remote-code" in refused("architectures", folder)
    assert not ran.exists()
    shown = run_here("architectures", folder, "--trust-remote-code").stdout
    assert ran.exists()
    assert "custom_llama: CustomForCausalLM, causal language model" in shown
    assert "--write custom_llama.json" in shown


def test_what_cannot_be_edited_is_refused_with_what_it_has(tmp_path: Path) -> None:
    transformers.MambaConfig(num_hidden_layers=2, hidden_size=16, vocab_size=32).save_pretrained(tmp_path)
    assert "backbone.layers has 2 of MambaBlock: MambaRMSNorm, MambaMixer" in refused("architectures", tmp_path)
