"""Runs a small search that is killed again and again until it ends: ``python -m tests.support.killed_search``.

It is killed with SIGKILL when its log has a number of lines that was drawn, some moments later; and of some logs the
last line is torn then, as of a process that was killed while it wrote it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from cti_edits.search.api import search
from tests.support.tiny_models import byte_tokenizer, tiny_model

ROWS = [{"prompt": f"{'Moo. ' * (n % 4)}{n} says", "choices": [" moo", " woof"], "gold": n % 2} for n in range(24)]
LIMIT = 120.0
"""Seconds that a search may take."""


def run(model: Any, folder: Path, settings: dict[str, Any]) -> None:
    """A search with its log in ``folder``, and its manifest."""
    result = search(
        model,
        byte_tokenizer(),
        rows=ROWS[:12],
        test_rows=ROWS[12:],
        samples=8,
        base_model="tiny",
        log=folder / "edit.search.jsonl",
        progress=False,
        **settings,
    )
    result.edit.write(folder / "edit.json")


def lines_of(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def forked(model: Any, folder: Path, settings: dict[str, Any], kill_at: int | None, generator: random.Random) -> bool:
    """The search in a process of its own, killed once its log has ``kill_at`` lines; whether it was."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(model, folder, settings)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    end = time.monotonic() + LIMIT
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit("the search failed")
            return False
        reached = kill_at is not None and lines_of(folder / "edit.search.jsonl") >= kill_at
        if reached or time.monotonic() > end:
            time.sleep(generator.random() * 0.02)
            os.kill(child, signal.SIGKILL)
            killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
            if not reached:
                raise SystemExit("the search takes too long")
            return killed
        time.sleep(0.001)


def torn(log: Path, generator: random.Random) -> None:
    """Cut the last line somewhere, sometimes."""
    content = log.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    if generator.random() < 0.5 and last:
        log.write_bytes(content[: generator.randrange(last, len(content))])


def main(model_type: str, folder: Path, settings: dict[str, Any], seed: int, kills: int) -> None:
    """Prints how often it was killed."""
    torch.set_num_threads(1)
    generator = random.Random(seed)
    model = tiny_model(model_type)
    whole, cut = folder / "whole", folder / "cut"
    # In this process, so that those that are forked have everything imported already.
    run(model, whole, settings)
    total = lines_of(whole / "edit.search.jsonl")
    hit = 0
    for kill_at in sorted(generator.sample(range(1, total), min(kills, total - 1))):
        hit += forked(model, cut, settings, kill_at, generator)
        torn(cut / "edit.search.jsonl", generator)
    forked(model, cut, settings, None, generator)
    print(hit)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
