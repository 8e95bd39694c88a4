from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.harness.row_records import record_field, record_of, records_of
from cti_edits.harness.tasks import load_task
from cti_edits.models.architectures import Kind
from tests.support.benchmark_files import write_local

KINDS: tuple[Kind, ...] = ("causal", "masked")
ROWS = [{"q": "a", "n": 1}, {"q": "b", "n": 2}, {"q": "a", "n": 3}]


def test_rows_of_one_value_share_a_record() -> None:
    first, second, third = records_of(ROWS, {"record": "q"}) or ()
    assert first == third != second


def test_rows_that_are_their_own_records() -> None:
    assert records_of(ROWS, {"record": "n"}) is None
    assert records_of(ROWS, {}) is None
    assert records_of(ROWS, None) is None


def test_a_row_without_the_field_tells_of_nothing() -> None:
    assert records_of([*ROWS, {"n": 4}], {"record": "q"}) is None
    assert record_of("no row", "q") is None


def test_values_of_any_kind() -> None:
    assert record_of({"q": ["a", 1]}, "q") == record_of({"q": ["a", 1]}, "q") != record_of({"q": ["a", "1"]}, "q")
    assert record_field({"record": 3}) is None


def test_the_bundled_tasks_that_ask_several_things_of_a_record_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(tmp_path)))
    for name, field in (("truthfulqa", "question"), ("counterfact", "answer")):
        for kind in KINDS:
            task = load_task(name, None, kind)
            assert record_field(task.config.metadata) == field
            assert field in task.eval_docs[0]
