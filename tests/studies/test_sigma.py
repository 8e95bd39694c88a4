"""Every σ with its g, against autograd and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from cti_edits.search.candidates import MatrixId
from cti_edits.studies import sigma
from cti_edits.studies.correlation import shown
from cti_edits.studies.sigma import Values
from cti_edits.studies.study import Record
from tests.support.small_studies import records_of, small_context, small_question


def test_the_values_are_those_of_autograd_and_numpy(tmp_path: Path) -> None:
    question = small_question("sigma", test_rows=None, clusters=(1, 3), seed=5)
    with small_context(question, tmp_path) as context:
        records = records_of(question, tmp_path, context)
        targets = context.targets()
        for target in targets.values():
            target.parameter.requires_grad_(True)
        loss = context.session.lm.answer_losses(context.calibration(5).gold).mean()
        parameters = [target.parameter for target in targets.values()]
        gradients = dict(zip(targets, torch.autograd.grad(loss, parameters), strict=True))
    assert len(records) == 2 * len(targets) == 12
    for record in records:
        assert isinstance(record, Values)
        place = MatrixId(record.layer, record.matrix)
        target = targets[place]
        weight = target.weight.double().numpy()
        gradient = target.oriented(gradients[place]).double().numpy()
        sigma, slopes = [], []
        for W, G in zip(
            np.array_split(weight, record.clusters), np.array_split(gradient, record.clusters), strict=True
        ):
            U, S, V = np.linalg.svd(W, full_matrices=False)
            sigma += S.tolist()
            slopes += np.einsum("mi,mn,in->i", U, G, V).tolist()
        np.testing.assert_allclose(record.sigma, sigma, rtol=1e-6)
        np.testing.assert_allclose(record.gradients, slopes, rtol=1e-3, atol=1e-6)


def values(matrix: str, layer: int, pairs: list[tuple[float, float]]) -> Values:
    sigma, gradients = (list(side) for side in zip(*pairs, strict=True))
    return Values(seed=0, clusters=1, matrix=matrix, layer=layer, sigma=sigma, gradients=gradients)


def test_the_table_has_the_correlations_of_each_matrix_and_of_all() -> None:
    random = np.random.default_rng(0)
    parts = [[(float(abs(x)), float(y + x / 2)) for x, y in random.normal(size=(9, 2))] for _ in range(2)]
    records: list[Record] = [values("U_in", 0, parts[0]), values("U_out", 3, parts[1])]
    table = sigma.table(records)
    assert [row[:2] for row in table.rows] == [("all", ""), ("U_in", "0"), ("U_out", "3")]
    for row, pairs in zip(table.rows, [parts[0] + parts[1], *parts], strict=True):
        both = np.array(pairs).T
        pearson = np.corrcoef(both)[0, 1]
        spearman = np.corrcoef(rankdata(both[0]), rankdata(both[1]))[0, 1]
        assert row[4:7] == (str(len(pairs)), shown(float(pearson)), shown(float(spearman)))
        assert row[7] == f"{100 * (both[1] < 0).mean():.1f} %"


def test_a_zero_matrix_has_no_correlation_and_a_picture() -> None:
    from cti_edits.pictures import svg

    records: list[Record] = [values("U_in", 0, [(0.0, 0.0), (0.0, 0.0)])]
    assert sigma.table(records).rows[1][5:7] == ("none", "none")
    assert svg("σ", "nothing", lambda figure: sigma.draw(figure, records)).startswith(b"<?xml")


def test_nothing_of_the_model_is_left_changed(tmp_path: Path) -> None:
    question = small_question("sigma", test_rows=None)
    with small_context(question, tmp_path) as context:
        former = [target.weight.clone() for target in context.targets().values()]
        records_of(question, tmp_path, context)
        assert all(
            torch.equal(one, target.weight) for one, target in zip(former, context.targets().values(), strict=True)
        )
