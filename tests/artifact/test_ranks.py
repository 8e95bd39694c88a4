from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.ranks import (
    block_ranks,
    full_ranks,
    kept_parameters,
    row_block_size,
    row_block_sizes,
    whole_rank,
)
from cti_edits.errors import EditError
from cti_edits.search.settings import RATES


@given(rows=st.integers(1, 300), data=st.data())
def test_block_sizes_are_those_of_tensor_split(rows: int, data: st.DataObject) -> None:
    clusters = data.draw(st.integers(1, rows))
    expected = tuple(len(block) for block in torch.tensor_split(torch.zeros(rows, 1), clusters, dim=0))
    assert row_block_sizes(rows, clusters) == expected


def test_the_first_blocks_are_the_longer_ones() -> None:
    assert row_block_sizes(11, 4) == (3, 3, 3, 2)


@pytest.mark.parametrize("clusters", [0, -1, 6])
def test_clusters_out_of_range(clusters: int) -> None:
    with pytest.raises(EditError, match=rf"^expected clusters from 1 to 5 \(the number of rows\), got {clusters}$"):
        row_block_sizes(5, clusters)
    with pytest.raises(EditError, match="expected clusters from 1 to 5"):
        block_ranks((5, 3), clusters, 0.5)


@pytest.mark.parametrize(
    ("shape", "clusters", "expected"),
    [((10, 4), 1, (4,)), ((10, 4), 3, (4, 3, 3)), ((3, 50), 2, (2, 1)), ((6, 6), 6, (1,) * 6)],
)
def test_full_rank_of_a_block_is_its_smaller_side(
    shape: tuple[int, int], clusters: int, expected: tuple[int, ...]
) -> None:
    assert full_ranks(shape, clusters) == expected


def test_block_ranks_of_the_design_example() -> None:
    assert block_ranks((4096, 16384), 4, 0.1) == (102, 102, 102, 102)


@given(rows=st.integers(1, 20_000), columns=st.integers(1, 20_000), clusters=st.integers(1, 16), data=st.data())
def test_block_ranks_equal_the_formula_in_exact_fractions(
    rows: int, columns: int, clusters: int, data: st.DataObject
) -> None:
    clusters = min(clusters, rows)
    rho = data.draw(st.sampled_from(RATES) | st.integers(1, 1000).map(lambda thousandths: thousandths / 1000))
    exact = Fraction(str(rho))
    sizes = [rows // clusters + (index < rows % clusters) for index in range(clusters)]
    expected = tuple(max(1, exact * min(size, columns) // 1) for size in sizes)
    assert block_ranks((rows, columns), clusters, rho) == expected


def test_no_rank_is_lost_to_floating_point() -> None:
    # 0.57 · 100 is 56.99999999999999 in floating point.
    assert block_ranks((100, 100), 1, 0.57) == (57,)


def test_at_least_one_rank_is_kept() -> None:
    assert block_ranks((12, 100), 4, 0.005) == (1, 1, 1, 1)


@given(rows=st.integers(1, 5000), columns=st.integers(1, 5000), clusters=st.integers(1, 20))
def test_rho_of_one_keeps_every_rank(rows: int, columns: int, clusters: int) -> None:
    clusters = min(clusters, rows)
    assert block_ranks((rows, columns), clusters, 1.0) == full_ranks((rows, columns), clusters)


@pytest.mark.parametrize("rho", [0.0, -0.1, 1.0000001, float("nan"), float("inf")])
def test_rho_out_of_range(rho: float) -> None:
    with pytest.raises(EditError, match=r"^expected rho above 0 and at most 1, got "):
        block_ranks((4, 4), 1, rho)


def test_kept_parameters_count_the_factors_of_each_block() -> None:
    # Blocks of 4, 3 and 3 rows: 1·(4 + 20) + 2·(3 + 20) + 1·(3 + 20).
    assert kept_parameters((10, 20), (1, 2, 1)) == 24 + 46 + 23


def test_kept_parameters_of_a_block_never_exceed_the_dense_block() -> None:
    # 4·(5 + 8) = 52 would exceed the dense 5·8 = 40; the other block is cheaper as factors.
    assert kept_parameters((10, 8), (4, 1)) == 40 + 13
    assert kept_parameters((10, 8), full_ranks((10, 8), 2)) == 80


def test_reading_ranks_needs_no_torch() -> None:
    script = "import sys, cti_edits.artifact.ranks, cti_edits.artifact.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_the_rows_of_one_block_and_the_ranks_of_all_without_a_list_of_them(
    rows: int, columns: int, data: st.DataObject
) -> None:
    clusters = data.draw(st.integers(1, rows))
    assert [row_block_size(rows, clusters, block) for block in range(clusters)] == list(row_block_sizes(rows, clusters))
    assert whole_rank((rows, columns), clusters) == sum(full_ranks((rows, columns), clusters))


def test_millions_of_blocks_cost_nothing() -> None:
    assert row_block_size(16_777_217, 16_777_216, 0) == 2
    assert row_block_size(16_777_217, 16_777_216, 16_777_215) == 1
    assert whole_rank((16_777_217, 1), 16_777_216) == 16_777_216
