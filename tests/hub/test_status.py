"""Whether the hub answers, and what its cache takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.hub.status import cached_bytes, hub_answer
from tests.support.local_hub import LocalHub


def test_a_hub_that_answers_is_said_with_its_address(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    assert hub_answer() == f"{hub.address} answers"
    assert hub.asked


def test_one_that_does_not_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EditError, match=r"^http://127\.0\.0\.1:9: the hub cannot be reached.*$"):
        hub_answer()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EditError, match="HF_HUB_OFFLINE is set"):
        hub_answer()


def test_what_the_cache_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert cached_bytes() == 0
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "1").write_bytes(b"12345")
    (snapshot / "config.json").symlink_to(blobs / "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert cached_bytes() == 5
