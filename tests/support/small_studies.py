"""Studies of a tiny model on a task of two choices."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from cti_edits.harness.task import Task
from cti_edits.harness.tasks import load_task
from cti_edits.progress import Silent
from cti_edits.replay.session import Session
from cti_edits.studies.catalogue import find_study
from cti_edits.studies.context import StudyContext
from cti_edits.studies.runner import measured
from cti_edits.studies.study import Question, Record
from cti_edits.studies.study_file import StudyFile
from tests.support.small_searches import lm_of
from tests.support.small_tasks import write_task

FAMILY = "gptj"
ROLES = ("U_in", "U_out", "W_q", "W_k", "W_v", "W_o")
_CHOICE = """validation_split: validation
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""


def small_task(folder: Path) -> Task:
    """Ten rows of validation, and ten others of test."""
    return load_task(write_task(folder, "small_study", more=_CHOICE), str(folder))


def small_question(study: str, **changes: object) -> Question:
    """What a test asks: few rows, matrices and ρ."""
    few = Question(study, "small_study", "tiny", samples=10, test_rows=10, top_q=2, rates=(0.5, 0.1))
    return dataclasses.replace(few, **changes)  # type: ignore[arg-type]


@contextlib.contextmanager
def small_context(question: Question, folder: Path) -> Iterator[StudyContext]:
    """What the study's units are measured with, for as long as this is open."""
    with Session(lm_of(FAMILY)) as session:
        yield StudyContext(question, session, small_task(folder), Silent())


def records_of(question: Question, folder: Path, context: StudyContext | None = None) -> Sequence[Record]:
    """Every unit of a study, measured."""
    study = find_study(question.study)
    file = StudyFile(folder / f"{study.name}.jsonl", question, study.records)
    with contextlib.closing(file):
        if context is not None:
            return measured(study, context, file, Silent())
        with small_context(question, folder) as own:
            return measured(study, own, file, Silent())
