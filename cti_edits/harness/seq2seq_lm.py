"""Encoder-decoders (T5, BART, Marian) as lm-eval models, with an edit: the answer is scored in the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForSeq2SeqLM, PretrainedConfig

from cti_edits.errors import EditError
from cti_edits.harness.autoregressive_lm import EditedAutoregressiveLM, answer_loss
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import ScoredTokens

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

    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """See `EditedHFLM.answer_losses`. Rows are padded on the right, in the encoder under its mask."""
        asked = [self.gold_tokens(request) for request in requests]
        inputs, mask = padded([one.tokens for one in asked], 0)
        # The model makes what its decoder is given of the answer itself, each family in a way of its own.
        labels, _ = padded([one.answer for one in asked])
        logits = self.model(
            input_ids=inputs.to(self.device), attention_mask=mask.to(self.device), labels=labels.to(self.device)
        ).logits
        return torch.stack([answer_loss(logits[row, : len(one.answer)], one.answer) for row, one in enumerate(asked)])

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
