"""Whether a model goes on with a text from keys and values as it goes on with the text itself, to the longest one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from cti_edits.errors import printable
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.questions import GeneratedText, Question, UnsupportedError
from cti_edits.models.projection import projected_at
from cti_edits.replay.block_replay import BlockReplay, CachePart
from cti_edits.replay.packed_rows import pack
from cti_edits.replay.packing_check import check_alike


def check_continuation(lm: EditedHFLM, replay: BlockReplay, questions: Sequence[Question]) -> None:
    """Compare the logits after the longest text that may be written with those of a pass over all of it.

    A model may look at a window that prompts are within and texts are not, or keep other things than keys and values.

    Args:
        lm: an unedited model of `lm`.
        replay: of it.
        questions: what is asked.

    Raises:
        UnsupportedError: they differ.
    """
    texts = [one for question in questions for one in question.asked if isinstance(one, GeneratedText)]
    if not texts:
        return
    longest = max(texts, key=lambda text: len(text.prompt) + text.generation.room)
    length = len(longest.prompt) + longest.generation.room - 1
    tokens = tuple(islice(cycle(longest.prompt), length))
    if length < 2:
        return
    with torch.no_grad():
        try:
            found = _continued(replay, tokens)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if should_reduce_batch_size(error):
                raise
            said = printable(error, 200)
            raise UnsupportedError(f"{type(lm.model).__name__} goes on with no text from its cache: {said}") from None
        check_alike(lm, found, _alone(lm, tokens), "when a text is continued")


def _continued(replay: BlockReplay, tokens: tuple[int, ...]) -> torch.Tensor:
    """The logits after ``tokens``, the last of which goes in by itself; (1, vocabulary)."""
    length = len(tokens)
    (batch,) = pack([tokens[:-1]], [0], causal=True, rows_per_batch=1)
    cache = replay.empty_cache()
    replay.logits(batch, 0, None, torch.tensor([0]), torch.tensor([length - 2]), cache)
    gathered = replay.gathered_cache([CachePart(cache, cache, [0], [list(range(length - 1))])], 0)
    visible = torch.ones((1, 1, length), dtype=torch.bool)
    at, seen = torch.tensor([[length - 1]]), torch.arange(length)[None]
    return replay.next_logits(torch.tensor([tokens[-1:]]), at, visible, seen, gathered)


def _alone(lm: EditedHFLM, tokens: tuple[int, ...]) -> torch.Tensor:
    """The logits after ``tokens``, in one pass; (1, vocabulary)."""
    ids = torch.tensor([tokens], device=lm.device)
    precision = lm.mixed_precision_dtype
    with (
        torch.autocast(torch.device(lm.device).type, dtype=precision, enabled=precision is not None),
        projected_at(lm.model.get_output_embeddings(), torch.tensor([0]), torch.tensor([len(tokens) - 1])),
    ):
        logits: torch.Tensor = lm.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[:, -1] if logits.ndim == 3 else logits
