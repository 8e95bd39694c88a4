from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.harness.calibration import drawn_rows
from cti_edits.harness.own_rows import own_rows, read_own_rows, rows_task, without_drawn

ANSWER = {"prompt": "two and two is", "answer": "four"}
CHOICE = {"prompt": "two and two is", "choices": ["four", "five"], "gold": 0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "expected an object with prompt and answer, or prompt, choices and gold"),
        ({"prompt": "a"}, "expected answer, or choices and gold, got neither"),
        ({**ANSWER, **CHOICE}, "expected answer, or choices and gold, got both"),
        ({"answer": "a"}, "expected the field 'prompt'"),
        ({"prompt": 5, "answer": "a"}, "prompt: expected text, got 5"),
        ({"prompt": " ", "answer": "a"}, "prompt: expected text, got ' '"),
        ({"prompt": "a", "answer": None}, "answer: expected text, got None"),
        ({"prompt": "a", "choices": ["b", "c"]}, "expected the field 'gold'"),
        ({**CHOICE, "choices": "four"}, "choices: expected two or more different texts, got 'four'"),
        ({**CHOICE, "choices": ["four"]}, "choices: expected two or more different texts, got ['four']"),
        ({**CHOICE, "choices": ["four", "four"]}, "choices: expected two or more different texts"),
        ({**CHOICE, "choices": ["four", ""]}, "choices: expected two or more different texts"),
        ({**CHOICE, "gold": 2}, "gold: expected the index of a choice, 0 to 1, got 2"),
        ({**CHOICE, "gold": -1}, "gold: expected the index of a choice, 0 to 1, got -1"),
        ({**CHOICE, "gold": True}, "gold: expected the index of a choice, 0 to 1, got True"),
        ({**CHOICE, "gold": "four"}, "gold: expected the index of a choice, 0 to 1, got 'four'"),
    ],
)
def test_a_broken_line_is_named_by_its_number_and_field(row: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = CHOICE if isinstance(row, dict) and "choices" in row and "answer" not in row else ANSWER
    file.write_text(f"{json.dumps(good)}\n\n{json.dumps(row)}\n")
    with pytest.raises(EditError) as caught:
        read_own_rows(file)
    assert str(caught.value).startswith(f"{file}: line 3: {message}")
    with pytest.raises(EditError) as caught:
        own_rows([good, row])
    assert str(caught.value).startswith(f"rows[1]: {message}")


def test_rows_of_two_kinds(tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"^rows\[1\]: expected rows of one kind, got choices and an answer"):
        own_rows([ANSWER, CHOICE])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected rows, got none"),
        (b"{}\n", "line 1: expected answer"),
        (b'{"prompt": "a", \n', "line 1: not JSON"),
        (b"\xff\n", "cannot read it"),
        (b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_file_that_is_none(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(EditError) as caught:
        read_own_rows(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_the_requests_are_lm_evals() -> None:
    rows = own_rows([CHOICE, {**CHOICE, "prompt": "one is", "gold": 1}])
    task = rows_task("mine", rows)
    task.build_all_requests(rank=0, world_size=1)
    assert [one.args for one in task.instances] == [
        (prompt, f" {choice}") for prompt in ("two and two is", "one is") for choice in ("four", "five")
    ]
    plain = rows_task("mine", own_rows([ANSWER]))
    plain.build_all_requests(rank=0, world_size=1)
    assert [one.args for one in plain.instances] == [("two and two is", " four")]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
def test_test_rows_are_those_that_are_not_drawn(count: int, samples: int, seed: int) -> None:
    samples = min(samples, count)
    rows = own_rows([{"prompt": str(number), "answer": "a"} for number in range(count)])
    left = without_drawn(rows, samples, seed)
    drawn = {str(number) for number in drawn_rows(count, samples, seed)}
    kept = {row["prompt"] for row in left.rows} if left else set()
    assert drawn | kept == {str(number) for number in range(count)}
    assert not drawn & kept
