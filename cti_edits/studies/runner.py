"""The order of a study: measure the units that its file lacks, then make the table and the picture of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cti_edits.errors import EditError
from cti_edits.pictures import write_svg
from cti_edits.progress import Progress
from cti_edits.studies.context import StudyContext
from cti_edits.studies.study import Question, Record, Study, Table
from cti_edits.studies.study_file import StudyFile


def question_of(
    study: Study,
    task: str,
    model: str,
    roles: Sequence[str],
    given: Mapping[str, Any],
    model_args: str = "",
    dtype: str = "auto",
) -> Question:
    """What a study is asked, with its own defaults where nothing is said.

    Args:
        study: the study.
        task: name of the task.
        model: hub id or checkpoint folder.
        roles: of matrices that the model's family has.
        given: fields of `Question` that were said.
        model_args: more arguments of the model, as they were written.
        dtype: that the model is loaded in.

    Raises:
        EditError: a value is out of range, or held-out rows are asked for where a study measures on none.
    """
    defaults = study.defaults
    if defaults.test_rows is None and given.get("test_rows") is not None:
        raise EditError(f"test_rows: the study {study.name} measures on no held-out rows")
    chosen = {**vars(defaults), "matrices": defaults.matrices or tuple(roles), **given}
    return Question(study=study.name, task=task, model=model, model_args=model_args, dtype=dtype, **chosen)


def measured(study: Study, context: StudyContext, file: StudyFile, progress: Progress) -> list[Record]:
    """Every unit of the study, in its order. What the file has is not measured again; the rest goes to it at once.

    Raises:
        EditError: see the studies; or the file cannot be written.
    """
    planned = [unit.key for unit in study.units(context)]
    done = sum(key in file.records for key in planned)
    if done:
        progress.note(f"{done} of {len(planned)} units are in {file.path} already")
    # Gone through again and not kept: units of one draw share what takes memory.
    for unit in study.units(context):
        if unit.key in file.records:
            continue
        record = unit.measure()
        if record.key != unit.key:
            raise ValueError(f"the unit {unit.key} was measured as {record.key}")
        file.append(record)
        done += 1
        progress.note(f"{study.name}: {done} of {len(planned)} units")
    return [file.records[key] for key in planned]


def picture_of(study: Study, question: Question, records: Sequence[Record], target: Path) -> Table:
    """Draw the picture of a study, and return its table.

    Raises:
        WriteError: it cannot be written.
    """
    table = study.table(records)
    asked = f"Task {question.task}, model {question.model}."
    write_svg(target, study.title, f"{asked} {table.in_words()}.", lambda figure: study.draw(figure, records))
    return table
