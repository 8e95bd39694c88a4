from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.asked import Asked
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.plain_json import canonical
from cti_edits.models.weights_hash import weights_sha256
from tests.conftest import Run
from tests.support.edits import SEARCH, edit_of
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model


def asked(**arguments: Any) -> Asked:
    return EditedLM.for_checkpoint(device="cpu", **arguments).asked()


def test_a_model_tells_what_it_was_made_of(llama: Path, tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    lm = EditedLM(
        pretrained=str(llama), dtype="bfloat16", device="cpu", max_length=77, add_bos_token=True, prefix_token_id=5,
        truncation=True, tokenizer=str(tmp_path), softmax_dtype=torch.float32, batch_size=3, low_cpu_mem_usage=True,
    )  # fmt: skip
    assert lm.asked().to_json() == {
        "model": {
            "pretrained": str(llama),
            "dtype": "bfloat16",
            "tokenizer": str(tmp_path),
            "model_arguments": '{"softmax_dtype":"float32"}',
        },
        "prompt": {"add_bos_token": True, "prefix_token_id": 5, "max_length": 77, "truncation": True},
    }
    assert lm.get_model_info()["asked"] == lm.asked().to_json()


def test_defaults_that_are_written_out_change_nothing(llama: Path) -> None:
    written = {"subfolder": "", "trust_remote_code": False, "truncation": False, "peft": None, "enable_thinking": None}
    assert asked(pretrained=str(llama), **written) == asked(pretrained=str(llama))


def test_a_folder_is_the_same_from_wherever_it_is_named(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(llama.parent)
    assert asked(pretrained=llama.name) == asked(pretrained=str(llama))


def test_a_subfolder_and_an_adapter_are_told(llama: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    save_checkpoint(tmp_path / "outer" / "inner", "llama")
    byte_tokenizer().save_pretrained(tmp_path / "outer")
    get_peft_model(tiny_model("llama"), LoraConfig(target_modules=["q_proj"])).save_pretrained(str(tmp_path / "peft"))
    assert asked(pretrained=str(tmp_path / "outer"), subfolder="inner").model.subfolder == "inner"
    assert asked(pretrained=str(llama), peft=str(tmp_path / "peft")).model.peft == str(tmp_path / "peft")


def test_a_model_of_the_hub_is_told_by_its_commit(run_command: Run, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "models--some--base"
    save_checkpoint(kept / "snapshots" / commit, "llama")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    (tmp_path / "program.py").write_text(
        "from cti_edits.harness.lm import EditedLM\n"
        "asked = EditedLM(pretrained='some/base', device='cpu').asked().model\n"
        "print(asked.pretrained, asked.revision)"
    )
    done = run_command("run-python-file", "program.py", HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["some/base", commit]


def test_a_secret_gets_into_no_record(llama: Path) -> None:
    lm = EditedLM(pretrained=str(llama), device="cpu", token="hf_secret")
    assert "hf_secret" not in json.dumps(lm.get_model_info(), default=str)


def test_a_model_in_memory_is_told_by_its_weights(llama: Path) -> None:
    tokenizer = byte_tokenizer()
    first = asked(pretrained=tiny_model("llama"), tokenizer=tokenizer)
    assert first.model.pretrained == "LlamaForCausalLM"
    assert first.model.weights_sha256 == weights_sha256(tiny_model("llama"))
    assert first.model.tokenizer is not None
    assert first == asked(pretrained=tiny_model("llama"), tokenizer=byte_tokenizer())
    other = asked(pretrained=tiny_model("llama", seed=1), tokenizer=tokenizer)
    assert [one.field for one in first.differences(other)] == ["weights_sha256"]
    changed = asked(pretrained=tiny_model("llama"), tokenizer=byte_tokenizer(masked=True))
    assert [one.field for one in first.differences(changed)] == ["tokenizer"]


def test_the_weights_that_are_told_are_those_from_before_the_edit() -> None:
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 4, 0.2))
    with_edit = asked(pretrained=tiny_model("llama"), edit=edit, tokenizer=byte_tokenizer())
    assert with_edit == asked(pretrained=tiny_model("llama"), tokenizer=byte_tokenizer())


def test_the_results_hold_the_hashes_of_the_rows_that_the_search_saw(llama: Path) -> None:
    from dataclasses import replace

    edit = edit_of(tiny_model("llama"), base_id=str(llama))
    searched = replace(edit, search=replace(SEARCH, row_hashes="0123456789ab"))
    assert EditedLM(edit=searched, device="cpu").get_model_info()["edit"]["row_hashes"] == "0123456789ab"
    assert "row_hashes" not in EditedLM(edit=edit, device="cpu").get_model_info()["edit"]


def test_arguments_become_canonical_json() -> None:
    class Thing:
        pass

    found = canonical(
        {
            "b": torch.float16, "a": Path("x/y"), "big": 2**60, "inf": float("inf"), "set": {"q", "p"},
            "thing": Thing(), "config": transformers.BitsAndBytesConfig(load_in_8bit=True),
        }
    )  # fmt: skip
    told = json.loads(found)
    assert list(told) == sorted(told)
    assert (told["b"], told["a"], told["big"], told["inf"]) == ("float16", "x/y", str(2**60), "inf")
    assert told["set"] == ["p", "q"]
    assert told["config"]["load_in_8bit"] is True
    assert told["thing"].endswith("Thing")
