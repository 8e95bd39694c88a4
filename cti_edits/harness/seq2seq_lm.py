"""Encoder-decoders (T5, BART, Marian) as lm-eval models, with an edit: the answer is scored in the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForSeq2SeqLM, PretrainedConfig

from cti_edits.errors import EditError
from cti_edits.harness.autoregressive_lm import EditedAutoregressiveLM, answer_loss
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import ScoredTokens, equal_pieces

NO_TOKEN = -100
"""A label that transformers leaves out, where answers of one pass differ in length."""


class EditedSeq2SeqLM(EditedAutoregressiveLM):
    """An encoder-decoder with an edit. Arguments as `EditedHFLM` has them.

    The encoder is given the context, with the special tokens of its tokenizer, and the decoder the answer without any:
    what lm-eval's ``hf`` model does with ``backend=seq2seq``.
    """

    kind = "seq2seq"
    AUTO_MODEL_CLASS = AutoModelForSeq2SeqLM

    def scored_tokens(self, context: str, continuation: str) -> ScoredTokens:
        """See `EditedHFLM.scored_tokens`. A context that is too long is cut on the left."""
        prompt, answer = self.encoded(context, continuation)
        return ScoredTokens(tuple(prompt[-self.max_length :]), tuple(range(len(answer))), tuple(answer))

    def text_pieces(self, text: str, width: int) -> list[ScoredTokens]:
        """See `EditedHFLM.text_pieces`. The encoder reads the first half of each, the decoder writes the second."""
        tokens = self.tok_encode(text, add_special_tokens=False)
        before, after = self._around(tokens[:1])
        room = 2 * (self.max_length - len(before) - len(after))
        found = []
        for piece in equal_pieces(tokens, min(width, room)):
            read, written = piece[: len(piece) // 2], piece[len(piece) // 2 :]
            found.append(ScoredTokens((*before, *read, *after), tuple(range(len(written))), written))
        return found

    def _around(self, token: list[int]) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before a text and after it."""
        text = self.tok_decode(token)
        alone, inside = self.tok_encode(text, add_special_tokens=False), self.tok_encode(text)
        for start in range(len(inside) - len(alone) + 1):
            if inside[start : start + len(alone)] == alone:
                return inside[:start], inside[start + len(alone) :]
        return [], []

    def answer_logits(self, scored: Sequence[ScoredTokens]) -> list[torch.Tensor]:
        """See `EditedHFLM.answer_logits`. Rows are padded on the right, in the encoder under its mask."""
        inputs, mask = padded([one.tokens for one in scored], 0)
        # The model makes what its decoder is given of the answer itself, each family in a way of its own.
        labels, _ = padded([one.answer for one in scored])
        logits = self.model(
            input_ids=inputs.to(self.device), attention_mask=mask.to(self.device), labels=labels.to(self.device)
        ).logits
        return [logits[row, : len(one.answer)] for row, one in enumerate(scored)]

    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """See `EditedHFLM.answer_losses`."""
        asked = [self.gold_tokens(request) for request in requests]
        pairs = zip(self.answer_logits(asked), asked, strict=True)
        return torch.stack([answer_loss(logits, one.answer) for logits, one in pairs])

    def _get_backend(
        self,
        config: PretrainedConfig,  # noqa: ARG002
        backend: str = "default",
        trust_remote_code: bool | None = False,  # noqa: ARG002
    ) -> None:
        """See HFLM."""
        if backend not in ("default", "seq2seq"):
            raise EditError(f"backend: an encoder-decoder takes seq2seq alone, got {backend!r}")
        self.backend = "seq2seq"


def padded(rows: Sequence[Sequence[int]], value: int = NO_TOKEN) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, (rows, width), padded with ``value`` on the right to the longest row; and the mask, 0 for padding."""
    found = torch.full((len(rows), max(map(len, rows))), value)
    mask = torch.zeros_like(found)
    for number, row in enumerate(rows):
        found[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return found, mask
