"""The weights of candidates, against those that applying the edit of each alone would give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks
from cti_edits.errors import EditError
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.linalg.subspaces import k_subspaces
from cti_edits.models.apply import TargetMatrix, target_matrices
from cti_edits.search.candidates import Group, MatrixId, RankCut
from cti_edits.search.edited_weights import EditedWeights, shape_of
from tests.support.installed_plugins import InstalledPlugins
from tests.support.tiny_models import INNER, WIDTH, tiny_model

RATES = (0.6, 0.2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def targets() -> dict[MatrixId, TargetMatrix]:
    return {MatrixId(one.layer, one.matrix): one for one in target_matrices(tiny_model("gpt2"), ("U_in", "U_out"))}


@pytest.mark.parametrize("partition", ["row-blocks", "k-subspaces"])
@pytest.mark.parametrize("clusters", [1, 3])
@pytest.mark.parametrize("matrix", ["U_in", "U_out"])
def test_each_is_the_truncation_of_its_own(matrix: str, clusters: int, partition: str) -> None:
    there = targets()
    name = MatrixId(1, matrix)
    weight = there[name].weight
    former = weight.clone()
    weights = EditedWeights(there, SpectrumCache(), partition, seed=3)
    members = [RankCut(name, clusters, rho) for rho in RATES]
    found = list(weights.of(Group(name, clusters, members)))
    assert [candidate for candidate, _, _ in found] == members
    for candidate, rows, edited in found:
        expected = ROW_BLOCKS if partition == ROW_BLOCKS else k_subspaces(weight, clusters, candidate.rho, 3)
        assert rows == expected
        ranks = block_ranks(shape_of(there[name]), clusters, candidate.rho, rows)
        assert weights.ranks(candidate, rows) == ranks
        assert edited.dtype == weight.dtype
        torch.testing.assert_close(edited, truncate(weight, ranks, partition=rows), rtol=1e-5, atol=1e-6)
        assert not torch.equal(edited, weight)
    assert torch.equal(weight, former)


def test_a_weight_that_is_not_finite_is_named_and_not_decomposed() -> None:
    there = targets()
    name = MatrixId(2, "U_in")
    with torch.no_grad():
        there[name].weight[0, 0] = float("nan")
    with pytest.raises(EditError, match=r"^transformer\.h\.2\.mlp\.c_fc: the weight holds NaN or infinite values$"):
        next(EditedWeights(there, SpectrumCache()).of(Group(name, 1, [RankCut(name, 1, 0.5)])))


@pytest.mark.parametrize(
    ("assigned", "reason"),
    [
        ("'k-subspaces:01'", f"ValueError: expected {INNER} digits, one a row, got 2"),
        ("[0, 1]", "TypeError: expected a partition as a manifest writes it, a str, got list"),
        ("weight.no_such_thing", "AttributeError: 'Tensor' object has no attribute 'no_such_thing'"),
    ],
)
def test_a_partition_that_fails_or_is_none_is_named_with_its_plugin(
    plugin_folder: InstalledPlugins, assigned: str, reason: str
) -> None:
    plugin_folder.add(
        "flawed",
        "from cti_edits.hookspecs import hookimpl\nfrom cti_edits.search.partitions import Partition\n\n@hookimpl\n"
        f"def partitions():\n    return [Partition('bad', '', lambda weight, clusters, rho, seed: {assigned})]\n",
    )
    there = targets()
    name = MatrixId(1, "U_in")
    with pytest.raises(EditError) as refusal:
        next(EditedWeights(there, SpectrumCache(), "bad").of(Group(name, 2, [RankCut(name, 2, 0.5)])))
    assert str(refusal.value) == f"the partition 'bad' of the plugin 'flawed' (flawed 1.0) failed: {reason}"


def test_a_shape_has_output_features_as_rows() -> None:
    assert {one.matrix: shape_of(one) for one in targets().values()} == {
        "U_in": (INNER, WIDTH),
        "U_out": (WIDTH, INNER),
    }
