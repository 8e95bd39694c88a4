"""What a manifest says of one matrix. Whole files are read and refused in test_manifest.py and test_hostile.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.matrix_edits import (
    METHODS,
    BlockSvdEdit,
    DirectionsEdit,
    Factors,
    MatrixEdit,
    PluginEdit,
    matrix_edit_of,
)
from cti_edits.artifact.ranks import row_block_sizes
from tests.support.edits import directions, entry, full_2, plugin_edit


def test_each_method_has_a_kind_and_any_other_is_a_plugin_s() -> None:
    found = [matrix_edit_of(one) for one in full_2()["edits"]]
    assert [type(one) for one in found] == [BlockSvdEdit, DirectionsEdit, DirectionsEdit, PluginEdit]
    assert [one.method for one in found] == ["block-svd", "directions", "directions", "add-rank-one"]
    assert {kind.METHOD for kind in METHODS} == {"block-svd", "directions"}


@pytest.mark.parametrize("number", range(4))
def test_what_is_read_is_written_again_in_its_order(number: int) -> None:
    document = full_2()["edits"][number]
    again = matrix_edit_of(document).to_json()
    assert again == document
    assert list(again) == list(document)
    assert isinstance(matrix_edit_of(document).factors, Factors)


def test_what_there_is_nothing_to_say_of_is_null_or_left_out() -> None:
    null = {"sha256", "frobenius_norm", "factors"}
    for one in (entry(), directions(), plugin_edit(entry())):
        document = one.to_json()
        assert {key for key, value in document.items() if value is None} == null
        assert not {"dtype", "tensor", "block", "retained_energy", "tied_blocks"} & set(document)


@pytest.mark.parametrize(
    ("one", "summary"),
    [
        (entry(), "rho 0.25, K 2, 12 ranks kept"),
        (directions(), "2 directions, scale 0.5 to 1.5"),
        (directions(clusters=2, block=(0, 1)), "2 directions, K 2, scale 0.5 to 1.5"),
        (directions(scale=(-1.23456789, 1e-7)), "2 directions, scale -1.235 to 1e-07"),
        (plugin_edit(entry()), "method magic"),
    ],
)
def test_what_is_done_in_a_few_words(one: MatrixEdit, summary: str) -> None:
    assert one.summary == summary


def test_the_directions_of_one_block_and_of_several() -> None:
    assert directions().directions == ((0, 0), (0, 3))
    one = directions(clusters=3, block=(0, 2, 2), index=(5, 1, 4), scale=(1, 2, 3), sigma=(0.5, 2, 1))
    assert one.directions == ((0, 5), (2, 1), (2, 4))
    assert one.of_block(0) == ((5,), (1,), (0.5,))
    assert one.of_block(1) == ((), (), ())
    assert one.of_block(2) == ((1, 4), (2, 3), (2, 1))


FOUR: dict[str, Any] = {
    "clusters": 5,
    "block": (0, 1, 1, 4),
    "index": (2, 0, 9, 8),
    "scale": (1, 1, 1, 1),
    "sigma": (1, 3, 2, 5),
}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"shape": (4, 32)}, "clusters: expected at most 4 (the number of rows), got 5"),
        ({"block": None}, "block: missing; of 5 row blocks (clusters), each index has to name its own"),
        (
            {"clusters": 1},
            "block: expected only where there are several row blocks (clusters), got it where there is 1",
        ),
        ({"block": (0, 1, 1)}, "block: expected 4 values, one for each index, got 3"),
        ({"scale": (1, 1, 1, 1, 1)}, "scale: expected 4 values, one for each index, got 5"),
        ({"sigma": ()}, "sigma: expected 4 values, one for each index, got 0"),
        ({"block": (0, 1, 1, 5)}, "block[3]: expected at most 4 (clusters), got 5"),
        # Of 48 rows in 5 blocks the first three have 10 and the last two 9.
        ({"index": (2, 0, 10, 8)}, "index[2]: expected at most 9 (the last singular value), got 10"),
        ({"index": (2, 0, 9, 9)}, "index[3]: expected at most 8 (the last singular value), got 9"),
        ({"shape": (48, 9)}, "index[2]: expected at most 8 (the last singular value), got 9"),
        ({"index": (2, 9, 9, 8)}, "index[2]: expected directions in ascending order, each once, got 9"),
        ({"index": (2, 9, 0, 8)}, "index[2]: expected directions in ascending order, each once, got 0"),
        ({"block": (0, 2, 1, 4)}, "block[2]: expected directions in ascending order, each once, got 1"),
        ({"sigma": (1, 3, 3.5, 5)}, "sigma[2]: expected at most 3, the one before, got 3.5"),
    ],
)
def test_what_no_schema_can_say_of_directions(changes: dict[str, Any], fault: str) -> None:
    good = directions(**FOUR)
    assert list(good.faults()) == []
    assert next(dataclasses.replace(good, **changes).faults()) == fault


def test_equal_sigmas_are_no_fault() -> None:
    """A base may have them, and what is done to them is judged on the base."""
    assert list(directions(sigma=(1, 1)).faults()) == []
    assert list(directions(sigma=(0, 0)).faults()) == []


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_every_direction_that_a_matrix_has_is_taken_and_no_other(rows: int, columns: int, data: st.DataObject) -> None:
    clusters = data.draw(st.integers(1, rows))
    sizes = row_block_sizes(rows, clusters)
    block, index = data.draw(st.integers(0, clusters)), data.draw(st.integers(0, 45))
    one = directions(
        shape=(rows, columns),
        clusters=clusters,
        block=(block,) if clusters > 1 else None,
        index=(index,),
        scale=(2,),
        sigma=(1,),
    )
    block = block if clusters > 1 else 0
    there = block < clusters and index < min(sizes[block], columns)
    assert (list(one.faults()) == []) == there


def test_a_plugin_s_edit_has_no_faults_that_are_known_here() -> None:
    assert list(plugin_edit(entry()).faults()) == []


def test_the_kinds_share_the_fields_that_say_which_matrix() -> None:
    shared = {field.name for field in dataclasses.fields(MatrixEdit)}
    kinds: tuple[type[MatrixEdit], ...] = (BlockSvdEdit, DirectionsEdit, PluginEdit)
    for kind in kinds:
        assert shared <= set(kind.ORDER)
