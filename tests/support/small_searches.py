"""Tiny models with lm-eval around them, calibration sets and edited weights, for tests of the evaluators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from cti_edits.artifact.matrix_id import StackName
from cti_edits.artifact.ranks import block_ranks
from cti_edits.harness.calibration import CalibrationSet, draw
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.masked_lm import EditedMaskedLM
from cti_edits.harness.seq2seq_lm import EditedSeq2SeqLM
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix, target_matrices, target_matrix
from cti_edits.progress import Progress, Silent
from cti_edits.replay.session import Session
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.outcome import Outcome
from cti_edits.search.settings import SearchSettings
from cti_edits.search.trials import SearchContext
from studies.tiny.encoder_decoders import SEQ2SEQ
from tests.support.small_tasks import write_task
from tests.support.tiny_models import MASKED, byte_tokenizer, tiny_model

_CHOICE = """validation_split: validation
doc_to_text: "{text}"
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""
# Whether a text counts as right depends on each of its letters.
_WRITTEN = """doc_to_text: "{text}"
doc_to_target: answer
validation_split: validation
generation_kwargs: {arguments}
process_results: !function ROWS.odd
"""
_ODD = """
import zlib

def odd(doc, results):
    return {"acc": float(zlib.crc32(results[0].encode()) & 1)}
"""
OUT_OF_MEMORY = "CUDA out of memory."


def lm_of(model_type: str, model: Any = None, **arguments: Any) -> Any:
    """An lm-eval model of a tiny one."""
    wrapped = {**dict.fromkeys(MASKED, EditedMaskedLM), **dict.fromkeys(SEQ2SEQ, EditedSeq2SeqLM)}
    chosen = tiny_model(model_type) if model is None else model
    tokenizer = byte_tokenizer(model_type in MASKED, model_type in SEQ2SEQ)
    return wrapped.get(model_type, EditedLM)(
        **{"pretrained": chosen, "tokenizer": tokenizer, "device": "cpu", "batch_size": 4, **arguments}
    )


def choices(folder: Path, samples: int = 7, masked: bool = False) -> CalibrationSet:
    """A multiple-choice task of two choices."""
    name = write_task(folder, "small_choice", more=_CHOICE.format(text="{{text}} says" + " <mask>" * masked))
    return draw(load_task(name, str(folder)), samples, seed=0)


def written(folder: Path, arguments: str, text: str = "{{text}} says", samples: int = 7) -> CalibrationSet:
    """A task that lets a model write, with these generation arguments."""
    more = _WRITTEN.format(text=text, arguments=arguments)
    name = write_task(folder, "small_written", "generate_until", more=more)
    with (folder / f"{name}_rows.py").open("a") as file:
        file.write(_ODD)
    return draw(load_task(name, str(folder)), samples, seed=0)


def edited_weights(
    model: Any,
    layers: Sequence[int] = (0, 1, 2),
    clusters: int = 2,
    rho: float = 0.1,
    stack: StackName | None = None,
) -> Iterator[tuple[TargetMatrix, torch.Tensor]]:
    """Matrices and what an edit makes of them."""
    for layer in layers:
        for matrix in ("U_in", "U_out"):
            target = target_matrix(model, matrix, layer, stack)
            shape = (target.weight.shape[0], target.weight.shape[1])
            yield target, truncate(target.weight, block_ranks(shape, clusters, rho))


class Notes(Silent):
    """Keeps what a person is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(what)


def search_context(
    lm: Any, calibration: CalibrationSet, settings: SearchSettings, folder: Path, progress: Progress | None = None
) -> SearchContext:
    """What a method is given, with decompositions from and into ``folder``."""
    targets = {MatrixId(one.layer, one.matrix): one for one in target_matrices(lm.model, settings.matrices)}
    session = Session(lm)
    return SearchContext(
        session, settings, targets, calibration, calibration, SpectrumCache(folder), progress or Silent()
    )


def rank_cut(outcome: Outcome) -> RankCut:
    """The candidate of an outcome of the paper's search, which is not the unedited model's."""
    assert isinstance(outcome.candidate, RankCut)
    return outcome.candidate


def failing(function: Callable[..., Any], fails: Callable[[Any], bool]) -> Callable[..., Any]:
    """``function``, but the memory is exhausted where ``fails`` says so of the ``input_ids``."""

    def run(*arguments: Any, **named: Any) -> Any:
        if fails(named["input_ids"]):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return function(*arguments, **named)

    return run
