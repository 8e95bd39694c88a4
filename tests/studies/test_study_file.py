"""The file of a study: appended to at once, read again, and never of two questions."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from cti_edits.errors import EditError, WriteError
from cti_edits.studies.study import Question, Record
from cti_edits.studies.study_file import StudyFile

QUESTION = Question("sigma", "cti_fever", "tiny", samples=7)


@dataclass(frozen=True, kw_only=True)
class Length(Record):
    NAME: ClassVar[str] = "length"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "rho")

    seed: int
    rho: float
    value: float | None
    parts: list[float]


ONE = Length(seed=0, rho=0.1, value=1 / 3, parts=[1e-300, -2.0])
OTHER = Length(seed=0, rho=0.005, value=None, parts=[])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "sigma.jsonl"


def test_what_is_appended_is_on_the_disk_at_once_and_read_again(path: Path) -> None:
    file = StudyFile(path, QUESTION, (Length,))
    for number, record in enumerate((ONE, OTHER), start=2):
        file.append(record)
        assert len(path.read_text().splitlines()) == number
    file.close()
    again = StudyFile(path, QUESTION, (Length,))
    assert again.records == file.records == {ONE.key: ONE, OTHER.key: OTHER}
    assert ONE.key == ("length", 0, 0.1)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_that_was_cut_off_is_taken_off(path: Path, cut: int) -> None:
    file = StudyFile(path, QUESTION, (Length,))
    file.append(ONE)
    whole = path.read_bytes()
    file.append(OTHER)
    file.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = StudyFile(path, QUESTION, (Length,))
    assert list(again.records) == [ONE.key]
    assert path.read_bytes() == whole
    again.append(OTHER)
    again.close()
    assert list(StudyFile(path, QUESTION, (Length,)).records) == [ONE.key, OTHER.key]


def test_a_question_that_was_cut_off_begins_anew(path: Path) -> None:
    StudyFile(path, QUESTION, (Length,))
    path.write_bytes(path.read_bytes()[:-9])
    other = dataclasses.replace(QUESTION, seed=3)
    StudyFile(path, other, (Length,))
    assert json.loads(path.read_text()) == json.loads(json.dumps(dataclasses.asdict(other)))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"task": "cti_bios"}, "task is cti_fever there and cti_bios here"),
        ({"model": "other"}, "model is tiny there and other here"),
        ({"seed": 1, "samples": 8}, "samples is 7 there and 8 here, seed is 0 there and 1 here"),
        ({"clusters": (1, 4)}, "clusters is [1] there and [1, 4] here"),
        ({"test_rows": None}, "test_rows is 1000 there and null here"),
        ({"dtype": "float16"}, "dtype is auto there and float16 here"),
    ],
)
def test_the_figures_of_another_question_are_refused(path: Path, changes: dict[str, object], difference: str) -> None:
    StudyFile(path, QUESTION, (Length,)).append(ONE)
    former = path.read_bytes()
    with pytest.raises(EditError) as refused:
        StudyFile(path, dataclasses.replace(QUESTION, **changes), (Length,))  # type: ignore[arg-type]
    expected = f"{path}: has the figures of another question: {difference}; name another folder (output)"
    assert str(refused.value) == expected
    assert path.read_bytes() == former


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 2: expected a JSON object, got something else"),
        (["[1]"], "line 2: expected a JSON object, got something else"),
        (['{"unit": "width"}'], "line 2: expected a unit of this study, got something else"),
        (['{"unit": "length", "seed": 0}'], "line 2: expected a unit of this study, got something else"),
        ([None, None], "line 3: a unit that an earlier line has already"),
    ],
)
def test_a_damaged_line_is_named(path: Path, lines: list[str | None], message: str) -> None:
    whole = json.dumps({"unit": "length", **dataclasses.asdict(ONE)})
    StudyFile(path, QUESTION, (Length,))
    with path.open("a") as file:
        file.writelines(f"{line or whole}\n" for line in lines)
    with pytest.raises(EditError) as refused:
        StudyFile(path, QUESTION, (Length,))
    assert str(refused.value) == f"{path}: {message}"


def test_another_file_is_refused_and_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"schema_version": 2}\n')
    with pytest.raises(EditError, match="line 1: expected a study's question, got something else"):
        StudyFile(path, QUESTION, (Length,))
    assert path.read_text() == '{"schema_version": 2}\n'


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x.jsonl", tmp_path, tmp_path / "\0"):
        with pytest.raises(WriteError, match="cannot write here"):
            StudyFile(place, QUESTION, (Length,))
