"""``cti-edits demo-model``, run as a command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cti_edits.models.demo_model import demo_model
from tests.conftest import Run, heed_interrupts


@pytest.fixture(scope="module")
def model() -> Path:
    return demo_model()


def test_the_command_prints_the_folder_alone(model: Path, run_python: Run) -> None:
    done = run_python("-m", "cti_edits", "demo-model")
    assert (done.returncode, done.stdout) == (0, f"{model}\n")


def test_an_interrupted_call_leaves_nothing_half_made(tmp_path: Path) -> None:
    target = tmp_path / "model"
    process = subprocess.Popen(
        [sys.executable, "-m", "cti_edits", "demo-model", str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    # Wait until the conversion has begun: its temporary folder stands beside the target.
    for _ in range(600):
        if any(tmp_path.iterdir()):
            break
        time.sleep(0.05)
    assert any(tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []
