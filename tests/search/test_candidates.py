"""The candidates of the matrices that are kept."""

from __future__ import annotations

from cti_edits.search.candidates import Group, MatrixId, RankCut, candidates


def test_candidates_come_in_groups_of_one_decomposition() -> None:
    first, second = MatrixId(3, "U_in"), MatrixId(1, "U_out")
    groups = candidates({4: [first, second], 1: [second]}, (0.5, 0.1))
    assert groups == [
        Group(first, 4, [RankCut(first, 4, 0.5), RankCut(first, 4, 0.1)]),
        Group(second, 4, [RankCut(second, 4, 0.5), RankCut(second, 4, 0.1)]),
        Group(second, 1, [RankCut(second, 1, 0.5), RankCut(second, 1, 0.1)]),
    ]


def test_every_candidate_is_there_once_and_nothing_kept_gives_none() -> None:
    kept = {clusters: [MatrixId(layer, "U_in") for layer in range(3)] for clusters in (1, 2)}
    every = [one for group in candidates(kept, (0.5, 0.1)) for one in group]
    assert len(every) == len(set(every)) == 3 * 2 * 2
    assert candidates({1: [], 2: []}, (0.5,)) == []
