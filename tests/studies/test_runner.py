"""Every study ends, and one that was killed goes on to the same file, table and picture."""

from __future__ import annotations

import contextlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cti_edits.errors import EditError
from cti_edits.progress import Silent
from cti_edits.search.settings import RATES
from cti_edits.studies.catalogue import NAMES, find_study
from cti_edits.studies.runner import measured, picture_of, question_of
from cti_edits.studies.study import Question, Table
from cti_edits.studies.study_file import StudyFile
from tests.support.small_studies import ROLES, small_context, small_question

SMALLER: dict[str, dict[str, object]] = {
    "matrices": {"matrices": ("U_out", "W_q")},
    "samples": {"seeds": 2},
    "sigma": {"test_rows": None, "clusters": (1, 2)},
    "clusters": {"test_rows": None, "clusters": (1, 2)},
    "partition": {"clusters": (2,), "top_q": 1},
}


def run(question: Question, folder: Path) -> tuple[bytes, Table, bytes]:
    """The file, the table and the picture."""
    study = find_study(question.study)
    file = StudyFile(folder / "units.jsonl", question, study.records)
    with contextlib.closing(file), small_context(question, folder) as context:
        records = measured(study, context, file, Silent())
        own = {name: weight.clone() for name, weight in context.session.lm.model.state_dict().items()}
    assert all(bool((own[name] == weight).all()) for name, weight in context.session.lm.model.state_dict().items())
    table = picture_of(study, question, records, folder / "picture.svg")
    return file.path.read_bytes(), table, (folder / "picture.svg").read_bytes()


QUICK = ("sigma", "scorers")
"""One that searches and one that does not."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.thorough]) for name in NAMES]
)
def test_a_study_that_is_killed_goes_on_to_the_same_end(name: str, tmp_path: Path) -> None:
    question = small_question(name, **SMALLER.get(name, {}))
    (tmp_path / "whole").mkdir()
    written, table, picture = run(question, tmp_path / "whole")
    lines = written.splitlines(keepends=True)
    units = lines[1:]
    assert len(set(units)) == len(units) > 1
    assert all(len(row) == len(table.headings) for row in table.rows)
    assert len(table.rows) > 0
    # Killed while it wrote a unit: the file has those before it, and half of that one.
    cut = tmp_path / "cut"
    cut.mkdir()
    half = len(units) // 2
    (cut / "units.jsonl").write_bytes(b"".join(lines[: half + 1]) + units[half][:-20])
    assert run(question, cut) == (written, table, picture)
    # Nothing is measured again.
    assert run(question, cut) == (written, table, picture)
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{space}title") == find_study(name).title
    described = root.findtext(f"{space}desc")
    assert described == f"Task small_study, model tiny. {table.in_words()}."


def test_the_defaults_are_the_study_s_own() -> None:
    for name, samples, seeds, test_rows, clusters, matrices in (
        ("scorers", 100, 1, 1000, (1,), ("U_in", "U_out")),
        ("last", 100, 1, 1000, (1,), ("U_in", "U_out")),
        ("matrices", 100, 1, 1000, (1,), ROLES),
        ("samples", 500, 5, 1000, (1,), ("U_in", "U_out")),
        ("sigma", 100, 1, None, (1,), ("U_in", "U_out")),
        ("clusters", 100, 1, None, (1, 2, 4, 8, 16), ("U_in", "U_out")),
        ("partition", 100, 1, 1000, (4,), ("U_in", "U_out")),
    ):
        question = question_of(find_study(name), "fever", "tiny", ROLES, {"seed": 4})
        assert question == Question(
            name, "fever", "tiny", "", "auto", samples, 4, seeds, test_rows, 5, clusters, RATES, matrices
        )


def test_held_out_rows_of_a_study_that_measures_on_none() -> None:
    with pytest.raises(EditError, match=r"^test_rows: the study sigma measures on no held-out rows$"):
        question_of(find_study("sigma"), "fever", "tiny", ROLES, {"test_rows": 10})


def test_what_was_measured_stays_where_a_unit_fails(tmp_path: Path) -> None:
    """The validation part has ten rows: the first draws are of as many, and there is no K = 40 of 32 rows."""
    question = small_question("sigma", test_rows=None, clusters=(1, 40))
    study = find_study("sigma")
    file = StudyFile(tmp_path / "x.jsonl", question, study.records)
    with small_context(question, tmp_path) as context, pytest.raises(EditError, match="expected clusters from 1 to 32"):
        measured(study, context, file, Silent())
    file.close()
    assert len(StudyFile(tmp_path / "x.jsonl", question, study.records).records) == 6
