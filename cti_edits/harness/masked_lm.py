"""Masked language models (RoBERTa, BERT, ModernBERT and others) as lm-eval models, with an edit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]
from lm_eval.models.utils_hf import clear_torch_cache
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import AutoModelForMaskedLM, PretrainedConfig

from cti_edits.errors import EditError, one_line_in_command
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import EditedHFLM, ScoredTokens, equal_pieces
from cti_edits.harness.logit_rounding import beyond_rounding
from cti_edits.harness.masked_prompt import MASK, MaskedPrompt, PromptEncoder
from cti_edits.harness.task import Instance
from cti_edits.models.projection import projected_at

PADDING_TRIED = 16
"""So many tokens after a text show whether the model hides them from it."""


MASKED_EVERY = 8
"""Of a text that has no answer, one token of so many is masked."""


class EditedMaskedLM(EditedHFLM):
    """A masked language model with an edit. Arguments as `EditedHFLM` has them, without HFLM's ``backend``.

    In prompts ``<mask>`` stands for the model's own mask token. An answer is scored at masks in its place: see
    `masked_prompt.PromptEncoder.answered` for which. Prompts that are too long are cut on the left, with the masks
    and the special tokens kept.

    With ``batch_size=auto`` a pass starts at ``max_batch_size`` prompts and halves whenever the memory is exhausted.
    """

    kind = "masked"
    AUTO_MODEL_CLASS = AutoModelForMaskedLM

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._prompts = PromptEncoder(self.tokenizer, self.max_length)

    @property
    def max_length(self) -> int:
        """Tokens that the model takes, special ones included."""
        if self._max_length:
            return int(self._max_length)
        return int(super().max_length) - unused_positions(self.model)

    @one_line_in_command()
    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Summed log-probability of each answer's tokens at their masks, and whether each is the likeliest there.

        All of an answer's tokens are masked at once, and read from one forward pass. Answers that mask the same
        prompt in the same way share that pass.

        Args:
            requests: lm-eval instances with arguments (context, continuation).
            disable_tqdm: show no progress bar.

        Raises:
            EditError: an answer has no tokens, or does not fit the model's length.
        """
        self.check_requests(requests)
        encoded = [self._prompts.answered(*request.args) for request in requests]
        results = [(0.0, False)] * len(requests)
        with self._progress("loglikelihood", len(requests), disable_tqdm) as advance:
            for rows, logits in self._predictions([prompt for prompt, _ in encoded]):
                logprobs = self.log_probabilities(logits)
                likeliest = logprobs.argmax(dim=-1)
                for row in rows:
                    answer = torch.tensor(encoded[row][1], device=logprobs.device)
                    total = logprobs.gather(-1, answer[:, None]).sum()
                    results[row] = (float(total), bool((likeliest == answer).all()))
                    self.cache_hook.add_partial("loglikelihood", requests[row].args, results[row])
                advance(len(rows))
        return results

    @one_line_in_command()
    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:  # noqa: ARG002
        """Refused: a masked language model gives no probability to a whole text.

        Raises:
            EditError: always.
        """
        raise EditError(
            "a masked language model has no rolling log-likelihood; use a task whose output_type is loglikelihood, "
            "multiple_choice or generate_until"
        )

    @one_line_in_command()
    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The likeliest token at each of the prompt's masks, decoded and cut at the first of the ``until`` strings.

        The masks say how many tokens there are: ``max_gen_toks`` and the arguments of sampling change nothing.

        Args:
            requests: lm-eval instances with arguments (context, generation arguments).
            disable_tqdm: show no progress bar.

        Raises:
            EditError: a prompt has no mask, or its masks do not fit the model's length.
        """
        self.check_requests(requests)
        prompts = [self._prompts.prompt(request.args[0]) for request in requests]
        results = [""] * len(requests)
        with self._progress("generate_until", len(requests), disable_tqdm) as advance:
            for rows, logits in self._predictions(prompts):
                text = self.tok_decode(logits.argmax(dim=-1).tolist())
                for row in rows:
                    results[row] = cut_at(text, requests[row].args[1].get("until"))
                    self.cache_hook.add_partial("generate_until", requests[row].args, results[row])
                advance(len(rows))
        return results

    def scored_tokens(self, context: str, continuation: str) -> ScoredTokens:
        """See `EditedHFLM.scored_tokens`. As in `loglikelihood`, all of an answer's tokens are masked at once."""
        prompt, answer = self._prompts.answered(context, continuation)
        return ScoredTokens(prompt.tokens, prompt.places, answer)

    def log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """See `EditedHFLM.log_probabilities`."""
        return torch.log_softmax(self._widened(logits), dim=-1)

    def masked_prompt(self, context: str) -> MaskedPrompt:
        """What `generate_until` gives the model.

        Raises:
            EditError: the prompt has no mask, or its masks do not fit the model's length.
        """
        return self._prompts.prompt(context)

    def text_pieces(self, text: str, width: int) -> list[ScoredTokens]:
        """See `EditedHFLM.text_pieces`. One token of every `MASKED_EVERY` is masked, all of a piece at once."""
        found = []
        for piece in equal_pieces(self._prompts.tokens(text), min(width, self._prompts.room)):
            masked = range(min(MASKED_EVERY, len(piece)) // 2, len(piece), MASKED_EVERY)
            prompt = self._prompts.masked(piece, masked)
            found.append(ScoredTokens(prompt.tokens, prompt.places, tuple(piece[place] for place in masked)))
        return found

    def answer_logits(self, scored: Sequence[ScoredTokens]) -> list[torch.Tensor]:
        """See `EditedHFLM.answer_logits`."""
        return self._logits([MaskedPrompt(one.tokens, one.places) for one in scored])

    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """See `EditedHFLM.answer_losses`. As in `loglikelihood`, all of an answer's tokens are masked at once."""
        encoded = [self.gold_tokens(request) for request in requests]
        losses = [
            torch.nn.functional.cross_entropy(self._widened(logits), torch.tensor(scored.answer, device=logits.device))
            for logits, scored in zip(self.answer_logits(encoded), encoded, strict=True)
        ]
        return torch.stack(losses)

    def _get_backend(
        self,
        config: PretrainedConfig,  # noqa: ARG002
        backend: str = "default",
        trust_remote_code: bool | None = False,  # noqa: ARG002
    ) -> None:
        """See HFLM, which would take RoBERTa for a causal model."""
        if backend != "default":
            raise EditError(f"backend: a masked language model has none to choose, got {backend!r}")
        self.backend = "masked"

    @contextlib.contextmanager
    def _progress(self, what: str, total: int, disable: bool) -> Iterator[Callable[[int], object]]:
        with tqdm(total=total, disable=disable or self.rank != 0, desc=f"Running {what} requests") as bar:
            yield bar.update

    def _predictions(self, prompts: Sequence[MaskedPrompt]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The logits at each prompt's places, without gradients, and the rows of ``prompts`` that they are for.

        Equal prompts are run once. The longest go first, so that what does not fit the memory shows at once.
        """
        rows: dict[MaskedPrompt, list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows.setdefault(prompt, []).append(row)
        waiting = sorted(rows, key=lambda prompt: -len(prompt.tokens))
        automatic = self.batch_size == "auto"
        size = self.max_batch_size if automatic else self.batch_size
        done = 0
        while done < len(waiting):
            batch = waiting[done : done + size]
            logits = self._logits_if_they_fit(batch, may_fail=automatic and size > 1)
            if logits is None:
                size //= 2
                clear_torch_cache()
                continue
            if automatic:
                self.batch_sizes[0] = size
            for prompt, found in zip(batch, logits, strict=True):
                yield rows[prompt], found
            done += len(batch)

    def _logits_if_they_fit(self, prompts: Sequence[MaskedPrompt], may_fail: bool) -> list[torch.Tensor] | None:
        """`_logits` without gradients; None where the memory is exhausted and ``may_fail``."""
        try:
            with torch.no_grad():
                return self._logits(prompts)
        except RuntimeError as error:
            if not (may_fail and should_reduce_batch_size(error)):
                raise
            return None

    def _logits(self, prompts: Sequence[MaskedPrompt]) -> list[torch.Tensor]:
        """The logits at each prompt's places, (places, vocabulary), from one forward pass.

        Rows are padded on the right, where the attention mask hides any token and no position before it changes. Where
        it does not hide them, as from convolutions, there is a pass for each length.
        """
        lengths = sorted({len(prompt.tokens) for prompt in prompts})
        if len(lengths) == 1 or self._padding_is_hidden:
            return self._logits_of_batch(prompts)
        found: dict[int, torch.Tensor] = {}
        for length in lengths:
            rows = [row for row, prompt in enumerate(prompts) if len(prompt.tokens) == length]
            found |= zip(rows, self._logits_of_batch([prompts[row] for row in rows]), strict=True)
        return [found[row] for row in range(len(prompts))]

    @cached_property
    def _padding_is_hidden(self) -> bool:
        """Whether a short text gets the same logits with padding after it as alone."""
        alone = self._prompts.prompt(MASK)
        more = min(PADDING_TRIED, self.max_length - len(alone.tokens))
        longer = MaskedPrompt(alone.tokens + alone.tokens[-1:] * more, alone.places)
        with torch.no_grad():
            (expected,) = self._logits_of_batch([alone])
            found, _ = self._logits_of_batch([alone, longer])
        return beyond_rounding(self, found, expected) is None

    def _logits_of_batch(self, prompts: Sequence[MaskedPrompt]) -> list[torch.Tensor]:
        longest = max(len(prompt.tokens) for prompt in prompts)
        inputs = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for row, prompt in enumerate(prompts):
            inputs[row, : len(prompt.tokens)] = torch.tensor(prompt.tokens)
            mask[row, : len(prompt.tokens)] = 1
        rows = torch.tensor([row for row, prompt in enumerate(prompts) for _ in prompt.places], device=self.device)
        columns = torch.tensor([place for prompt in prompts for place in prompt.places], device=self.device)
        precision = self.mixed_precision_dtype
        with (
            torch.autocast(self.device.type, dtype=precision, enabled=precision is not None),
            projected_at(self.model.get_output_embeddings(), rows, columns),
        ):
            logits = self.model(input_ids=inputs.to(self.device), attention_mask=mask.to(self.device)).logits
        if logits.ndim == 3:
            logits = logits[rows.to(logits.device), columns.to(logits.device)]
        return list(logits.split([len(prompt.places) for prompt in prompts]))

    def _widened(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits in float32 where they are in half precision, which would lose log-probabilities in rounding."""
        if self.softmax_dtype is not None:
            return logits.to(self.softmax_dtype)
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def unused_positions(model: torch.nn.Module) -> int:
    """How many of a model's position embeddings no token ever has.

    RoBERTa and its kin count positions from padding_idx + 1 on: of 514 positions, a text has 512.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def cut_at(text: str, until: str | Sequence[str] | None) -> str:
    """``text`` up to the first of the ``until`` strings."""
    stops = [until] if isinstance(until, str) else (until or [])
    return min((text.split(stop)[0] for stop in stops if stop), key=len, default=text)
