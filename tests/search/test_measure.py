"""The winner on the test part, with the unedited model beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.harness.calibration import CalibrationSet, final_part
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import applied
from cti_edits.progress import Silent
from cti_edits.replay.session import EvaluatorName, Session
from cti_edits.search.control import RandomDraws
from cti_edits.search.measure import answers, measure
from cti_edits.stats import mcnemar_p_value, paired_interval
from tests.support.edits import edit_of
from tests.support.small_searches import lm_of
from tests.support.small_tasks import write_task
from tests.support.tiny_models import tiny_model

CHOICE = 'validation_split: validation\ndoc_to_choice: ["moo", "baa"]\ndoc_to_target: gold\n'
PLACES = (("U_in", 0, 2, 0.05), ("U_out", 1, 1, 0.05))


@pytest.fixture(scope="module")
def test_part(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder: Path = tmp_path_factory.mktemp("tasks")
    return final_part(load_task(write_task(folder, "ten", more=CHOICE), str(folder)))


@pytest.mark.parametrize("evaluator", ["replay", "reference"])
def test_both_models_on_the_same_rows(evaluator: EvaluatorName, test_part: CalibrationSet) -> None:
    lm = lm_of("gptj", tiny_model("gptj", seed=4))
    edit = edit_of(lm.model, *PLACES)
    former = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    reference = ReferenceEvaluator(lm, test_part)
    base = reference.evaluate()
    with applied(edit, lm.model):
        edited = reference.evaluate()
    assert base.correct != edited.correct, "the edit changes no answer, so this test shows nothing"
    found = measure(Session(lm, evaluator), test_part, edit, Silent()).test
    assert (found.n, found.baseline, found.edited) == (10, base.accuracy, edited.accuracy)
    assert found.baseline_nll == pytest.approx(base.nll, abs=1e-5)
    assert found.edited_nll == pytest.approx(edited.nll, abs=1e-5)
    assert found.ci95 == paired_interval(base.correct, edited.correct)
    assert found.p_value == mcnemar_p_value(base.correct, edited.correct)
    assert found.majority_class == test_part.majority_class
    assert all(torch.equal(tensor, former[name]) for name, tensor in lm.model.state_dict().items())


def test_random_edits_are_measured_beside_it(test_part: CalibrationSet, tmp_path: Path) -> None:
    lm = lm_of("gptj", tiny_model("gptj", seed=4))
    edit = edit_of(lm.model, *PLACES)
    draws = RandomDraws(2, 0, SpectrumCache(tmp_path))
    found = measure(Session(lm), test_part, edit, Silent(), draws)
    assert found.test == measure(Session(lm), test_part, edit, Silent()).test
    assert found.control is not None
    assert (found.control.n, len(found.control.edited)) == (10, 2)
    assert len({found.test.edited_nll, *found.control.edited_nll}) == 3
    assert measure(Session(lm), test_part, edit_of(lm.model), Silent(), draws).control is None


def test_the_correction_of_labels_stands_beside_it(test_part: CalibrationSet) -> None:
    lm = lm_of("gptj", tiny_model("gptj", seed=4))
    edit = edit_of(lm.model, *PLACES)
    found = measure(Session(lm), test_part, edit, Silent(), calibration=test_part).label_bias
    assert found is not None
    assert (found.n, len(found.offsets)) == (10, 2)
    # Fitted on the very rows, it is at least as good as any constant answer.
    assert found.corrected >= test_part.majority_class
    assert measure(Session(lm), test_part, edit, Silent()).label_bias is None


@pytest.mark.parametrize(
    ("seed", "places", "before", "gain"),
    [
        (2, (("U_in", 0, 1, 0.02), ("U_out", 0, 1, 0.02)), (1, 9), 0.3),
        (4, tuple(("U_out", layer, 1, 0.02) for layer in range(3)), (0, 10), 0.4),
    ],
)
def test_a_gain_by_giving_one_answer_is_called_collapsed(
    seed: int, places: Any, before: tuple[int, int], gain: float, test_part: CalibrationSet
) -> None:
    lm = lm_of("gptj", tiny_model("gptj", seed=seed))
    found = measure(Session(lm), test_part, edit_of(lm.model, *places), Silent()).test
    assert (found.baseline_answers, found.edited_answers) == (before, (10, 0))
    assert found.edited - found.baseline == pytest.approx(gain)
    verdict = found.verdict()
    assert verdict is not None
    assert (verdict.word, verdict.reason) == ("collapsed", "100.0 % of its answers are one and the same")


def test_how_often_each_label_is_given(test_part: CalibrationSet) -> None:
    found = answers(test_part, [0, 1, 1], [1, 1, 1])
    assert found == {"labels": ("moo", "baa"), "baseline_answers": (1, 2), "edited_answers": (0, 3)}
    assert answers(test_part, None, None) == {}


def test_an_empty_edit_is_evaluated_once(test_part: CalibrationSet) -> None:
    lm = lm_of("gptj")
    calls: list[int] = []
    lm.model.register_forward_pre_hook(lambda *_: calls.append(0))
    session = Session(lm)
    found = measure(session, test_part, edit_of(lm.model), Silent()).test
    assert (found.baseline, found.baseline_nll) == (found.edited, found.edited_nll)
    assert found.p_value == 1.0
    once = len(calls)
    calls.clear()
    measure(session, test_part, edit_of(lm.model, *PLACES), Silent())
    assert len(calls) > once
