"""`EditedAutoregressiveLM`, the base class of the models that write a text from left to right.

Causal ones do, and encoder-decoders. How lm-eval's ``hf`` model scores and generates stays as it is; tokenizers without
special tokens are taken, too.
"""

from __future__ import annotations

from typing import Any

import torch

from cti_edits.errors import EditError, one_line_in_command, printable
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.special_tokens import check_prefix, keep_padding_in_vocabulary
from cti_edits.harness.task import Instance


class EditedAutoregressiveLM(EditedHFLM):
    """A model that writes from left to right, with an edit. Arguments as `EditedHFLM` has them."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        keep_padding_in_vocabulary(self.tokenizer, self.model)

    @one_line_in_command()
    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """See HFLM. Tasks whose prompts are for masked language models are refused."""
        self.check_requests(requests)
        if any(request.args[0] == "" for request in requests):
            check_prefix(self)
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    @one_line_in_command()
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """See HFLM. Tasks whose prompts are for masked language models are refused."""
        self.check_requests(requests)
        answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return answers

    @one_line_in_command()
    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """See HFLM, which puts the prefix token before each text."""
        self.check_requests(requests)
        check_prefix(self)
        answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        return answers

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **named: Any) -> list[int]:
        """See HFLM, which fails for tokenizers without a prefix token."""
        if add_special_tokens is None and self.prefix_token_id is None:
            add_special_tokens = self.add_bos_token is not False
        tokens: list[int] = super().tok_encode(string, add_special_tokens, **named)
        return tokens

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
        """See HFLM. None, which stands for the EOS token of a tokenizer without one, stays None and ends no text."""
        return None if tokens is None else super().tok_decode(tokens, skip_special_tokens=skip_special_tokens)

    def encoded(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Context and continuation as tokens, as `loglikelihood` has them: an empty context is the prefix token.

        Raises:
            EditError: the continuation has no tokens, or more than the model takes.
        """
        if context:
            prompt, answer = self._encode_pair(context, continuation)
        else:
            check_prefix(self)
            answer = self.tok_encode(continuation, add_special_tokens=False)
            prompt = [self.prefix_token_id]
            if answer and answer[0] == self.prefix_token_id:
                prompt, answer = answer[:1], answer[1:]
        if not answer:
            raise EditError(f"the answer {printable(continuation)!r} has no tokens")
        if len(answer) > self.max_length:
            raise EditError(
                f"the answer has {len(answer)} tokens, more than the {self.max_length} that the model takes"
            )
        return prompt, answer


def answer_loss(logits: torch.Tensor, answer: tuple[int, ...]) -> torch.Tensor:
    """The mean negative log-likelihood of an answer's tokens, nats, from the logits (tokens, vocabulary) before each.

    Half precision would lose the loss in rounding, and is widened; a wider model keeps its own precision.
    """
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return torch.nn.functional.cross_entropy(wide, torch.tensor(answer, device=logits.device))
