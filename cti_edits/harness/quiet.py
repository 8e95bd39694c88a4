"""lm-eval without its log lines and progress bars, for a search that has its own."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Inside, lm-eval logs errors alone and draws no bar for the requests that it makes, and nothing warns."""
    from lm_eval.api import task

    logger, level, bar = logging.getLogger("lm_eval"), logging.getLogger("lm_eval").level, task.tqdm
    logger.setLevel(logging.ERROR)
    task.tqdm = functools.partial(bar, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        task.tqdm = bar
