from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.harness.model_arguments import loading, parameter_names
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model


def edit_file(base: str, path: Path) -> str:
    return str(edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.5), base_id=base).write(path))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("edits", "edit"), ("Edit", "edit"), ("EDIT", "edit"), ("model", "pretrained"), ("Model", "pretrained"),
        ("Pretrained", "pretrained"), ("pretraned", "pretrained"), ("model_name_or_path", "pretrained"),
        ("subfolder_", "subfolder"), ("sub_folder", "subfolder"), ("addBosToken", "add_bos_token"),
        ("tokeniser", "tokenizer"), ("skip_calibrations", "skip_calibration"), ("max-length", "max_length"),
        ("torch_dtype", "dtype"), ("trust_remote_cod", "trust_remote_code"),
    ],
)  # fmt: skip
def test_a_misspelt_argument_names_the_one_that_was_meant(wrong: str, right: str, llama: Path) -> None:
    said = rf"unexpected argument '{wrong}'; did you mean {right}\?"
    for others in ({"pretrained": str(llama)}, {}):
        with pytest.raises(EditError, match=said):
            EditedLM.create_from_arg_obj({wrong: "x", **others}, {"device": "cpu"})
        with pytest.raises(EditError, match=said):
            EditedLM(**{wrong: "x", **others})


def test_a_misspelt_argument_of_a_model_in_memory_is_not_ignored() -> None:
    with pytest.raises(EditError, match=r"unexpected argument 'edits'; did you mean edit\?"):
        EditedLM(pretrained=tiny_model("llama"), edits="x.json")


def test_a_misspelt_argument_in_a_search(llama: Path) -> None:
    with pytest.raises(EditError, match=r"unexpected argument 'max_lenght'; did you mean max_length\?"):
        load_base(read_base(str(llama), "max_lenght=5"), "cpu", "auto", 1)


@pytest.mark.parametrize(
    "argument",
    [
        {"attn_implementation": "eager"},
        {"low_cpu_mem_usage": True},
        {"use_safetensors": True},
        {"attention_dropout": 0.25},  # a field of the config
        {"max_position_embeddings": 100},
    ],
)
def test_what_from_pretrained_takes_is_handed_on(argument: dict[str, Any], llama: Path) -> None:
    lm = EditedLM(pretrained=str(llama), **argument)
    if "attn_implementation" in argument:
        assert lm.model.config._attn_implementation == "eager"
    for name in {"attention_dropout", "max_position_embeddings"} & set(argument):
        assert getattr(lm.model.config, name) == argument[name]


def test_the_arguments_are_those_of_the_class_and_of_lm_eval() -> None:
    found = parameter_names(EditedLM)
    assert {"edit", "skip_calibration", "pretrained", "add_bos_token", "gguf_file"} <= set(found)
    assert not {"self", "arguments", "kwargs", "named"} & set(found)


def test_a_load_error_names_the_base_model_and_the_edit_that_named_it(tmp_path: Path) -> None:
    missing = str(tmp_path / "gone")
    path = edit_file(missing, tmp_path / "edit.json")
    said = rf"cannot load the model '{missing}', which {path} names as its base: "
    for load in (EditedLM, EditedLM.for_checkpoint):
        with pytest.raises(EditError, match=said):
            load(edit=path)
        with pytest.raises(EditError, match=rf"cannot load the model '{missing}': "):
            load(edit=path, pretrained=missing)


def test_weights_that_cannot_be_read_name_base_and_edit(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "broken", "llama")
    path = edit_file(str(base), tmp_path / "edit.json")
    (base / "model.safetensors").write_bytes(b"xx")
    with pytest.raises(EditError, match=rf"cannot load the model '{base}', which {path} names as its base: ") as caught:
        EditedLM.create_from_arg_obj({"edit": path}, {"device": "cpu"})
    assert "\n" not in str(caught.value)


def test_errors_of_an_edit_stay_as_they_are(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"^[^:]*missing\.json: expected an edit manifest"):
        EditedLM.create_from_arg_obj({"edit": str(tmp_path / "missing.json"), "pretrained": str(llama)}, {})


def test_a_base_that_no_argument_names() -> None:
    with pytest.raises(EditError, match=r"^cannot load the model: ValueError: twice$"), loading(None):
        raise ValueError("twice")


def test_the_command_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    from lm_eval.__main__ import cli_evaluate

    # What the lm_eval script's own module holds; see errors.one_line_in_command.
    monkeypatch.setattr(sys.modules["__main__"], "cli_evaluate", cli_evaluate, raising=False)
    with pytest.raises(SystemExit) as stop:
        EditedLM.create_from_arg_string("model=gpt2", {"device": "cpu"})
    assert stop.value.code == 2
    assert capsys.readouterr().err == "cti-edits: error: unexpected argument 'model'; did you mean pretrained?\n"
