"""What a search records of the base it ran on: a model of the hub's cache, stored as float32 and loaded as bfloat16."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.energy import retained_energy
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.verify import exit_code, verify
from cti_edits.search.examples import examples
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.edits import cuts
from tests.support.tiny_models import save_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_search_records_commit_and_stored_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--tests--tiny"
    save_checkpoint(home / "snapshots" / COMMIT, "llama")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    lm = load_base(read_base("tests/tiny", ""), device="cpu", dtype="bfloat16", batch_size=8)
    settings = SearchSettings(samples=6, top_q=2, clusters=(2,), rates=(0.5, 0.1))
    chosen = examples(load_task("cti_capitals", None, "causal"), settings)
    edit = run_search(lm, chosen.evaluations, settings, name="tiny", base_id="tests/tiny").edit
    assert (edit.base_model.id, edit.base_model.revision, edit.base_model.dtype) == ("tests/tiny", COMMIT, "bfloat16")
    (one,) = cuts(edit)
    checkpoint = open_checkpoint("tests/tiny", local=True)
    stored = checkpoint.find(f"{one.module}.weight")
    assert stored is not None
    assert (one.sha256, one.dtype, one.tensor) == (stored.sha256(), "F32", stored.name)
    assert one.frobenius_norm == pytest.approx(stored.frobenius_norm(), rel=1e-11)
    weight = lm.model.get_parameter(f"{one.module}.weight").detach()
    assert one.retained_energy == retained_energy(weight, truncate(weight, one.block_ranks), 2)
    assert one.retained_energy is not None
    assert all(0 < share < 1 for share in one.retained_energy)
    assert exit_code(list(verify(edit, checkpoint))) == 0
    path = edit.write(tmp_path / "edit.json")
    for dtype in ("bfloat16", "float32", "float16"):
        loaded = EditedLM.create_from_arg_obj({"edit": str(path), "dtype": dtype}, {"device": "cpu"})
        assert loaded.applied_edit is not None
        assert loaded.applied_edit.verified
