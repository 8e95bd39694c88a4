"""Scores against the true change of the loss, with each of them computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from cti_edits.studies import scorers
from cti_edits.studies.scorers import Cut, Scored
from tests.support.installed_plugins import InstalledPlugins
from tests.support.small_studies import records_of, small_context, small_question

BUILT_IN = ("paper", "negated-paper", "sum-abs", "predicted-change", "sigma", "random")


def test_cuts_and_scores_are_those_of_numpy(tmp_path: Path) -> None:
    question = small_question("scorers", seed=2)
    with small_context(question, tmp_path) as context:
        records = records_of(question, tmp_path, context)
        targets, gold, lm = context.targets(), context.calibration(2).gold, context.session.lm
        for target in targets.values():
            target.parameter.requires_grad_(True)
        with torch.enable_grad():
            parameters = [target.parameter for target in targets.values()]
            gradients = torch.autograd.grad(lm.answer_losses(gold).mean(), parameters)
        scores: dict[str, dict[str, float]] = {name: {} for name in BUILT_IN}
        decomposed = {}
        for (place, target), gradient in zip(targets.items(), gradients, strict=True):
            G = target.oriented(gradient).double().numpy()
            target.parameter.requires_grad_(False)
            U, S, V = decomposed[place] = np.linalg.svd(target.weight.double().numpy(), full_matrices=False)
            g = np.einsum("mi,mn,in->i", U, G, V)[-20:]
            name = f"K 1, {place}"
            scores["paper"][name] = float(np.minimum(g, 0).sum())
            scores["negated-paper"][name] = -scores["paper"][name]
            scores["sum-abs"][name] = -float(np.abs(g).sum())
            scores["predicted-change"][name] = -float((S[-20:] * g).sum())
            scores["sigma"][name] = float(S[-20:].sum())
        with torch.no_grad():
            unedited = float(lm.answer_losses(gold).mean())
            changes: dict[float, dict[str, float]] = {0.9: {}, 0.5: {}}
            for rho, of_rho in changes.items():
                for place, target in targets.items():
                    U, S, V = decomposed[place]
                    rank = math.floor(rho * len(S) + 1e-9)
                    former = target.weight.clone()
                    target.weight.copy_(torch.from_numpy((U[:, :rank] * S[:rank]) @ V[:rank]))
                    of_rho[f"K 1, {place}"] = float(lm.answer_losses(gold).mean()) - unedited
                    target.weight.copy_(former)
    cuts = [record for record in records if isinstance(record, Cut)]
    assert len(cuts) == 2 * len(targets)
    for cut in cuts:
        assert cut.loss_change == pytest.approx(changes[cut.rho][cut.place], abs=1e-5)
    every = [record for record in records if isinstance(record, Scored)]
    assert tuple(scored.scorer for scored in every) == BUILT_IN
    for scored in every:
        if scored.scorer != "random":
            assert scored.scores == pytest.approx(scores[scored.scorer], rel=1e-3, abs=1e-6)
        for (_, rho), found in scorers.correlations(records, scored).items():
            places = list(changes[rho])
            ranks = (
                rankdata([scored.scores[place] for place in places]),
                rankdata([changes[rho][place] for place in places]),
            )
            assert found == pytest.approx(float(np.corrcoef(*ranks)[0, 1]))


def test_only_cuts_of_the_same_draw_count() -> None:
    def cut(seed: int, layer: int, change: float) -> Cut:
        return Cut(
            seed=seed, matrix="U_in", layer=layer, clusters=1, rho=0.9, loss_change=change, accuracy_change=0.0
        )  # fmt: skip

    scored = Scored(
        seed=1, scorer="x", scores={f"K 1, U_in of layer {layer}": float(layer) for layer in range(3)},
        matrix=None, layer=None, clusters=None, rho=None, candidates=1, calibration_rows=1, calibration_baseline=0.0,
        calibration_edited=0.0, held_out_rows=1, baseline=0.0, edited=0.0, baseline_nll=0.0, edited_nll=0.0,
        p_value=1.0,
    )  # fmt: skip
    cuts = [cut(seed, layer, (1 if seed else -1) * layer * 1.5) for seed in (0, 1) for layer in range(3)]
    assert scorers.correlations([*cuts, scored], scored) == {(1, 0.9): pytest.approx(1.0)}
    assert scorers.table([*cuts, scored]).rows[0][:4] == ("x", "1", "+1.000", "none")


PLUGIN = """
from cti_edits.hookspecs import hookimpl
from cti_edits.search.scorers import Scorer

@hookimpl
def scorers():
    return [Scorer("last-layer", "the last layer first", lambda matrix: -float(matrix.target.layer))]
"""


def test_a_plugin_s_scorer_is_among_them(plugin_folder: InstalledPlugins, tmp_path: Path) -> None:
    plugin_folder.add("last_layer", PLUGIN)
    records = records_of(small_question("scorers", top_q=1, rates=(0.1,)), tmp_path)
    (scored,) = (one for one in records if isinstance(one, Scored) and one.scorer == "last-layer")
    assert scored.scores["K 1, U_in of layer 2"] == -2.0
    assert scored.layer in (2, None)
    assert scorers.table(records).rows[-1][0] == "last-layer"
