from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import hypothesis
import pytest

# Before any test imports them: no test may reach for the network, and the checks need no progress bars.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from tests.support import environment_report
from tests.support.command_server import commands_on_path
from tests.support.installed_plugins import InstalledPlugins, installed_plugins
from tests.support.local_hub import LocalHub, local_hub
from tests.support.tiny_models import save_checkpoint

environment_report.ask_once()
ROOT = Path(__file__).parent.parent

# How many examples a property test draws; none says so of its own. `make test-thorough` takes the second.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("quick")


def pytest_collection_finish() -> None:
    """Leave what stays, torch and thousands of tests, out of every later search for garbage: a fifth of all time."""
    gc.collect()
    gc.freeze()


def heed_interrupts() -> None:
    """For a child process: take SIGINT as a terminal's would, even where a script in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama checkpoint, shared by tests that do not change it."""
    return save_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


def _run(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=300,
        check=False,
    )


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """Run this interpreter with words, outside the project's folder, as a user's shell would."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return _run([sys.executable, *words], tmp_path, {**os.environ, **environment})

    return run


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstalledPlugins]:
    """Installs plugins for this process."""
    (tmp_path / "installed").mkdir()
    with installed_plugins(tmp_path / "installed", monkeypatch) as folder:
        yield folder


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """A hub on this machine, for the tests of sharing."""
    with local_hub() as server:
        yield server


@pytest.fixture(scope="session")
def commands() -> Iterator[Path]:
    """The folder of ``cti-edits``, ``lm_eval`` and ``run-python-file``: forks of a process that has their imports."""
    with commands_on_path() as folder:
        yield folder


@pytest.fixture
def command(hub: LocalHub, commands: Path, tmp_path: Path) -> Run:
    """``cti-edits`` with that server as its hub, a cache of its own and nobody logged in."""
    (tmp_path / "here").mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}

    def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        of_hub = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
        return _run(
            [str(commands / "cti-edits"), *map(str, words)], tmp_path / "here", {**kept, **of_hub, **environment}
        )

    return run


@pytest.fixture
def run_command(commands: Path, tmp_path: Path) -> Run:
    """Run ``cti-edits``, ``lm_eval`` or a file of Python with words, outside the project's folder.

    lm-eval knows our tasks and those of ``--include_path`` alone. What a variable says to an import, it says too late,
    but for the hub's.
    """

    def run(command: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return _run([str(commands / command), *words], tmp_path, {**os.environ, **environment})

    return run
