"""In which fields two edits differ, and which of them say what is applied."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cti_edits.artifact.differences import differences
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import Factors
from tests.support.edits import BASE, directions, edit, entry

TASK = {"name": "cti_fever", "dataset": {"id": None, "revision": None, "split": None}, "metric": "acc"}


def found(left: Edit, right: Edit) -> list[tuple[str, str, str, bool]]:
    return [dataclasses.astuple(one) for one in differences(left, right)]


def test_equal_edits_have_no_differences() -> None:
    both = edit("one", entry(), entry("W_q"))
    assert differences(both, both) == []


def test_what_is_applied_comes_first() -> None:
    left = edit("one", entry(sha256="0" * 64), task=TASK)
    right = edit("two", entry(sha256="1" * 64, rho=0.26), base_model=dataclasses.replace(BASE, revision=None))
    assert found(left, right) == [
        ("base_model.revision", '"abc"', "null", True),
        ("edits[U_in 0].sha256", '"' + "0" * 58 + "…", '"' + "1" * 58 + "…", True),
        ("edits[U_in 0].rho", "0.25", "0.26", False),
        ("name", '"one"', '"two"', False),
        ("task", found(left, right)[4][1], "null", False),
    ]


def test_matrices_are_paired_by_matrix_and_layer_in_any_order() -> None:
    left, right = edit("one", entry(), entry("W_q", 1)), edit("one", entry("W_q", 1), entry())
    assert differences(left, right) == []
    assert found(edit("one", entry()), edit("one", entry(layer=3))) == [
        ("edits[U_in 0]", "model.layers.0.U_in, rho 0.25, K 2, 12 ranks kept", "not there", True),
        ("edits[U_in 3]", "not there", "model.layers.3.U_in, rho 0.25, K 2, 12 ranks kept", True),
    ]


def test_another_method_of_one_matrix() -> None:
    left, right = edit("one", entry()), edit("one", directions())
    by_field = {field: (one, other, applied) for field, one, other, applied in found(left, right)}
    assert by_field["edits[U_in 0].method"] == ('"block-svd"', '"directions"', True)
    assert by_field["edits[U_in 0].index"] == ("not there", "[0, 3]", True)
    assert by_field["edits[U_in 0].block_ranks"] == ("[6, 6]", "not there", True)
    assert found(edit("one"), right)[0][2] == "model.layers.0.U_in, 2 directions, scale 0.5 to 1.5"


def test_long_arrays_of_directions_are_cut_around_where_they_differ() -> None:
    many: dict[str, Any] = {"index": tuple(range(30)), "sigma": (1.0,) * 30}
    left, right = (edit("one", directions(**many, scale=(2.0,) * 29 + (last,))) for last in (2.5, 2.25))
    ((field, one, other, applied),) = found(left, right)
    assert (field, applied) == ("edits[U_in 0].scale", True)
    assert (one[-4:], other[-5:]) == ("2.5]", "2.25]")
    assert one[0] == other[0] == "…"


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({"block_ranks": (5, 7)}, True),
        ({"partition": "k-subspaces:" + "01" * 24}, True),
        ({"module": "other"}, True),
        ({"shape": (47, 32)}, True),
        ({"clusters": 3}, True),
        ({"factors": Factors("f.safetensors", "0" * 64, 9)}, True),
        ({"rho": 0.3}, False),
        ({"frobenius_norm": 3.0}, False),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_which_fields_say_what_is_applied(changes: dict[str, Any], applied: bool) -> None:
    left, right = edit("one", entry()), edit("one", entry(**changes))
    assert [one.applied for one in differences(left, right)] == [applied]


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({"index": (0, 4)}, True),
        ({"scale": (1.5, 0.25)}, True),
        ({"clusters": 2, "block": (0, 1)}, True),
        ({"sigma": (4.0, 1.000001)}, False),
        ({"tensor": "u.weight"}, False),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_which_fields_of_directions_say_what_is_applied(changes: dict[str, Any], applied: bool) -> None:
    """σ is of the base, as its hash and its norm are."""
    left, right = edit("one", directions()), edit("one", directions(**changes))
    assert {one.applied for one in differences(left, right)} == {applied}


def test_factors_of_the_same_content_apply_the_same() -> None:
    left = edit("one", entry(factors=Factors("f.safetensors", "0" * 64, 9)))
    right = edit("one", entry(factors=Factors("g.safetensors", "0" * 64, 9)))
    assert found(left, right) == [("edits[U_in 0].factors.file", '"f.safetensors"', '"g.safetensors"', False)]


def test_long_values_are_cut_around_where_they_differ() -> None:
    left, right = (edit("one", entry(partition="k-subspaces:" + "0" * 5000 + end)) for end in "01")
    ((_, one, other, _),) = found(left, right)
    assert (one, other) == ("…" + "0" * 20 + '0"', "…" + "0" * 20 + '1"')
