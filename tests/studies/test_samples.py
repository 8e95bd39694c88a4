"""How many rows a search needs. Its figures are those of searches: test_held_out_search.py."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.studies import samples
from cti_edits.studies.held_out_search import Winner
from cti_edits.studies.samples import Drawn
from cti_edits.studies.study import Record
from tests.support.small_studies import records_of, small_context, small_question


def test_sizes_that_there_are_no_rows_for_are_left_out(tmp_path: Path) -> None:
    """The validation part has ten rows."""
    question = small_question("samples", samples=500, seeds=2, seed=4, rates=(0.5,))
    with small_context(question, tmp_path) as context:
        assert [unit.key for unit in samples.units(context)] == [("draw", 10, 4), ("draw", 10, 5)]


@pytest.mark.parametrize("rows", [1, 9])
def test_too_few_rows_are_refused(rows: int, tmp_path: Path) -> None:
    with pytest.raises(EditError, match=f"^samples: expected 10 or more, got {rows}$"):
        records_of(small_question("samples", samples=rows), tmp_path)


def test_the_table_has_the_spread_of_the_draws() -> None:
    winner = Winner(
        matrix="U_in", layer=0, clusters=1, rho=0.1, candidates=4, calibration_rows=10, calibration_baseline=0.5,
        calibration_edited=0.7, held_out_rows=10, baseline=0.4, edited=0.4, baseline_nll=1.0, edited_nll=1.0,
        p_value=1.0,
    )  # fmt: skip
    held_out = [0.4, 0.5, 0.75]
    records: list[Record] = [
        Drawn(
            **vars(dataclasses.replace(winner, edited=edited, matrix=None if edited == 0.4 else "U_in")),
            seed=seed,
            samples=size,
        )
        for size in (10, 20)
        for seed, edited in enumerate(held_out[: 3 if size == 10 else 1])
    ]  # fmt: skip
    deviation = statistics.stdev([40, 50, 75])
    assert samples.table(records).rows == (
        ("10", "3", "70.0 %", "40.0 %", "55.0 %", f"{deviation:.1f}", "40.0 to 75.0 %", "1"),
        ("20", "1", "70.0 %", "40.0 %", "40.0 %", "", "40.0 to 40.0 %", "1"),
    )
