"""What commands print with ``--json``: objects with the keys that docs/json.md has, and the figures of their text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cti_edits import doctor
from cti_edits.artifact.manifest import load
from cti_edits.cli.json_records import records
from cti_edits.paths import folder
from docs._build.json_page import attributes
from tests.support.command import run_here
from tests.support.edits import EDIT_2, recorded
from tests.support.eval_runs import EDIT, write_run

FEVER = folder("edits") / "gptj_fever.json"


def objects(*words: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """What a command prints with ``--json``; every object has the documented keys."""
    done = run_here(*words, "--json")
    assert done.returncode == code, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    record = records()[" ".join(map(str, words[:2])) if words[0] == "cache" else str(words[0])]
    assert found
    for one in found:
        assert list(one) == list(attributes(record))
    return found


@pytest.fixture(scope="module")
def edit(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(llama, ("U_in", 1, 2, 0.2), ("W_o", 0, 1, 0.1)).write(tmp_path_factory.mktemp("edit") / "edit.json")


def test_an_edit_and_a_list_of_them(edit: Path, llama: Path) -> None:
    (shown,) = objects("show", edit, "--model", llama)
    assert shown["manifest"] == json.loads(edit.read_text())
    assert shown["digest"] == load(edit).digest()
    assert shown["parameters"]["factored"] < shown["parameters"]["dense"]
    assert objects("show", edit)[0]["bytes"] is None
    listed = {Path(one["file"]).stem: one for one in objects("ls", edit.parent)}
    assert len(listed) == 49
    assert listed["edit"]["matrices"] == [
        {"matrix": "U_in", "layer": 1, "stack": None},
        {"matrix": "W_o", "layer": 0, "stack": None},
    ]
    assert (listed["edit"]["measured_on"], listed["gptj_fever"]["measured_on"]) == (None, "reported")
    assert listed["gptj_fever"]["edited"] == load(FEVER).results.reported.edited  # type: ignore[union-attr]


def test_times_are_for_people(edit: Path) -> None:
    done = run_here("show", edit, "--time", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "cti-edits: error: --time: with --json there are no times\n"


def test_matrices_that_are_verified(edit: Path, llama: Path) -> None:
    assert [(one["matrix"], one["verdict"]) for one in objects("verify", edit)] == [("U_in", "ok"), ("W_o", "ok")]
    wrong = run_here("verify", FEVER, "--model", llama, "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["verdict"] == "does not fit"


def test_a_file_that_is_no_manifest_is_an_object_and_a_line(edit: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text("[]")
    done = run_here("validate", edit, tmp_path / "wrong.json", "--json")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    right, wrong = (json.loads(line) for line in done.stdout.splitlines())
    assert (right["valid"], right["digest"], right["error"]) == (True, load(edit).digest(), None)
    assert (wrong["valid"], wrong["digest"]) == (False, None)
    assert done.stderr == f"cti-edits: error: {wrong['error']}\n"


def test_differences_are_whole(edit: Path) -> None:
    found = {one["field"]: one for one in objects("diff", EDIT_2 / "directions.json", edit, code=1)}
    (asked,) = (one for field, one in found.items() if field == "edits[U_in 1]")
    assert asked["applied"] is True
    assert not any("…" in one["left"] + one["right"] for one in found.values())
    assert run_here("diff", edit, edit, "--json").stdout == ""


def test_runs_with_figures_that_are_not_rounded(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0, 0])
    edited = write_run(tmp_path / "edited", [1, 1, 0], edit=EDIT)
    (one,) = objects("compare", base, edited)
    assert [run["accuracy"] for run in one["runs"]] == [1 / 3, 2 / 3]
    (paired,) = one["paired"]
    assert (paired["difference"], paired["p_value"], paired["verdict"]["word"]) == (1 / 3, 1.0, "no evidence")


def test_what_a_search_costs() -> None:
    (one,) = objects("cost", "--preset", "cl-100g-100e", "--dataset-size", "65757", "--layers", "28")
    assert round(one["speed_up"], 1) == 93.4
    assert one["paper"]["total"] == sum(value for key, value in one["paper"].items() if key != "total")


def test_presets_plugins_and_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    presets = {one["name"]: one for one in objects("presets")}
    assert presets["cl-100g-100e"]["top_q"] == {"causal": 5, "masked": 7, "seq2seq": 5}
    assert presets["laser"]["rates"][-1] == 0.005
    (built_in,) = (one for one in objects("plugins") if one["plugin"] == "built-in")
    assert "sigma-step" in built_in["parts"]["presets"]
    monkeypatch.setattr(doctor, "CHECKS", {"versions": doctor.CHECKS["versions"]})
    assert objects("doctor")[0]["what"] == "cti-edits"


def test_architectures_are_one_object_a_line(llama: Path) -> None:
    keys = set(attributes(records()["architectures"]))
    shown = run_here("architectures", llama, "--json").stdout.splitlines()
    every = run_here("architectures", "--json").stdout.splitlines()
    assert (len(shown), len(every)) == (1, 1)
    assert list(json.loads(every[0])) == ["architectures"]
    assert set(json.loads(shown[0])) == keys - {"architectures", "proposal", "left_out"}


def test_a_search_ends_with_an_object_alone(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("--samples", "6", "--top-q", "1", "--clusters", "1", "--rates", "0.5", "--test-rows", "5", "--no-control")
    output = tmp_path / "found.json"
    (end,) = objects("search", "--task", "capitals", "--model", llama, "--device", "cpu", "--output", output, *words)
    edit = load(output)
    assert (end["file"], end["digest"]) == (str(output), edit.digest())
    assert end["results"] == json.loads(output.read_text())["results"]
    assert end["tried"] + end["stopped"] + end["failed"] == 1
    assert end["verdict"]["word"] == edit.results.test.verdict().word  # type: ignore[union-attr]
    kept = objects("cache", "ls")
    assert {one["clusters"] for one in kept} == {1}
    assert objects("reproduce", output, "--device", "cpu")[0]["grade"] == "bytes"
