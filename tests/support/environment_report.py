"""lm-eval writes into each result what ``pip list`` and other commands say of the machine, two seconds each time."""

from __future__ import annotations

import functools

import torch.utils.collect_env


def ask_now() -> None:
    """Have the reports of this process, and of its forks, say what the machine says now."""
    ask_once()
    torch.utils.collect_env.get_env_info()  # type: ignore[no-untyped-call]


def ask_once() -> None:
    """Have torch ask the machine at the first report, and answer the others of this process with the same."""
    setattr(torch.utils.collect_env, "get_env_info", functools.cache(torch.utils.collect_env.get_env_info))  # noqa: B010
