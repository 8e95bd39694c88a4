"""The table of lm-eval's response cache that holds a model's answers: one for everything that they depend on.

``--use_cache`` keys on a request's text and generation arguments alone. Whatever else an answer depends on is in the
name of the table: what was asked, the edit, the weights, settings and tokenizer that are in memory, and the versions.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from cti_edits.errors import printable
from cti_edits.harness.model_record import tokenizer_sha256
from cti_edits.harness.plain_json import Json, canonical, plain_value
from cti_edits.models.weights_hash import weights_sha256
from cti_edits.version import __version__

if TYPE_CHECKING:
    from sqlitedict import SqliteDict
    from transformers import PreTrainedModel

    from cti_edits.harness.edited_model import EditedHFLM

logger = logging.getLogger("cti_edits")

RUNS_WITH = ("lm-eval", "transformers", "tokenizers", "torch")
"""Packages whose versions answers may depend on."""


def attach_table(lm: EditedHFLM, responses: SqliteDict) -> None:
    """Point lm-eval's response cache at the table of ``lm``'s answers.

    lm-eval's wrapper and its hook share one SqliteDict, so that pointing it at another table of the file moves both.
    Where it is not known what the answers depend on, the table is in memory and ends with the run; a warning says so.

    Args:
        lm: the model, as it is now.
        responses: the ``SqliteDict``.
    """
    try:
        name, temporary = f"cti_{identity(lm)}", ""
    except TypeError as error:
        logger.warning("use_cache: responses are not cached: %s", printable(error))
        name, temporary = "cti_not_kept", "TEMP "
    # A temporary table belongs to the connection, and goes before any other of its name.
    responses.conn.execute(f'CREATE {temporary}TABLE IF NOT EXISTS "{name}" (key TEXT PRIMARY KEY, value BLOB)')
    responses.commit()
    responses.tablename = name


def identity(lm: EditedHFLM) -> str:
    """Hash over everything that the answers of ``lm`` depend on beside the request, as far as it can be seen.

    The weights in memory are hashed, so that a checkpoint or adapter that was written anew under the same name, a base
    that an edit was forced on, and a model that was changed after it was loaded are all seen. Left out is what
    `Asked` leaves out, batch sizes above all; the kind of device is in.

    Raises:
        TypeError: the weights are not all in memory, or an argument is an object whose content is not known.
    """
    model: PreTrainedModel = lm.model
    config = model.config
    arguments = {name: value for name, value in lm.source.answer_arguments().items() if name != "tokenizer"}
    parts: dict[str, object] = {
        "asked": lm.asked().to_json(),
        "arguments": {name: described(name, value) for name, value in arguments.items()},
        "revision": lm.source.revision,
        "edit": lm.edit.digest() if lm.edit is not None else None,
        "factorize": lm.factorize,
        "kind": lm.kind,
        "model": type(model).__name__,
        "weights": weights_sha256(model),
        "config": config,
        "attention": getattr(config, "_attn_implementation", None),
        "generation": getattr(model, "generation_config", None),
        "adapters": getattr(model, "peft_config", None),
        "tokenizer": tokenizer_sha256(lm.tokenizer),
        "device": lm.device.type,
        "softmax_dtype": lm.softmax_dtype,
        "mixed_precision_dtype": lm.mixed_precision_dtype,
        "think_end_token": lm.think_end_token,
        "versions": {"cti-edits": __version__, **{name: version(name) for name in RUNS_WITH}},
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def described(name: str, value: object) -> Json:
    """`plain_value` of an argument.

    Raises:
        TypeError: it is, or holds, an object of which only the class is known.
    """

    def refuse(unknown: object) -> NoReturn:
        raise TypeError(f"{name}: nothing is known of what a {type(unknown).__name__} holds")

    return plain_value(value, refuse)
