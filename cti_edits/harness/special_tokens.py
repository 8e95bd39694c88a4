"""Tokenizers of causal models that have no BOS, EOS or padding token, where lm-eval assumes that there is one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from cti_edits.errors import EditError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class HasPrefix(Protocol):
    """What is used here of an lm-eval model."""

    @property
    def prefix_token_id(self) -> int | None:
        """The token that stands for an empty prompt, if there is one."""
        ...


def check_prefix(lm: HasPrefix) -> None:
    """Refuse to score a text without a prompt where there is no token that can stand for an empty prompt.

    Raises:
        EditError: the tokenizer has neither BOS nor EOS, and none was given.
    """
    if lm.prefix_token_id is None:
        raise EditError(
            "the task has an empty prompt, which a BOS or EOS token has to stand for, and the tokenizer has neither; "
            "give prefix_token_id=ID, or tokenizer= with one that has"
        )


def keep_padding_in_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Pad with a token that the model has.

    lm-eval adds a padding token to a tokenizer that has none to take instead, and its number is past the end of the
    model's embeddings. Padding is masked, so that any token does.
    """
    count = None
    # A model with code of its own may not say where its embeddings are.
    with contextlib.suppress(AttributeError, NotImplementedError):
        count = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if count is not None and tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= count:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
