"""What the steps of a search give, as JSON in its log: exactly, so that what is read is what was written."""

from __future__ import annotations

import base64
import dataclasses
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cti_edits.artifact.records import Guard
from cti_edits.harness.evaluation import Evaluation
from cti_edits.search.candidates import Candidate
from cti_edits.search.outcome import Outcome
from cti_edits.search.search_log import Json

if TYPE_CHECKING:
    import torch


def vector_json(values: torch.Tensor) -> str:
    """(n,) float64: base64 of its little-endian bytes."""
    return _packed(values.tolist())


def vector_from(text: Json) -> torch.Tensor:
    """The (n,) float64 that `vector_json` wrote. Raises what comes of something else."""
    import torch

    return torch.tensor(_unpacked(text), dtype=torch.float64)


def vectors_json(values: Sequence[torch.Tensor]) -> list[str]:
    """Each as `vector_json`."""
    return [vector_json(one) for one in values]


def vectors_from(texts: Json) -> list[torch.Tensor]:
    """Each as `vector_from`."""
    if not isinstance(texts, list):
        raise TypeError(texts)
    return [vector_from(one) for one in texts]


def fields_of(candidate: Candidate) -> dict[str, Json]:
    """What tells a candidate from all others."""
    return {"kind": type(candidate).__name__, **dataclasses.asdict(candidate)}


def evaluation_json(found: Evaluation) -> dict[str, Json]:
    """An evaluation; right and wrong as "1011"."""
    written = {**dataclasses.asdict(found), "correct": _bits(found.correct)}
    # One of them may be -inf, which JSON cannot say.
    if found.likelihoods is not None:
        written["likelihoods"] = [_packed(row) for row in found.likelihoods]
    return written


def evaluation_from(value: Json) -> Evaluation:
    """What `evaluation_json` wrote. Raises what comes of something else."""
    predicted, likelihoods = value["predicted"], value["likelihoods"]
    return Evaluation(
        float(value["accuracy"]),
        float(value["nll"]),
        _correct(value["correct"]),
        None if predicted is None else tuple(int(one) for one in predicted),
        None if likelihoods is None else tuple(_unpacked(row) for row in likelihoods),
    )


def outcome_json(found: Outcome) -> dict[str, Json]:
    """What a candidate gave, but for the candidate itself."""
    written = {**dataclasses.asdict(found), "correct": _bits(found.correct)}
    del written["candidate"]
    return written


def outcome_from(candidate: Candidate | None, value: Json) -> Outcome:
    """What `outcome_json` wrote. Raises what comes of something else."""
    predicted, balanced = value["predicted"], value["balanced"]
    return Outcome(
        candidate,
        float(value["accuracy"]),
        float(value["nll"]),
        _correct(value["correct"]),
        int(value["added_parameters"]),
        str(value["partition"]),
        None if predicted is None else tuple(int(one) for one in predicted),
        None if balanced is None else float(balanced),
    )


def guard_from(value: Json) -> Guard:
    """What `dataclasses.asdict` made of a guard's figures. Raises what comes of something else."""
    return Guard(**value)


def _packed(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def _unpacked(text: Json) -> tuple[float, ...]:
    content = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(content) // 8}d", content)


def _bits(correct: Sequence[bool]) -> str:
    return "".join("1" if one else "0" for one in correct)


def _correct(text: Json) -> tuple[bool, ...]:
    if not isinstance(text, str) or set(text) - {"0", "1"}:
        raise ValueError(text)
    return tuple(one == "1" for one in text)
