"""What a method gives a search to try, and what it is given for that. `propose` functions go from one to the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.search.candidates import Candidate, MatrixId
from cti_edits.search.settings import SearchSettings


@dataclass(frozen=True)
class SearchContext:
    """What a method may look at to say what is tried.

    Attributes:
        session: of the unedited model.
        settings: what is asked for.
        targets: the matrices.
        calibration: the examples that every candidate is evaluated on.
        scored: the examples that gradients are taken on; often the same.
        cache: where decompositions come from.
        progress: is told about each phase.
    """

    session: Session
    settings: SearchSettings
    targets: Mapping[MatrixId, TargetMatrix]
    calibration: CalibrationSet
    scored: CalibrationSet
    cache: SpectrumCache
    progress: Progress


@dataclass(frozen=True)
class Trial:
    """A candidate with the weights that it gives the model.

    Attributes:
        candidate: the edit.
        weights: each matrix that it changes, with Ŵ (m, n) in the weight's own dtype.
        added_parameters: kept minus dense parameters.
        partition: how rows are assigned to blocks, as a manifest writes it.
    """

    candidate: Candidate
    weights: Sequence[tuple[TargetMatrix, torch.Tensor]]
    added_parameters: int = 0
    partition: str = ROW_BLOCKS


class Trials(Protocol):
    """The candidates of a search."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All of them, in the order in which the first of equals wins."""

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        """Those of ``wanted``, in the order in which they are cheapest to evaluate.

        Raises:
            EditError: a weight is not finite.
        """

    def as_applied(self, candidate: Candidate) -> Trial | None:
        """A candidate with the very bits that `apply.apply` gives its manifest; None where `trials` gave these."""

    def matrix_edits(self, candidate: Candidate, checkpoint: AnyCheckpoint | None) -> tuple[MatrixEdit, ...]:
        """What the manifest says of a candidate.

        Args:
            candidate: one of these.
            checkpoint: that the model was loaded from, if it was.
        """


def applied_trial(trials: Trials, candidate: Candidate) -> Trial:
    """A candidate with the bits that `apply.apply` gives it."""
    return trials.as_applied(candidate) or next(iter(trials.trials([candidate])))
