from __future__ import annotations

import logging
import os
import warnings

import pytest

from cti_edits.cli.quiet import quiet


def test_what_a_user_set_stays_and_the_rest_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    logger = logging.getLogger("lm_eval")
    former = logger.level
    try:
        with warnings.catch_warnings(record=True) as heard:
            quiet()
            warnings.warn("of a library", stacklevel=1)
        assert heard == []
        assert not logger.isEnabledFor(logging.WARNING)
        assert (os.environ["TRANSFORMERS_VERBOSITY"], os.environ["TQDM_DISABLE"]) == ("info", "1")
    finally:
        logger.setLevel(former)
        monkeypatch.delenv("TQDM_DISABLE")
