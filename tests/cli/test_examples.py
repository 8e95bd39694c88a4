"""The example under the help of each command runs, in a folder with the edits that come along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cti_edits.cli.examples import EXAMPLES, MODEL
from cti_edits.models.demo_model import NAME, SIZES
from docs._build.commands_page import every_command
from tests.conftest import ROOT, Run
from tests.support.command import run_here
from tests.support.local_hub import LocalHub
from tests.test_documentation import Shell, shell

__all__ = ["shell"]

FIRST = {
    "compare": f"cti-edits eval --model_args pretrained={MODEL} --tasks cti_capitals --log_samples --output_path base",
    # A folder that looks as the converted model does, which takes half a minute to make.
    "demo-model": f"""mkdir -p "$XDG_CACHE_HOME/cti-edits/{NAME}" && cd "$XDG_CACHE_HOME/cti-edits/{NAME}" &&
        touch model.safetensors tokenizer.json && echo '{json.dumps(SIZES)}' > config.json""",
}
"""What has to be there before an example runs."""
ELSEWHERE = ("pull", "doctor")
"""Run in tests of their own."""
DIFFERENT = {"diff": 1}
"""Exit codes that are not 0."""


def test_every_command_has_one_and_shows_it() -> None:
    commands = {words.removeprefix("cti-edits "): command for words, command in every_command()}
    assert set(EXAMPLES) == set(commands)
    for words, example in EXAMPLES.items():
        assert example.startswith(f"cti-edits {words}")
        assert commands[words].epilog == f"Example: {example}"
    assert "Example: cti-edits show capitals.json" in " ".join(run_here("show", "--help").stdout.split())


def test_the_examples_run_one_after_the_other(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "edits", tmp_path / "edits")
    for words, example in EXAMPLES.items():
        if words in ELSEWHERE:
            continue
        done = shell(f"({FIRST.get(words, ':')})\n{example}", tmp_path)
        assert done.returncode == DIFFERENT.get(words, 0), f"{example}\n{done.stdout}{done.stderr}"


def test_the_example_of_pull_runs(command: Run, hub: LocalHub) -> None:
    hub.commit("me/fever-edit", {"edit.json": (ROOT / "edits" / "gptj_fever.json").read_bytes()})
    done = command(*EXAMPLES["pull"].split()[1:])
    assert done.returncode == 0, done.stderr
