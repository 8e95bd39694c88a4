"""Every block of code in the documentation runs, or says why it does not.

CONTRIBUTING.md says how blocks are run and which comments change that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cti_edits.paths import folder as shipped_folder
from tests.conftest import ROOT
from tests.support.benchmark_files import write_jsonl, write_local
from tests.support.pages import RUN, Block, blocks, pages, shown
from tests.support.tiny_models import save_checkpoint

FIRST = ROOT / "docs" / "getting-started.md"
"""The page whose results the pages after it use."""
STAND_INS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "llama",
    "EleutherAI/gpt-j-6b": "gptj",
    "FacebookAI/roberta-base": "roberta",
    "google/flan-t5-base": "t5",
}
"""For each model that the pages name, the family of the tiny one in its place."""
COMMIT = "0" * 40
SEED = 1
"""Of the tiny models: with it a search finds an edit, which the pages then show, pack and export."""
SMALLER = {
    "cti-edits": r"""case $1 in
  search)
    set -- "$@" --no-report
    case "$*" in
      *--preset\ sigma-fit*) set -- "$@" --samples 6 --directions 8 --epochs 1 ;;
      *--preset\ sigma-step* | *--directions*) set -- "$@" --samples 6 --directions 8,16 --drops 1 ;;
      *--preset* | *--top-q* | *--rates* | *--scorer* | *--partition*)
        set -- "$@" --samples 6 --top-q 1 --clusters 1,2 --rates 0.5,0.1 ;;
      *) set -- "$@" --samples 6 --directions 8,16 --drops 1 ;;
    esac ;;
  eval) set -- "$@" --limit 6 ;;
esac""",
    "lm_eval": 'set -- "$@" --limit 6',
}
"""What comes after the words of a command; of an option that is given twice, the last counts."""

Shell = Callable[[str, Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def shell(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs commands in a folder; the models and rows that they name are tiny and there."""
    home = tmp_path_factory.mktemp("home")
    for name, family in STAND_INS.items():
        repository = home / "hub" / f"models--{name.replace('/', '--')}"
        save_checkpoint(repository / "snapshots" / COMMIT, family, seed=SEED)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
    (home / "data").mkdir()
    rows = write_local(home / "data")
    write_jsonl(rows / "fever.jsonl", [{"claim": f"Claim {n}.", "label": n % 2} for n in range(40)])
    write_jsonl(rows / "counterfact.jsonl", [{"prompt": f"Town {n} is in", "answer": "Peru"} for n in range(40)])
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("CTI_EDITS_", "HF_"))},
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(home / "cache"),
        "CTI_EDITS_DATA": str(rows),
        "EDITS": str(shipped_folder("edits")),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    (home / "bin").mkdir()
    for command, more in SMALLER.items():
        script = home / "bin" / command
        script.write_text(f'#!/bin/sh\n{more}\nexec {commands / command} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join(map(str, (home / "bin", commands, Path(sys.executable).parent, environment["PATH"])))

    def run(text: str, where: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=where,
            env={**environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def begun(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first page's blocks were run."""
    folder = tmp_path_factory.mktemp("begun")
    run_blocks(FIRST, folder, shell)
    return folder


def run_blocks(page: Path, folder: Path, shell: Shell) -> None:
    """Run what is to be run on a page, in its order."""
    for block in blocks(page):
        if block.language in RUN and block.reason is None:
            text = block.text
            if block.language == "python":
                (folder.parent / "block.py").write_text(text, encoding="utf-8")
                text = "run-python-file ../block.py"
            done = shell(f"{block.first or ':'}\n{text}", folder)
            assert done.returncode == 0, f"{shown(page)}, line {block.line}:\n{block.text}\n{done.stdout}{done.stderr}"


def to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in RUN and block.reason is None]


def test_the_blocks_of_the_first_page_run(begun: Path) -> None:
    assert (begun / "out" / "capitals.json").is_file()


@pytest.mark.parametrize("page", [page for page in pages() if to_run(page) and page != FIRST], ids=shown)
def test_the_blocks_of_a_page_run(page: Path, begun: Path, shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "here")
    run_blocks(page, tmp_path / "here", shell)


def test_a_block_that_fails_is_named(shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```bash\ncti-edits show nowhere.json\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page.md, line 3:\s*cti-edits show nowhere.json"):
        run_blocks(page, tmp_path, shell)
