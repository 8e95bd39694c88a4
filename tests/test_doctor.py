"""What the doctor finds on this machine, and in environments that lack something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cti_edits import doctor
from cti_edits.doctor import CHECKS, Finding, findings
from tests.support.installed_plugins import InstalledPlugins


def found_by(check: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in CHECKS[check]()}


def test_plain_lm_eval_finds_us_unless_that_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = CHECKS["lm_eval --model cti"]()
    assert (finding.state, finding.remedy) == ("ok", "")
    monkeypatch.setenv("CTI_EDITS_NO_STARTUP", "1")
    (finding,) = CHECKS["lm_eval --model cti"]()
    assert finding.state == "broken"
    assert "CTI_EDITS_NO_STARTUP" in finding.remedy


def test_a_package_that_is_missing_comes_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = found_by("versions")
    assert versions["torch"].state == "ok"
    assert versions["torch"].found[0].isdigit()
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package", "an-extra"))
    monkeypatch.setattr(doctor, "OPTIONAL", {"an-extra": ("nothing is drawn", "pip install an-extra")})
    versions = found_by("versions")
    assert versions["no-such-package"].state == "broken"
    assert versions["an-extra"] == Finding(
        "an-extra", "note", "not installed: nothing is drawn", "pip install an-extra"
    )


def test_the_folder_of_rows_is_said_or_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))
    (tmp_path / "fever.jsonl").write_text("{}\n", encoding="utf-8")
    assert found_by("benchmark rows")["benchmark rows"].found == f"{tmp_path}: fever"
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path / "gone"))
    gone = found_by("benchmark rows")["benchmark rows"]
    assert (gone.state, gone.remedy) == ("broken", "unset CTI_EDITS_DATA")
    monkeypatch.delenv("CTI_EDITS_DATA")
    assert "come from the hub" in found_by("benchmark rows")["benchmark rows"].found


def test_a_hub_that_is_not_reached_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found_by("hub")["hub"]  # tests run offline
    assert (finding.state, finding.found) == ("note", "HF_HUB_OFFLINE is set: nothing is fetched")


def test_a_plugin_that_is_left_out_is_named(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("broken_one", "raise ImportError('no luck')")
    found = list(CHECKS["plugins"]())
    assert found[0].found == "none besides what is built in"
    assert found[1].state == "note"
    assert "broken_one" in found[1].found
    assert "no luck" in found[1].found


def test_caches_and_memory_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caches = found_by("caches")
    assert caches["decompositions"].found.startswith("0 kept, 0.00 of ")
    assert caches["demo model"].remedy.endswith("cti-edits demo-model")
    assert set(found_by("memory")) == {"memory", "disk"}


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Iterator[Finding]:
        raise OSError("the disk is gone\nand more")

    monkeypatch.setattr(doctor, "CHECKS", {"first": fails, "devices": CHECKS["devices"]})
    first, cpu = findings()
    assert first == Finding("first", "broken", "OSError: the disk is gone")
    assert (cpu.what, cpu.state) == ("cpu", "ok")
