"""Writing an edit as a LoRA adapter, a folder that PEFT loads onto the base model.

PEFT adds scale · lora_B (lora_A x) to what a layer gives. With lora_B lora_A = Ŵ − W and a scale of 1 that is what the
edited layer gives.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit
from cti_edits.artifact.ranks import full_ranks, partition_rows
from cti_edits.errors import EditError, about
from cti_edits.files import atomic_folder
from cti_edits.linalg.directions import Directions, difference
from cti_edits.linalg.factors import Block, LowRank, is_smaller
from cti_edits.linalg.fused_rows import put_rows
from cti_edits.linalg.gram import squares_error
from cti_edits.linalg.lowrank import row_selector
from cti_edits.methods.method import method_of
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.architectures import Kind, family_of
from cti_edits.models.base_matrices import base_weight, find_targets, stored_tensor, verified_base
from cti_edits.models.checkpoint import folder_checkpoint
from cti_edits.models.export import Export
from cti_edits.models.export_readme import adapter_readme
from cti_edits.models.factor_file import read_factors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The names that PEFT looks for."""

TASK_TYPES: Mapping[Kind, str | None] = {"causal": "CAUSAL_LM", "masked": None, "seq2seq": "SEQ_2_SEQ_LM"}
"""What PEFT calls each kind of model."""


