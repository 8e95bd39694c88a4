"""Random edits as large as the one that was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.harness.evaluation import Evaluation, NotFiniteError
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import target_matrix
from cti_edits.progress import Silent
from cti_edits.replay.session import Session
from cti_edits.search.control import RandomDraws, has_control, random_control
from tests.support.edits import edit_of
from tests.support.small_searches import Notes, lm_of
from tests.support.tiny_models import tiny_model


class Seen:
    """Keeps the weights with which the model is evaluated."""

    def __init__(self, model: Any, *matrices: tuple[str, int]) -> None:
        self._targets = [target_matrix(model, matrix, layer) for matrix, layer in matrices]
        self.weights: list[list[torch.Tensor]] = []

    def __call__(self) -> Evaluation:
        self.weights.append([target.weight.clone() for target in self._targets])
        count = len(self.weights)
        return Evaluation(count / 10, float(count), (True,))


def test_every_draw_has_the_ranks_of_the_edit_and_the_weights_are_put_back(tmp_path: Path) -> None:
    lm = lm_of("gptj", tiny_model("gptj", seed=4))
    found = edit_of(lm.model, ("U_in", 0, 2, 0.3), ("U_out", 1, 1, 0.1))
    seen = Seen(lm.model, ("U_in", 0), ("U_out", 1))
    former = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    control = random_control(Session(lm), found, RandomDraws(3, 7, SpectrumCache(tmp_path)), 12, seen, Silent())
    assert control is not None
    assert (control.n, control.edited, control.edited_nll) == (12, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    for matrices in seen.weights:
        for one, weight in zip(found.edits, matrices, strict=True):
            assert isinstance(one, BlockSvdEdit)
            for block, rank in zip(torch.tensor_split(weight.double(), one.clusters), one.block_ranks, strict=True):
                assert int(torch.linalg.matrix_rank(block, atol=1e-4)) == rank
    assert len({tuple(matrices[0].flatten().tolist()) for matrices in seen.weights}) == 3
    assert all(torch.equal(tensor, former[name]) for name, tensor in lm.model.state_dict().items())


def test_a_loss_that_is_not_finite_leaves_a_draw_out(tmp_path: Path) -> None:
    lm = lm_of("gptj", tiny_model("gptj"))
    calls: list[int] = []

    def evaluate() -> Evaluation:
        calls.append(0)
        if len(calls) < 3:
            raise NotFiniteError("no number")
        return Evaluation(0.5, 1.0, (True,))

    notes = Notes()
    draws = RandomDraws(3, 0, SpectrumCache(tmp_path))
    one = edit_of(lm.model, ("U_in", 0, 2, 0.3))
    control = random_control(Session(lm), one, draws, 5, evaluate, notes)
    assert control is not None
    assert control.edited == (0.5,)
    assert notes.lines == ["random control: a draw is left out: no number"] * 2
    calls.clear()
    assert random_control(Session(lm), one, RandomDraws(2, 0, draws.cache), 5, evaluate, notes) is None


def test_an_empty_edit_has_no_control() -> None:
    lm = lm_of("gptj")
    assert not has_control(edit_of(lm.model))
    assert has_control(edit_of(lm.model, ("U_in", 0, 1, 0.5)))
