"""Which matrix of a model: in words, and in the order in which blocks run."""

from __future__ import annotations

from cti_edits.artifact.matrix_id import MatrixId


def test_in_words() -> None:
    assert str(MatrixId(3, "U_in")) == "U_in of layer 3"
    assert str(MatrixId(3, "U_in", "encoder")) == "U_in of encoder layer 3"
    assert str(MatrixId(3, "U_in", None, 0)) == "U_in of layer 3, expert 0"
    assert MatrixId(3, "U_in", "decoder", 5).short == "U_in decoder 3, expert 5"
    assert [MatrixId(3, "U_in").place, MatrixId(3, "U_in", "encoder").place] == ["3", "encoder 3"]


def test_the_order_is_that_in_which_blocks_run() -> None:
    wanted = [
        MatrixId(0, "U_in", "encoder"),
        MatrixId(1, "U_in", "encoder"),
        MatrixId(0, "U_in", "decoder"),
        MatrixId(0, "U_out", "decoder"),
    ]
    backwards = wanted[::-1]
    assert sorted(backwards) == wanted
    experts = [MatrixId(0, "U_in"), MatrixId(0, "U_in", None, 0), MatrixId(0, "U_in", None, 10), MatrixId(1, "U_in")]
    backwards = experts[::-1]
    assert sorted(backwards) == experts
    assert len({*wanted, *wanted}) == len(wanted)
