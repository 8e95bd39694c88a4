"""Ways to assign rows to blocks: the energy that their cuts keep, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cti_edits.artifact.ranks import partition_rows
from cti_edits.linalg.k_means import k_means
from cti_edits.linalg.subspaces import k_subspaces
from cti_edits.studies.partition import Partitioned
from tests.support.small_studies import records_of, small_context, small_question


def test_the_energy_that_cuts_keep_is_that_of_numpy(tmp_path: Path) -> None:
    question = small_question("partition", clusters=(3,), seed=1)
    with small_context(question, tmp_path) as context:
        records = records_of(question, tmp_path, context)
        weights = {f"K 3, {place}": target.weight for place, target in context.targets().items()}
    every = [record for record in records if isinstance(record, Partitioned)]
    assert [one.partition for one in every] == ["row-blocks", "k-subspaces", "k-means"]
    assert len({frozenset(one.energy["0.5"]) for one in every}) == 1
    for one in every:
        assert list(one.energy) == ["0.5", "0.1"]
        for rho, found in one.energy.items():
            assert len(found) == 2
            for place, share in found.items():
                weight = weights[place]
                partition = {
                    "row-blocks": "row-blocks",
                    "k-subspaces": k_subspaces(weight, 3, float(rho), 1),
                    "k-means": k_means(weight, 3, 1),
                }[one.partition]
                kept = 0.0
                for rows in partition_rows(len(weight), 3, partition):
                    values = np.linalg.svd(weight[list(rows)].double().numpy(), compute_uv=False)
                    kept += float((values[: max(1, int(float(rho) * len(values) + 1e-9))] ** 2).sum())
                assert share == pytest.approx(kept / float(weight.double().square().sum()), rel=1e-5)
        assert one.mean_energy("0.1") == pytest.approx(np.mean(list(one.energy["0.1"].values())))


def test_a_partition_that_takes_fewer_blocks_is_left_out(tmp_path: Path) -> None:
    records = records_of(small_question("partition", clusters=(17,), top_q=1, rates=(0.5,)), tmp_path)
    assert [record.key for record in records] == [("partition", 0, "row-blocks")]
