"""What the units of a study share: the model, its matrices, the calibration rows of each draw, the held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, draw, final_part, validation_row_count
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.task import Task
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix, target_matrices
from cti_edits.progress import Progress
from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.session import Session
from cti_edits.search.candidates import MatrixId
from cti_edits.search.evaluate import completed
from cti_edits.studies.study import Question


@dataclass(frozen=True)
class EvaluatedRows:
    """Rows, and how the unedited model does on them.

    Attributes:
        rows: the rows.
        evaluator: of them; it was asked about the unedited model first.
        unedited: what it said.
    """

    rows: CalibrationSet
    evaluator: Evaluator
    unedited: Evaluation


class StudyContext:
    """What units are measured with. Rows are drawn and evaluated when a unit first asks for them.

    Attributes:
        question: what the study is asked.
        session: of the unedited model.
        progress: is told about each phase.
        cache: where decompositions come from.
    """

    def __init__(self, question: Question, session: Session, task: Task, progress: Progress) -> None:
        """Take the question, the model and the task's rows."""
        self.question, self.session, self.progress = question, session, progress
        self.cache = SpectrumCache()
        self._task = task
        self._drawn: tuple[tuple[int, int], CalibrationSet] | None = None
        self._evaluated: tuple[tuple[int, int], EvaluatedRows] | None = None

    @property
    def seeds(self) -> range:
        """Of the draws."""
        return range(self.question.seed, self.question.seed + self.question.seeds)

    @property
    def validation_rows(self) -> int:
        """How many rows calibration rows are drawn from."""
        return validation_row_count(self._task)

    def targets(self, matrices: Sequence[str] | None = None) -> dict[MatrixId, TargetMatrix]:
        """The matrices of these roles, or of the question's, layer by layer."""
        roles = tuple(self.question.matrices if matrices is None else matrices)
        return {one.id: one for one in target_matrices(self.session.lm.model, roles)}

    def calibration(self, seed: int, samples: int | None = None) -> CalibrationSet:
        """The calibration rows of a draw: so many, or as many as the question says. The last draw is kept."""
        which = seed, self.question.samples if samples is None else samples
        if self._drawn is None or self._drawn[0] != which:
            self._drawn = which, draw(self._task, which[1], seed)
        return self._drawn[1]

    def evaluated(self, seed: int) -> EvaluatedRows:
        """The calibration rows of a draw and the unedited model on them. The last draw is kept."""
        which = seed, self.question.samples
        if self._evaluated is None or self._evaluated[0] != which:
            self._evaluated = which, self._evaluated_rows(self.calibration(seed))
        return self._evaluated[1]

    @cached_property
    def held_out(self) -> EvaluatedRows:
        """The first rows of the test part, as many as the question says or all, and the unedited model on them."""
        if self.question.test_rows is None:
            raise EditError(f"test_rows: the study {self.question.study} measures on no held-out rows")
        with self.progress.phase("held-out rows", 1) as advance:
            found = self._evaluated_rows(final_part(self._task, self.question.test_rows))
            advance(1)
        return found

    def _evaluated_rows(self, rows: CalibrationSet) -> EvaluatedRows:
        evaluator = self.session.evaluator(rows)
        return EvaluatedRows(rows, evaluator, completed(evaluator.evaluate()))


def place_name(clusters: int, place: MatrixId) -> str:
    """A matrix at a K, for a record.

    >>> place_name(4, MatrixId(7, "U_in"))
    'K 4, U_in of layer 7'
    """
    return f"K {clusters}, {place}"


def place_names(kept: Mapping[int, Sequence[MatrixId]]) -> list[str]:
    """The matrices that are kept at each K, for a record."""
    return [place_name(clusters, place) for clusters, places in kept.items() for place in places]
