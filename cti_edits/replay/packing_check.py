"""Whether a model heeds the masks of packed rows: some look at a window of their own, or have kernels without masks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from cti_edits.errors import printable
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.questions import Question, TokenSequence, UnsupportedError
from cti_edits.replay.batches import ReadBatch
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.onednn import linear_by_onednn

HEEDING = ("eager", "sdpa")
"""Attention of transformers that takes any mask."""

CLOSE = 1e-3
"""Packed and by itself, a sequence's log-probabilities differ by rounding: at most so much, or the packing is wrong."""

CLOSE_IN_HALF = 0.25
"""In half precision: in the mean. Some of many logits about 20 are further off, and with wrong masks most are."""


def check_packing(
    lm: EditedHFLM, replay: BlockReplay, questions: Sequence[Question], batches: Sequence[ReadBatch]
) -> None:
    """Compare packed sequences with the same ones by themselves.

    Args:
        lm: an unedited model of `lm` or `masked_lm`.
        replay: of it.
        questions: what is asked.
        batches: of these.

    Raises:
        UnsupportedError: they differ.
    """
    attention = getattr(lm.model.config, "_attn_implementation", None)
    if attention is not None and attention not in HEEDING:
        raise UnsupportedError(f"attention by {attention} does not take the masks of packed rows")
    lengths = {
        (example, number): len(sequence.tokens)
        for example, question in enumerate(questions)
        for number, sequence in enumerate(question.sequences)
    }
    # What a model does on its own account shows where a sequence is long, or where a row holds much: in the row of the
    # longest sequence, that and the one that comes last. One that goes by columns in the place of positions, as ALiBi
    # may, errs where a sequence begins with tokens of another one, the more the further away those are.
    longest = max(lengths, key=lambda name: lengths[name])
    (batch,) = (batch for batch in batches if longest in batch.reads)
    last = max(
        batch.reads, key=lambda name: (batch.paths[name][0] == batch.paths[longest][0], batch.paths[name][1][-1])
    )
    wanted = {number: {longest, last} for number, one in enumerate(batches) if one is batch}
    gaps = [(_gap(one.paths[name][1]), number, name) for number, one in enumerate(batches) for name in one.reads]
    _, number, widest = max(gaps, key=lambda found: found[0])
    if _gap(batches[number].paths[widest][1]):
        wanted.setdefault(number, set()).add(widest)
    for number, names in wanted.items():
        _check_batch(lm, replay, questions, batches[number], names)


def _gap(columns: Sequence[int]) -> int:
    """How many columns of other sequences lie between those of one."""
    return columns[-1] - columns[0] + 1 - len(columns)


def _check_batch(
    lm: EditedHFLM,
    replay: BlockReplay,
    questions: Sequence[Question],
    batch: ReadBatch,
    names: Collection[tuple[int, int]],
) -> None:
    """Compare sequences of one batch, by example and number, with the same ones by themselves."""
    with torch.no_grad():
        try:
            with linear_by_onednn(lm.model):
                found = replay.logits(batch.packed, 0, None, batch.rows, batch.columns)
        except (TypeError, ValueError, RuntimeError) as error:
            if should_reduce_batch_size(error):
                raise
            said = printable(error, 200)
            raise UnsupportedError(f"{type(lm.model).__name__} takes no masks of packed rows: {said}") from None
        for name in names:
            _check_sequence(lm, questions[name[0]].sequences[name[1]], found[batch.reads[name]])


def _check_sequence(lm: EditedHFLM, sequence: TokenSequence, found: torch.Tensor) -> None:
    """Compare the logits at a sequence's places, (places, vocabulary), with those that it gives by itself."""
    tokens = torch.tensor([sequence.tokens], device=lm.device)
    precision = lm.mixed_precision_dtype
    with torch.autocast(torch.device(lm.device).type, dtype=precision, enabled=precision is not None):
        alone = lm.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    check_alike(lm, found, alone[0, list(sequence.places)], "when sequences are packed")


def check_alike(lm: EditedHFLM, found: torch.Tensor, alone: torch.Tensor, where: str) -> None:
    """Compare logits at some places, (places, vocabulary), with those of a pass that has nothing else.

    Raises:
        UnsupportedError: they differ by more than rounding; ``where`` says when.
    """
    expected = torch.log_softmax(alone.float(), dim=-1)
    differences = (torch.log_softmax(found.float(), dim=-1) - expected).abs()
    # A token may have no probability at all. What is not finite else is said by who evaluates it.
    differences = differences[torch.isfinite(differences)]
    if not len(differences):
        return
    half = {lm.model.dtype, lm.mixed_precision_dtype} & {torch.float16, torch.bfloat16}
    off = float(differences.mean() if half else differences.max())
    if not off <= (CLOSE_IN_HALF if half else CLOSE):
        raise UnsupportedError(f"{type(lm.model).__name__} gives other logits {where} (by {off:.2g})")
