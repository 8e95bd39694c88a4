"""``cti-edits presets``."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from cti_edits.cli import app
from cti_edits.search.presets import PRESETS


def output(*words: str) -> str:
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_presets_are_listed_with_their_search_spaces() -> None:
    lines = {line.split()[0]: line for line in output("presets").splitlines()[1:10]}
    assert list(lines) == list(PRESETS)
    assert re.search(
        r"top 5 \(masked: top 7\) +100 drawn +2,4,8,16 \(masked: 1,2,4,8\) +100 drawn", lines["cl-100g-100e"]
    )
    assert re.search(r"all +none +1 +first 20 % +row-blocks$", lines["laser"])
    assert re.search(r"top 5 +first 20 % +1 +first 20 %", lines["laser-grads-se"])
    assert lines["optimal-clustering"].endswith("k-subspaces")
    assert "0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01, 0.005" in output("presets")


def test_those_of_directions_say_what_they_try() -> None:
    lines = {line.split(" ")[0]: re.split(" {2,}", line) for line in output("presets").splitlines() if line}
    step = ["sigma-step", "directions", "N = 64, 256, 1024, 4096 × f = 0.1, 0.3, 1", "100 drawn", "1", "100 drawn"]
    assert lines["sigma-step"] == step
    assert lines["sigma-fit"][2] == "N = 1024, 4096, fitted for 4 epochs at most"
    # Of a table of their own: they have no top q and no ρ.
    assert not any(line.startswith("But sigma") for line in output("presets").splitlines())
