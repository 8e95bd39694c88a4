"""Edits that are composed greedily, against evaluating every cut of the edited model by lm-eval."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from cti_edits.artifact.manifest import Edit, parse
from cti_edits.artifact.ranks import block_ranks, kept_parameters
from cti_edits.harness.calibration import CalibrationSet, draw, final_part
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import applied, target_matrices
from cti_edits.replay.session import replaced_weight
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.evaluate import completed
from cti_edits.search.presets import find_preset, with_overrides
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import lm_of
from tests.support.small_studies import small_task
from tests.support.tiny_models import tiny_model

RATES = (0.5, 0.1)
SETTINGS = SearchSettings(samples=10, top_q=None, clusters=(1,), rates=RATES, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("task")


@pytest.fixture(scope="module")
def rows(folder: Path) -> tuple[CalibrationSet, CalibrationSet]:
    task = small_task(folder)
    return draw(task, 10, 1), final_part(task)


def search(rows: tuple[CalibrationSet, CalibrationSet], settings: SearchSettings, test: bool = True) -> SearchResult:
    model = tiny_model("gptj", seed=3)
    former = {name: weight.clone() for name, weight in model.state_dict().items()}
    result = run_search(
        lm_of("gptj", model), rows[0], settings, "composed", "tiny", test=rows[1] if test else None
    )  # fmt: skip
    assert all(torch.equal(former[name], weight) for name, weight in model.state_dict().items())
    return result


@pytest.fixture(scope="module")
def composed(rows: tuple[CalibrationSet, CalibrationSet]) -> SearchResult:
    return search(rows, dataclasses.replace(SETTINGS, compose=20))


def first_edits(edit: Edit, count: int) -> Edit:
    return dataclasses.replace(edit, edits=edit.edits[:count])


def best_on_top(edit: Edit, calibration: CalibrationSet) -> tuple[RankCut | None, Evaluation]:
    """The best cut of a matrix that ``edit`` leaves, by lm-eval; None where the model as it stands is the best."""
    lm = lm_of("gptj", tiny_model("gptj", seed=3))
    taken = {(one.matrix, one.layer) for one in edit.edits}
    with applied(edit, lm.model):
        found: list[tuple[tuple[float, float, int], RankCut | None, Evaluation]] = []
        stands = completed(ReferenceEvaluator(lm, calibration).evaluate())
        found.append(((-stands.accuracy, stands.nll, 0), None, stands))
        for target in target_matrices(lm.model, ("U_in", "U_out")):
            if (target.matrix, target.layer) in taken:
                continue
            for rho in RATES:
                shape = (target.weight.shape[0], target.weight.shape[1])
                ranks = block_ranks(shape, 1, rho)
                with replaced_weight(target, truncate(target.weight, ranks)):
                    one = completed(ReferenceEvaluator(lm, calibration).evaluate())
                added = kept_parameters(shape, ranks) - shape[0] * shape[1]
                cut = RankCut(MatrixId(target.layer, target.matrix), 1, rho)
                found.append(((-one.accuracy, one.nll, added), cut, one))
    _, best, evaluation = min(found, key=lambda entry: entry[0])
    return best, evaluation


def test_each_edit_is_the_best_on_top_of_those_before(
    composed: SearchResult, rows: tuple[CalibrationSet, CalibrationSet]
) -> None:
    calibration, test = rows
    steps = composed.steps
    assert 1 < len(steps) == len(composed.edit.edits) <= 6
    assert len({(one.matrix, one.layer) for one in composed.edit.edits}) == len(steps)
    for number, step in enumerate(steps):
        cut, evaluation = best_on_top(first_edits(composed.edit, number), calibration)
        assert step.candidate == cut
        assert step.accuracy == evaluation.accuracy
        assert step.nll == pytest.approx(evaluation.nll, abs=2e-6)
        lm = lm_of("gptj", tiny_model("gptj", seed=3))
        with applied(first_edits(composed.edit, number + 1), lm.model):
            assert step.held_out == completed(ReferenceEvaluator(lm, test).evaluate()).accuracy
    # Nothing helps any more, or nothing is left.
    if len(steps) < 6:
        assert best_on_top(composed.edit, calibration)[0] is None
    order = [(composed.unedited.accuracy, -composed.unedited.nll), *((one.accuracy, -one.nll) for one in steps)]
    assert order == sorted(order)


def test_the_manifest_has_all_edits_and_the_figures_of_them_together(composed: SearchResult) -> None:
    edit, last = composed.edit, composed.steps[-1]
    calibration, test, record = edit.results.calibration, edit.results.test, edit.search
    assert calibration is not None
    assert test is not None
    assert record is not None
    assert (calibration.baseline, calibration.edited) == (composed.unedited.accuracy, last.accuracy)
    assert calibration.edited_nll == last.nll
    assert test.edited == last.held_out
    more = len(composed.steps) - 1
    assert edit.description == (
        f"Found by a search on small_study: {composed.steps[0].candidate}; then {more} more, "
        "each the best on top of those before."
    )
    # 12 cuts of six matrices, then of the five that were left, and so on; one more look where that ended it.
    looks = min(len(composed.steps) + 1, 6)
    assert record.candidates == sum(2 * (6 - number) for number in range(looks))
    assert parse(json.dumps(edit.to_json()).encode()) == edit


def test_fewer_are_the_first_of_more(composed: SearchResult, rows: tuple[CalibrationSet, CalibrationSet]) -> None:
    two = search(rows, dataclasses.replace(SETTINGS, compose=2), test=False)
    assert [step.candidate for step in two.steps] == [step.candidate for step in composed.steps[:2]]
    assert two.edit.edits == composed.edit.edits[:2]
    assert [step.held_out for step in two.steps] == [None, None]
    one = search(rows, SETTINGS, test=False)
    assert one.steps == ()
    assert one.edit.edits == composed.edit.edits[:1]
    assert one.best == composed.best


def test_scores_and_directions_are_composed_too(rows: tuple[CalibrationSet, CalibrationSet]) -> None:
    scored = search(rows, dataclasses.replace(SETTINGS, top_q=1, compose=3), test=False)
    assert len(scored.edit.edits) == len(scored.steps)
    settings = SearchSettings(
        samples=10, top_q=None, clusters=(1,), seed=1, method="directions", directions=(2,), drops=(0.3,), compose=3
    )
    steps = search(rows, settings)
    assert len(steps.steps) > 1
    places = [(one.matrix, one.layer) for one in steps.edit.edits]
    assert len(set(places)) == len(places)
    assert steps.edit.results.test is not None
    assert steps.edit.results.test.edited == steps.steps[-1].held_out


def test_the_preset_composes_over_all_layers() -> None:
    settings = find_preset("laser-compose").settings("causal")
    assert settings == dataclasses.replace(find_preset("laser").settings("causal"), compose=5, preset="laser-compose")
    assert with_overrides(settings, {"compose": 2}).preset is None
