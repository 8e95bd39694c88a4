"""A trial: what stands in the place of which weights."""

from __future__ import annotations

from cti_edits.models.apply import target_matrices
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.trials import Trial
from tests.support.tiny_models import tiny_model

CUT = RankCut(MatrixId(0, "U_in"), 1, 0.5)


def test_a_trial_is_of_row_blocks_unless_it_says_otherwise() -> None:
    first, _, third = target_matrices(tiny_model("llama"), ("U_in",))
    trial = Trial(CUT, [(third, third.weight), (first, first.weight)])
    assert (trial.added_parameters, trial.partition) == (0, "row-blocks")
