"""Other libraries say nothing where a command has progress of its own."""

from __future__ import annotations

import logging
import os
import warnings


def quiet() -> None:
    """No bars, log lines and warnings of transformers, datasets, tokenizers and lm-eval.

    Called before these are imported, which read the environment then.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
