"""The weights of candidates, several from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks, partition_rows
from cti_edits.errors import EditError
from cti_edits.linalg.block_spectra import truncate_with
from cti_edits.linalg.finite import all_finite
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import tensor_sha256
from cti_edits.plugins import errors_name_provider
from cti_edits.search.candidates import Group, MatrixId, RankCut
from cti_edits.search.partitions import Partition, find_partition


@dataclass(frozen=True)
class EditedWeights:
    """Makes the weights of candidates.

    Attributes:
        targets: the matrices.
        cache: where decompositions come from.
        partition: how rows are assigned to blocks.
        seed: of that.
    """

    targets: Mapping[MatrixId, TargetMatrix]
    cache: SpectrumCache
    partition: str = ROW_BLOCKS
    seed: int = 0

    def of(self, group: Group) -> Iterator[tuple[RankCut, str, torch.Tensor]]:
        """Each candidate of a group with its partition and its weight, in the weight's own dtype.

        Cut into row blocks, all of them come from one decomposition; `apply.apply` makes one for the edit alone. The
        two differ by rounding, where they differ at all.

        Raises:
            EditError: the weight is not finite, or a plugin's partition fails or is none.
        """
        clusters, members = group.clusters, group.members
        target = self.targets[group.target]
        weight = target.weight
        if not all_finite(weight):
            raise EditError(f"{target.module}: the weight holds NaN or infinite values")
        if self.partition != ROW_BLOCKS:
            for candidate in members:
                partition = self._assigned(target, candidate)
                yield candidate, partition, truncate(weight, self.ranks(candidate, partition), partition=partition)
            return
        spectra = self.cache.spectra(weight, tensor_sha256(target.hashed), clusters)
        for candidate in members:
            yield candidate, ROW_BLOCKS, truncate_with(weight, spectra, self.ranks(candidate, ROW_BLOCKS))

    def _assigned(self, target: TargetMatrix, candidate: RankCut) -> str:
        """The partition of a candidate's rows, as a manifest writes it."""
        with errors_name_provider("partitions", Partition, self.partition):
            assign = find_partition(self.partition).assign
            found = assign(target.weight, candidate.clusters, candidate.rho, self.seed)
            if not isinstance(found, str):
                raise TypeError(f"expected a partition as a manifest writes it, a str, got {type(found).__name__}")
            try:
                partition_rows(target.weight.shape[0], candidate.clusters, found)
            except EditError as error:
                raise ValueError(str(error)) from None
        return found

    def ranks(self, candidate: RankCut, partition: str) -> tuple[int, ...]:
        """The ranks that its blocks keep."""
        return block_ranks(shape_of(self.targets[candidate.target]), candidate.clusters, candidate.rho, partition)


def shape_of(target: TargetMatrix) -> tuple[int, int]:
    """(m, n), rows = output features."""
    return target.weight.shape[0], target.weight.shape[1]
