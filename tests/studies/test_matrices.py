"""Each role of matrix by itself. Its figures are those of searches: test_held_out_search.py."""

from __future__ import annotations

from pathlib import Path

from cti_edits.studies import matrices
from cti_edits.studies.matrices import OfRole
from tests.support.small_studies import ROLES, records_of, small_question


def test_every_role_keeps_matrices_of_its_own(tmp_path: Path) -> None:
    records = records_of(small_question("matrices", matrices=ROLES, rates=(0.1,)), tmp_path)
    for role, record in zip(ROLES, records, strict=True):
        assert isinstance(record, OfRole)
        assert record.role == role
        assert len(record.kept) == 2
        assert all(role in place for place in record.kept)
        assert record.matrix in (role, None)
    assert [row[0] for row in matrices.table(records).rows] == list(ROLES)
