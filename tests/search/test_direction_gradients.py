"""g of all singular values, against autograd's whole gradient and numpy's decompositions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.models.apply import target_matrices
from cti_edits.search import direction_gradients as module
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import DirectionGradients, direction_gradients, singular_vectors
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, search_context
from tests.support.tiny_models import MASKED, tiny_model

FOLDS = ((0, 3, 5), (1, 4), (2, 6))


def lm_and_rows(model_type: str, folder: Path) -> tuple[Any, CalibrationSet]:
    return lm_of(model_type, tiny_model(model_type).double()), choices(folder, masked=model_type in MASKED)


def found(
    lm: Any, rows: CalibrationSet, folder: Path, clusters: int = 1, folds: Sequence[Sequence[int]] | None = None
) -> DirectionGradients:
    context = search_context(lm, rows, SearchSettings(), folder)
    return direction_gradients(context.session, rows, clusters, context.targets, context.cache, context.progress, folds)


def expected(lm: Any, rows: CalibrationSet, places: Sequence[int], clusters: int) -> dict[MatrixId, list[torch.Tensor]]:
    """diag(U_kᵀ G_k V_k), of G by autograd."""
    targets = target_matrices(lm.model, ("U_in", "U_out"))
    loss = lm.answer_losses([rows.gold[place] for place in places]).mean()
    gradients = torch.autograd.grad(loss, [target.parameter for target in targets])
    made = {}
    for target, stored in zip(targets, gradients, strict=True):
        parts = zip(
            np.array_split(target.weight.numpy(), clusters),
            np.array_split(target.oriented(stored).numpy(), clusters),
            strict=True,
        )
        blocks = []
        for block, G in parts:
            U, _, Vh = np.linalg.svd(block, full_matrices=False)
            blocks.append(torch.from_numpy(np.diag(U.T @ G @ Vh.T).copy()))
        made[MatrixId(target.layer, target.matrix)] = blocks
    return made


def assert_close(ours: DirectionGradients, theirs: dict[MatrixId, list[torch.Tensor]]) -> None:
    assert set(ours.blocks) == set(theirs)
    for place, blocks in theirs.items():
        for one, g in zip(ours.blocks[place], blocks, strict=True):
            torch.testing.assert_close(one.gradients, g, rtol=1e-7, atol=1e-9 * float(g.abs().max()))


@pytest.mark.parametrize(("model_type", "clusters"), [("gptj", 1), ("gpt2", 5), ("roberta", 3)])
def test_all_are_diag_of_u_g_v(model_type: str, clusters: int, tmp_path: Path) -> None:
    lm, rows = lm_and_rows(model_type, tmp_path)
    ours = found(lm, rows, tmp_path, clusters)
    assert_close(ours, expected(lm, rows, range(7), clusters))
    assert ours.loss == pytest.approx(lm.answer_losses(rows.gold).mean().item(), rel=1e-9)
    assert (len(ours.folds), ours.by_fold) == (1, ())


def test_by_fold_and_together(tmp_path: Path) -> None:
    lm, rows = lm_and_rows("gptj", tmp_path)
    ours = found(lm, rows, tmp_path, 2, FOLDS)
    assert_close(ours, expected(lm, rows, range(7), 2))
    for number, fold in enumerate(FOLDS):
        for place, blocks in expected(lm, rows, fold, 2).items():
            for one, g in zip(ours.by_fold[number][place], blocks, strict=True):
                torch.testing.assert_close(one, g, rtol=1e-7, atol=1e-9 * float(g.abs().max()))
        rest = sorted(set(range(7)) - set(fold))
        assert_close(ours.without(number), expected(lm, rows, rest, 2))
        assert ours.without(number).loss == ours.loss


def test_several_passes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, rows = lm_and_rows("gptj", tmp_path)
    at_once = found(lm, rows, tmp_path, folds=FOLDS)
    # Of 48 x 32: two matrices at once, of six.
    monkeypatch.setattr(module, "AT_ONCE", 2 * (48 + 32) * 32 * 8)
    in_parts = found(lm, rows, tmp_path, folds=FOLDS)
    assert list(in_parts.blocks) == list(at_once.blocks)
    assert in_parts.loss == at_once.loss
    for place, blocks in at_once.blocks.items():
        for one, other in zip(blocks, in_parts.blocks[place], strict=True):
            torch.testing.assert_close(one.gradients, other.gradients, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("clusters", [1, 5])
@pytest.mark.parametrize("matrix", ["U_in", "U_out"])
def test_the_side_that_a_spectrum_has_not_is_made(matrix: str, clusters: int, tmp_path: Path) -> None:
    """Tall, wide and nearly square blocks; some of their directions, and all."""
    lm = lm_of("gpt2")
    context = search_context(lm, choices(tmp_path), SearchSettings(matrices=(matrix,)), tmp_path)
    target = context.targets[MatrixId(1, matrix)]
    spectra = context.cache.spectra(target.weight, "0" * 64, clusters)
    chosen = [[0, 3] for _ in spectra]
    every, some = singular_vectors(target, spectra), singular_vectors(target, spectra, chosen)
    for block, spectrum, whole, part in zip(
        torch.tensor_split(target.weight, clusters), spectra, every, some, strict=True
    ):
        assert (whole.U.dtype, part.V.dtype) == (torch.float32, torch.float32)
        torch.testing.assert_close((whole.U * spectrum.values.float()) @ whole.V.mT, block, rtol=1e-4, atol=1e-5)
        assert torch.equal(part.U, whole.U[:, [0, 3]])
        assert torch.equal(part.V, whole.V[:, [0, 3]])


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    lm, rows = lm_and_rows("gptj", tmp_path)
    with torch.no_grad():
        lm.model.transformer.h[1].mlp.fc_out.weight[0, 0] = float("inf")
    with pytest.raises(EditError, match=r"^transformer\.h\.1\.mlp\.fc_out: "):
        found(lm, rows, tmp_path)
