"""Greedy generation as ``lm_eval --model hf`` does it: whether a request asks for no more, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from cti_edits.harness.edited_model import EditedHFLM

WITHOUT_EFFECT = frozenset(
    {
        "transformers_version",
        "_from_model_config",
        "use_cache",
        "cache_implementation",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        "return_dict_in_generate",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
        "max_length",
    }
)
"""Keys of a generation config that do not change the likeliest next token, or that are read here."""

NEUTRAL: Mapping[str, float] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "diversity_penalty": 0.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
}


@dataclass(frozen=True)
class GreedyGeneration:
    """How one request is continued.

    Attributes:
        room: the most new tokens.
        until: strings at which the text is cut.
        ends: tokens that end it.
    """

    room: int
    until: tuple[str, ...]
    ends: frozenset[int]

    def finished(self, lm: EditedHFLM, tokens: Sequence[int]) -> bool:
        """Whether the generation ends with these tokens."""
        if len(tokens) >= self.room or tokens[-1] in self.ends:
            return True
        text = lm.tok_decode(list(tokens))
        return any(stop in text for stop in self.until if stop)

    def text(self, lm: EditedHFLM, tokens: Sequence[int]) -> str:
        """The text that lm-eval makes of the tokens."""
        decoded = lm.tok_decode(list(tokens))
        text: str = postprocess_generated_text(decoded, stop=list(self.until), think_end_token=None)
        return text


def greedy_generation(lm: EditedHFLM, arguments: Mapping[str, object]) -> GreedyGeneration | None:
    """How ``lm`` continues a request with these generation arguments; None if that is more than greedy generation.

    Args:
        lm: a causal model.
        arguments: of the request, a task's ``generation_kwargs``.
    """
    wanted = dict(normalize_gen_kwargs(dict(arguments), lm.max_gen_toks))
    room, sampled = int(wanted.pop("max_gen_toks")), bool(wanted.pop("do_sample", False))
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    until = handle_stop_sequences(wanted.pop("until", None), eos=eos)
    wanted.pop("temperature", None)
    if sampled or wanted or lm.think_end_token is not None or room >= lm.max_length:
        return None
    config = lm.model.generation_config
    for key, value in config.to_diff_dict().items():
        # 0 is not False here: it may be a token.
        neutral = value is None or value is False or (key in NEUTRAL and value == NEUTRAL[key])
        if key not in WITHOUT_EFFECT and not neutral:
            return None
    ends = config.eos_token_id
    found = [ends] if isinstance(ends, int) else (ends or [])
    return GreedyGeneration(room, tuple(until), frozenset(found))
