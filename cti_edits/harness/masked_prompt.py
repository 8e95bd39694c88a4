"""Prompts with masks as tokens: positions of the masks, the masks that an answer takes, and truncation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MASK = "<mask>"
"""A mask in a task's prompts, whatever the model's own mask token is."""


@dataclass(frozen=True)
class MaskedPrompt:
    """The input of a masked language model.

    Attributes:
        tokens: token ids, special tokens and masks among them.
        places: positions in ``tokens``, ascending, of the masks whose predictions are read.
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]


class PromptEncoder:
    """Turns prompts into the tokens that the tokenizer makes of them with the model's own mask token.

    A blank before a mask belongs to what the mask stands for, as " true" is one token: RoBERTa's published tokenizer
    takes it into the mask, and the same tokenizer made by transformers 5 from its vocabulary alone does not. Here it
    is taken out of the prompt first, so that both give the same.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        """Take the special tokens from what ``tokenizer``, of transformers, puts around a text.

        Args:
            tokenizer: a transformers tokenizer.
            max_length: tokens that the model takes, special ones included.

        Raises:
            EditError: the tokenizer has no mask token, or ``max_length`` has no room for one.
        """
        if tokenizer.mask_token is None:
            raise EditError(f"the tokenizer {printable(tokenizer.name_or_path)!r} has no mask token")
        self._tokenizer = tokenizer
        self._mask_text: str = tokenizer.mask_token
        self._mask: int = tokenizer.mask_token_id
        alone = list(tokenizer(self._mask_text)["input_ids"])
        at = alone.index(self._mask)
        self._before, self._after = tuple(alone[:at]), tuple(alone[at + 1 :])
        self._room = max_length - len(self._before) - len(self._after)
        if self._room < 1:
            raise EditError(f"max_length: expected more than {max_length - self._room}, got {max_length}")

    def prompt(self, context: str) -> MaskedPrompt:
        """A prompt, all of whose masks are read.

        Raises:
            EditError: it has no mask, or its masks stand too far apart for the model's length.
        """
        tokens, places = self._tokens_and_masks(self._with_own_mask(context))
        if not places:
            raise EditError(
                f"a masked language model writes at the masks of its prompt, and this one has none: "
                f"{printable(context, 80)!r}; use a task whose prompts hold {MASK}"
            )
        return self._cut(tokens, places)

    def answered(self, context: str, answer: str) -> tuple[MaskedPrompt, tuple[int, ...]]:
        """A prompt with one mask for each token of an answer, and these tokens.

        The answer takes the prompt's masks from the first on. What it does not need stays a mask; where it needs
        more, they are put after the last one, so that a single mask grows to the answer's length. A prompt without
        a mask gets them at its end.

        An answer that starts without a blank gets the one before its mask, as in lm-eval, where blanks at a context's
        end belong to the continuation.

        Raises:
            EditError: the answer has no tokens, or more than the model's length.
        """
        text = self._with_own_mask(context)
        if self._mask_text not in text:
            text += self._mask_text
        before, _, _ = text.partition(self._mask_text)
        if not answer[:1].isspace():
            answer = before[len(before.rstrip()) :] + answer
        wanted = self._encode(answer)
        if not wanted:
            raise EditError(f"the answer {printable(answer)!r} to {printable(context, 80)!r} has no tokens")
        tokens, places = self._tokens_and_masks(text)
        missing = max(0, len(wanted) - len(places))
        after_last = places[-1] + 1
        tokens[after_last:after_last] = [self._mask] * missing
        places += range(after_last, after_last + missing)
        return self._cut(tokens, places[: len(wanted)]), tuple(wanted)

    @property
    def room(self) -> int:
        """Tokens of a text that the model takes beside its special tokens."""
        return self._room

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, without special ones."""
        return self._encode(text)

    def masked(self, tokens: Sequence[int], places: Sequence[int]) -> MaskedPrompt:
        """Tokens of a text with masks at some places, and the special tokens around them."""
        at = set(places)
        inside = [self._mask if place in at else token for place, token in enumerate(tokens)]
        return self._cut(inside, list(places))

    def _with_own_mask(self, context: str) -> str:
        return context.replace(MASK, self._mask_text)

    def _tokens_and_masks(self, text: str) -> tuple[list[int], list[int]]:
        """The tokens of a text with the model's own masks, and which of them are masks."""
        tokens = self._encode(re.sub(r"\s+(?=" + re.escape(self._mask_text) + ")", "", text))
        return tokens, [index for index, token in enumerate(tokens) if token == self._mask]

    def _encode(self, text: str) -> list[int]:
        # verbose=False: the tokenizer would warn of texts that are cut here.
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _cut(self, tokens: list[int], places: list[int]) -> MaskedPrompt:
        """Put the special tokens around what fits: cut on the left up to the first place, and then on the right."""
        start = min(max(0, len(tokens) - self._room), places[0])
        if places[-1] - start >= self._room:
            raise EditError(
                f"the masks of a prompt span {places[-1] - start + 1} tokens, and the model takes {self._room} "
                "besides its special tokens"
            )
        kept = tokens[start : start + self._room]
        offset = len(self._before) - start
        return MaskedPrompt((*self._before, *kept, *self._after), tuple(place + offset for place in places))
