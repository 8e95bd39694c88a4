from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import transformers

from cti_edits.artifact.manifest import load
from cti_edits.errors import EditError
from cti_edits.harness.base_config import base_of, config_of, name_of, read_config
from cti_edits.paths import folder


def test_the_base_is_the_arguments_else_the_edits() -> None:
    published = load(folder("edits") / "gptj_fever.json")
    one = dataclasses.replace(published, base_model=dataclasses.replace(published.base_model, revision="abc"))
    own = ("EleutherAI/gpt-j-6b", "abc")
    assert base_of(one, None, None) == base_of(one, "", None) == own
    assert base_of(one, None, "other") == (own[0], "other")
    # The edit's revision is of the edit's base, not of another model.
    assert base_of(one, "owner/other", None) == ("owner/other", None)
    with pytest.raises(EditError, match="expected edit=FILE, pretrained=MODEL or both"):
        base_of(None, None, None)


def test_the_config_of_a_checkpoint_and_of_a_model_in_memory(tmp_path: Path) -> None:
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=5)
    (tmp_path / "part").mkdir()
    config.save_pretrained(tmp_path / "part")
    read = read_config(str(tmp_path), None, {"subfolder": "part"})
    assert (read.model_type, read.to_dict()["n_embd"]) == ("gpt2", 8)
    model = transformers.GPT2LMHeadModel(config)
    assert config_of(model, None, {}, None) is model.config
    assert (name_of(model), name_of("owner/a\x1b")) == ("GPT2LMHeadModel", "owner/a\\x1b")
    with pytest.raises(EditError, match=r"^cannot load the model '.*', which mine names as its base: OSError"):
        read_config(str(tmp_path / "none"), None, {}, "mine")
