"""The README.md of an exported checkpoint, and of an adapter."""

from __future__ import annotations

from pathlib import Path

from cti_edits.models.export import export
from cti_edits.models.peft_export import export_adapter
from tests.support.edits import directions_of, edit_of, edit_with
from tests.support.tiny_models import tiny_model


def test_the_readme_says_what_it_is(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "source")
    edit = edit_of(model, ("U_in", 1, 2, 0.25), base_id="a/b: `c`\u202e", name="mine")
    export(edit, tmp_path / "source", tmp_path / "target")
    text = (tmp_path / "target" / "README.md").read_text()
    import yaml

    front = yaml.safe_load(text.split("---\n")[1])
    # The hub takes an id there and nothing else, such as the path of a folder.
    assert front == {"library_name": "transformers", "tags": ["cti-edits"]}
    assert "the edit `mine` applied by cti-edits" in text
    assert edit.digest() in text
    assert "| `model.layers.1.mlp.gate_proj.weight` | block-svd | rho 0.25, K 2, 12 ranks kept |" in text
    assert "The base was verified" in text
    assert "`a/b: 'c'\\u202e`" in text


def test_the_readme_of_directions(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "source")
    one = directions_of(model, "W_v", 0, {(0, 1): 0.0, (1, 2): 1.5}, clusters=2)
    export(edit_with(model, one, base_id="owner/base"), tmp_path / "source", tmp_path / "target")
    text = (tmp_path / "target" / "README.md").read_text(encoding="utf-8")
    assert "It changed singular values of these tensors; every other tensor" in text
    assert "| `model.layers.0.self_attn.v_proj.weight` | directions | 2 directions, K 2, scale 0 to 1.5 |" in text


def test_the_readme_names_the_base_for_the_hub(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "source")
    export(edit_of(model, base_id="owner/base"), tmp_path / "source", tmp_path / "target")
    assert '\nbase_model: "owner/base"\n' in (tmp_path / "target" / "README.md").read_text()


def test_the_readme_of_an_adapter(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "base")
    edit = edit_of(model, ("U_in", 1, 1, 0.75), base_id="owner/base", name="mine")
    export_adapter(edit, tmp_path / "base", tmp_path / "adapter", "owner/base")
    text = (tmp_path / "adapter" / "README.md").read_text()
    import yaml

    front = yaml.safe_load(text.split("---\n")[1])
    assert front == {"base_model": "owner/base", "library_name": "peft", "tags": ["cti-edits"]}
    assert "The edit `mine` as a LoRA adapter of `owner/base`" in text
    assert edit.digest() in text
    assert "in float32" in text
    assert "| `model.layers.1.mlp.gate_proj` | block-svd | rho 0.75, K 1, 24 ranks kept | 8 |" in text
    assert "The base was verified" in text
