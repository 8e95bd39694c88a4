from __future__ import annotations

import numpy as np
import pytest
import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks
from cti_edits.errors import EditError
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix, target_matrices
from cti_edits.search.candidates import Candidate, MatrixId
from cti_edits.search.edited_weights import EditedWeights, shape_of
from cti_edits.search.settings import Partition
from tests.support.tiny_models import tiny_model


def first_target(model_type: str = "gptj") -> tuple[MatrixId, TargetMatrix]:
    (target,) = target_matrices(tiny_model(model_type), ("U_in",))[:1]
    return MatrixId(target.layer, target.matrix), target


def cut(weight: torch.Tensor, clusters: int, ranks: tuple[int, ...]) -> np.ndarray:
    """The truncation of each row block, by numpy in float64."""
    parts = []
    for block, rank in zip(np.array_split(weight.double().numpy(), clusters), ranks, strict=True):
        u, s, v = np.linalg.svd(block, full_matrices=False)
        parts.append(u[:, :rank] * s[:rank] @ v[:rank])
    return np.concatenate(parts)


@pytest.mark.parametrize("model_type", ["gptj", "gpt2"])
@pytest.mark.parametrize("clusters", [1, 3])
def test_each_candidate_is_the_truncation_of_its_row_blocks(model_type: str, clusters: int) -> None:
    name, target = first_target(model_type)
    members = [Candidate(name, clusters, rho) for rho in (0.8, 0.3, 0.05)]
    weights = EditedWeights({name: target}, SpectrumCache())
    found = list(weights.of((name, clusters, members)))
    assert [candidate for candidate, _, _ in found] == members
    for candidate, partition, edited in found:
        ranks = block_ranks(shape_of(target), clusters, candidate.rho)
        assert weights.ranks(candidate, partition) == ranks
        assert partition == ROW_BLOCKS
        assert edited.dtype == target.weight.dtype
        np.testing.assert_allclose(edited.numpy(), cut(target.weight, clusters, ranks), atol=1e-6)


def test_rows_by_subspaces_give_each_rate_a_partition_of_its_own() -> None:
    name, target = first_target()
    partition: Partition = "k-subspaces"
    weights = EditedWeights({name: target}, SpectrumCache(), partition, seed=0)
    members = [Candidate(name, 2, rho) for rho in (0.3, 0.05)]
    found = list(weights.of((name, 2, members)))
    assert all(partition.startswith("k-subspaces") for _, partition, _ in found)
    ranks = [np.linalg.matrix_rank(edited.double().numpy(), 1e-5) for _, _, edited in found]
    assert ranks[1] < ranks[0] < min(shape_of(target))


def test_a_weight_that_is_not_finite_is_named() -> None:
    name, target = first_target()
    with torch.no_grad():
        target.parameter[0, 0] = float("nan")
    with pytest.raises(EditError, match=r"^transformer\.h\.0\.\S+: the weight holds NaN or infinite values"):
        list(EditedWeights({name: target}, SpectrumCache()).of((name, 1, [Candidate(name, 1, 0.5)])))
