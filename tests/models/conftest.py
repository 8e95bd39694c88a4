from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from cti_edits.models.packing import pack
from tests.support.checkpoints import COMMIT
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Put a checkpoint folder where the hub's client keeps what it fetched."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(folder: Path, name: str = "tests/tiny", commit: str = COMMIT, branch: str = "main") -> str:
        home = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (home / "refs").mkdir(parents=True, exist_ok=True)
        (home / "refs" / branch).write_text(commit)
        shutil.copytree(folder, home / "snapshots" / commit)
        return name

    return put


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A packed edit of a tiny model in ``tmp_path / "base"``, of two matrices; every kind of block is in it."""
    save_checkpoint(tmp_path / "base", "gpt2")
    model = tiny_model("gpt2")
    places = (("U_in", 1, 2, 0.1), ("W_o", 2, 3, 0.7), ("W_o", 0, 2, 1.0))
    path = edit_of(model, *places, base_id=str(tmp_path / "base"), name="tiny").write(tmp_path / "tiny.json")
    pack(path)
    return path