def export_adapter(
    edit: Edit, source: Path, target: Path, base: str, revision: str | None = None, verify: bool = True
) -> Export:
    """Write ``edit`` to ``target`` as a LoRA adapter of the checkpoint in ``source``.

    The adapter is float32, or float64 where W is, and made of W in the dtype that `export.export` takes. A matrix that
    the edit leaves as it is, such as one that keeps all of its ranks, has no part in it.

    Args:
        edit: what to write. Of a rank cut, and of a plugin's method, the difference must have so few ranks that its
            factors have fewer numbers than the matrix.
        source: checkpoint folder with config.json and safetensors weights.
        target: a folder that is not there yet, or is empty. It appears when it is complete.
        base: what the adapter's config names as its base model, a folder or hub id.
        revision: of ``base`` on the hub.
        verify: refuse a tensor that is not the one that the edit was made for; see `base_match.base_match`.

    Raises:
        CheckpointError: ``source`` is no such checkpoint.
        EditError: the edit changes nothing, or too many ranks; ``target`` has files or cannot be written; or the
            edit's method is not known.
        FitError: the edit does not fit the checkpoint, or a matrix is tied to another one.
        FactorsError: the file of factors is not the edit's.
        BaseMismatchError: a hash differs.
    """
    from safetensors.torch import save_file

    checkpoint = folder_checkpoint(source)
    targets = find_targets(edit, checkpoint, source)
    packed = read_factors(edit)
    for index, one in enumerate(edit.edits):
        if isinstance(one, BlockSvdEdit):
            with about(f"{edit.name}: edits[{index}]"):
                _check_rank(one, _removed_ranks(one))
    verified = verified_base(edit, verify)
    with atomic_folder(target) as folder:
        factors: dict[str, LowRank] = {}
        changed: list[str] = []
        for index, (one, matrix) in enumerate(zip(edit.edits, targets, strict=True)):
            where = f"{edit.name}: edits[{index}]"
            stored = stored_tensor(one, matrix, checkpoint, source, where)
            weight = base_weight(edit, one, matrix, stored, verify, where)
            with about(where):
                if not matrix.is_weight:
                    raise EditError(
                        f"{matrix.name} is no layer's weight, as an adapter needs it; format=checkpoint exports it"
                    )
                low = _difference(weight, one, packed.get(one.matrix_name))
            if len(low.right):
                factors[matrix.module] = _together(factors.get(matrix.module), _of_layer(low, matrix))
                changed.append(stored.name)
        if not factors:
            raise EditError(f"{edit.name}: changes nothing, so that there is no adapter to write: use the base model")
        config = _config(factors, targets[0], base, revision, checkpoint.config.model_type)
        (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file(_tensors(factors), folder / WEIGHTS, metadata={"format": "pt"})
        ranks = {module: len(low.right) for module, low in factors.items()}
        dtype = str(weight.dtype).removeprefix("torch.")
        (folder / "README.md").write_text(adapter_readme(edit, ranks, verified, dtype), encoding="utf-8")
    return Export(target, (WEIGHTS,), tuple(changed), verified)


def _config(
    factors: Mapping[str, LowRank], target: TargetMatrix, base: str, revision: str | None, model_type: str | None
) -> dict[str, object]:
    """What adapter_config.json says, with keys that every PEFT since 0.7 has.

    The keys of patterns are regular expressions, which PEFT matches with the end of a module's name. The rank and alpha
    without a module's name are the largest, for engines that read those alone.
    """
    ranks = {re.escape(module): len(low.right) for module, low in factors.items()}
    kind = None if model_type is None else family_of(model_type).kind
    return {
        "peft_type": "LORA",
        "task_type": None if kind is None else TASK_TYPES[kind],
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": True,
        "target_modules": list(factors),
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": target.transposed,
    }


def _of_layer(low: LowRank, target: TargetMatrix) -> LowRank:
    """The factors of a part of a layer's weight as those of all of it: 0 in the rows of other parts."""
    if target.rows is None:
        return low
    left = low.left.new_zeros(target.outputs, low.left.shape[1])
    put_rows(left, target.rows, low.left)
    return LowRank(left, low.right)


def _together(former: LowRank | None, other: LowRank) -> LowRank:
    """The sum of two products as one, where two parts of a weight are edited."""
    if former is None:
        return other
    return LowRank(torch.cat([former.left, other.left], dim=1), torch.cat([former.right, other.right]))


def _tensors(factors: Mapping[str, LowRank]) -> dict[str, torch.Tensor]:
    """The tensors of the adapter by the names that PEFT gives them. PEFT turns them for a Conv1D by itself."""
    found = {}
    for module, low in factors.items():
        found[f"base_model.model.{module}.lora_A.weight"] = low.right.contiguous()
        found[f"base_model.model.{module}.lora_B.weight"] = low.left.contiguous()
    return found


def _difference(weight: torch.Tensor, one: MatrixEdit, packed: Sequence[Block | None] | None) -> LowRank:
    """Ŵ − W as (m, r) and (r, n), float64 where W is and else float32; r is 0 where the edit changes nothing."""
    wide = weight if weight.dtype == torch.float64 else weight.float()
    if isinstance(one, DirectionsEdit):
        blocks = method_of(one).factors(wide, one) if packed is None else packed
        return _of_blocks(blocks, partition_rows(one.shape[0], one.clusters), wide)
    if isinstance(one, BlockSvdEdit) and packed is None:
        # Where singular values tie at the cut, what was cut is not determined by their number.
        with contextlib.suppress(EditError):
            rows = partition_rows(one.shape[0], one.clusters, one.partition)
            blocks = [_cut(wide[row_selector(block)], j) for block, j in zip(rows, one.block_ranks, strict=True)]
            return _of_blocks(blocks, rows, wide)
    return _decomposed(wide, method_of(one).edited_weight(wide, one, packed), one)


def _cut(block: torch.Tensor, rank: int) -> LowRank | None:
    """Ŵ_k − W_k of a block that is cut to ``rank``: the factor 0 for every smaller singular value."""
    removed = range(rank, min(block.shape))
    return difference(block, Directions(removed, [0.0] * len(removed))) if removed else None


def _of_blocks(blocks: Sequence[Block | None], rows: Sequence[Sequence[int]], weight: torch.Tensor) -> LowRank:
    """The factors of row blocks as those of the matrix: on the left each in its own rows and columns, right stacked."""
    given = [(chosen, block) for chosen, block in zip(rows, blocks, strict=True) if isinstance(block, LowRank)]
    right = torch.cat([weight.new_zeros(0, weight.shape[1]), *(block.right.to(weight.dtype) for _, block in given)])
    left, start = weight.new_zeros(len(weight), len(right)), 0
    for chosen, block in given:
        stop = start + len(block.right)
        left[row_selector(chosen), start:stop] = block.left.to(weight.dtype)
        start = stop
    return LowRank(left, right)


def _decomposed(weight: torch.Tensor, edited: torch.Tensor, one: MatrixEdit) -> LowRank:
    """Ŵ − W by its singular value decomposition, in float64, without what is rounding.

    ‖Ŵ − W‖ is off by the rounding of Ŵ to its dtype, at most half an eps of ‖Ŵ‖_F, and by the errors of two
    decompositions, each at most 4 √(m + n) 2⁻⁵² ‖W‖_F. The smallest singular values that are together less than that
    are left out.
    """
    norms = torch.stack([torch.linalg.vector_norm(side.double()) for side in (weight, edited)])
    noise = torch.finfo(edited.dtype).eps / 2 * float(norms[1]) + 2 * squares_error(one.shape, float(norms.max()))
    U, S, Vh = torch.linalg.svd(edited.double() - weight.double(), full_matrices=False)
    left_out = S.flip(0).square().cumsum(0).sqrt().flip(0)
    rank = int((left_out > noise).sum())
    _check_rank(one, rank)
    return LowRank((U[:, :rank] * S[:rank]).to(weight.dtype), Vh[:rank].to(weight.dtype))


def _removed_ranks(one: BlockSvdEdit) -> int:
    """Σ (r_k − j_k), the rank of Ŵ − W."""
    return sum(full_ranks(one.shape, one.clusters, one.partition)) - sum(one.block_ranks)


def _check_rank(one: MatrixEdit, rank: int) -> None:
    """Refuse an adapter whose factors have no fewer numbers than the matrix.

    Raises:
        EditError: they have; the message says the rank.
    """
    rows, columns = one.shape
    if rank and not is_smaller(rows, columns, rank):
        raise EditError(
            f"the difference from the base has rank {rank}, so that an adapter of {one.module} would have "
            f"{rank * (rows + columns):,} numbers, no fewer than the {rows * columns:,} of the matrix; "
            "format=checkpoint exports it"
        )
