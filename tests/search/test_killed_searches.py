"""A search that is killed at any moment goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cti_edits.search.presets import every_preset

CUTS = {"rates": [0.9, 0.6, 0.2], "selector": "nll", "guard": "none"}
SMALL: dict[str, dict[str, Any]] = {
    "sigma-step": {"directions": [8, 20], "drops": [0.1, 1.0], "guard": "none"},
    "sigma-fit": {"directions": [4, 8], "epochs": 3, "guard": "none"},
    "cl-100g-100e": {"top_q": 2, "clusters": [1, 2], "rates": [0.9, 0.6, 0.2], "selector": "nll", "guard": "none"},
    "optimal-clustering": {**CUTS, "clusters": [2]},
}
NAMES = [preset.name for preset in every_preset()]
SEARCHES: dict[str, dict[str, Any]] = {name: {"preset": name, **SMALL.get(name, CUTS)} for name in NAMES}
SEARCHES["composed of steps"] = {**SEARCHES["sigma-step"], "compose": 2, "clusters": [2]}
SEARCHES["confirmed, with a limit on other text"] = {
    **SEARCHES["cl-100g-100e"],
    "confirm": 2,
    "max_kl": 5.0,
    "guard": None,
}


def killed(name: str, kills: int, folder: Path) -> None:
    arguments = ["gptj", str(folder), json.dumps(SEARCHES[name]), "7", str(kills)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_search", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Some moments pass between the line that was waited for and the kill, and the search may end in them.
    assert kills - 2 <= int(done.stdout) <= kills
    whole, cut = (json.loads((folder / one / "edit.json").read_text()) for one in ("whole", "cut"))
    assert list(whole) == list(cut)
    assert {**cut, "provenance": whole["provenance"]} == whole
    assert whole["edits"]
    finished = [steps_of(folder / one / "edit.search.jsonl") for one in ("whole", "cut")]
    assert set(finished[0]) == set(finished[1])
    # No step was done twice, but for one that a stop left undecided.
    assert len(finished[1]) - len(set(finished[1])) <= 1


def steps_of(log: Path) -> list[str]:
    lines = (json.loads(line) for line in log.read_bytes().splitlines())
    return [json.dumps([line["step"], line["of"]], sort_keys=True) for line in lines if "step" in line]


@pytest.mark.parametrize("name", ["cl-100g-100e", "sigma-fit"])
def test_a_killed_search_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    killed(name, 10, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SEARCHES)
def test_every_kind_of_search_survives_twenty_kills(name: str, tmp_path: Path) -> None:
    killed(name, 20, tmp_path)
