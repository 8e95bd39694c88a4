"""Whole searches of directions on tiny models, and the trials that they are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.artifact.manifest import BaseModel, Edit, load
from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.evaluation import Evaluation, StopRule
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.models.apply import applied, target_matrices, target_matrix
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.verify import verify
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import EvaluatorName
from cti_edits.report.edit_lines import manifest_lines
from cti_edits.report.search_report import print_report
from cti_edits.search.candidates import MatrixId
from cti_edits.search.cross_validation import Fitted
from cti_edits.search.direction_gradients import direction_gradients
from cti_edits.search.direction_trials import DirectionTrials, Step, propose
from cti_edits.search.directions import chosen_directions, step_scales
from cti_edits.search.presets import find_preset, with_overrides
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import Notes, choices, lm_of, search_context
from tests.support.tiny_models import MASKED, tiny_model

FAMILIES = ("llama", "gpt2", "roberta")
PRESETS: dict[str, dict[str, object]] = {
    "sigma-step": {"directions": (1, 12, 60), "drops": (0.3, 1.0)},
    "sigma-fit": {"directions": (4, 30), "epochs": 2},
}


def settings_of(preset: str, **more: object) -> SearchSettings:
    return with_overrides(find_preset(preset).settings("causal"), {"samples": 7, **PRESETS[preset], **more})


def searched(
    lm: Any,
    rows: CalibrationSet,
    settings: SearchSettings,
    evaluator: EvaluatorName = "replay",
    exact_stop: bool = False,
    progress: Notes | None = None,
) -> SearchResult:
    return run_search(
        lm, rows, settings, "tiny", "tests/tiny", progress=progress, evaluator=evaluator, exact_stop=exact_stop,
        test=rows,
    )  # fmt: skip


@pytest.fixture(scope="module", params=[(preset, family) for preset in PRESETS for family in FAMILIES], ids="-".join)
def search(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, CalibrationSet, SearchSettings, SearchResult]]:
    preset, family = request.param
    lm = lm_of(family)
    rows = choices(tmp_path_factory.mktemp("rows"), masked=family in MASKED)
    settings = settings_of(preset)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        former = {name: value.clone() for name, value in lm.model.state_dict().items()}
        result = searched(lm, rows, settings)
        assert all(torch.equal(value, former[name]) for name, value in lm.model.state_dict().items())
        yield lm, rows, settings, result


def test_it_ends_in_a_manifest_that_can_be_read_applied_and_verified(
    search: tuple[Any, CalibrationSet, SearchSettings, SearchResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm, rows, settings, result = search
    assert result.best.candidate is not None, "this model finds an edit"
    path = result.edit.write(tmp_path / "tiny.json")
    edit = load(path)
    assert edit == result.edit
    assert edit.to_json()["schema_version"] == 2
    record = edit.search
    assert record is not None
    assert (record.method, record.directions, record.top_q, record.rates) == (
        "directions", settings.directions, None, (),
    )  # fmt: skip
    assert (record.epochs, record.drops) == (settings.epochs or None, None if settings.epochs else settings.drops)
    assert record.candidates == len(result.outcomes) == (1 if settings.epochs else 6)
    kinds = {type(one) for one in edit.edits}
    assert kinds == {DirectionsEdit}
    lm.model.save_pretrained(tmp_path / "base")
    checks = list(verify(edit, open_checkpoint(str(tmp_path / "base"))))
    assert [one.verdict for one in checks] == ["ok"] * len(edit.edits)
    with applied(edit, lm.model):
        measured = ReferenceEvaluator(lm, rows).evaluate()
    assert measured.correct == result.best.correct
    assert measured.nll == pytest.approx(result.best.nll, abs=2e-5)
    assert edit.results.test is not None
    assert edit.results.test.edited == result.best.accuracy
    count = sum(len(one.index) for one in edit.edits if isinstance(one, DirectionsEdit))
    assert isinstance(result.best.candidate, Step | Fitted)
    assert count == result.best.candidate.count
    print_report(result, rows, path)
    printed = capsys.readouterr().out
    heading = next(line for line in printed.splitlines() if line.startswith("directions"))
    assert heading.split()[1] == ("epochs" if settings.epochs else "f")
    assert f"{record.candidates} candidate" in printed
    assert any("directions" in str(line) for line in manifest_lines(edit))


def test_the_reference_evaluator_finds_the_same_and_so_does_stopping(
    search: tuple[Any, CalibrationSet, SearchSettings, SearchResult],
) -> None:
    lm, rows, settings, result = search
    reference = searched(lm, rows, settings, "reference")
    assert reference.best.candidate == result.best.candidate
    assert reference.best.correct == result.best.correct
    assert reference.edit.edits == result.edit.edits
    stopping = searched(lm, rows, settings, exact_stop=True)
    assert (stopping.best, stopping.edit.digest()) == (result.best, result.edit.digest())
    assert set(stopping.outcomes) <= set(result.outcomes)


def test_an_edit_is_replayed_from_its_first_block_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = ReplayEvaluator.evaluate
    started: list[tuple[int, Evaluation | None]] = []

    def noted(self: ReplayEvaluator, start: int = 0, stop: StopRule | None = None) -> Evaluation | None:
        found = evaluate(self, start, stop)
        started.append((start, found))
        return found

    monkeypatch.setattr(ReplayEvaluator, "evaluate", noted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lm, rows = lm_of("gptj"), choices(tmp_path)
    settings = settings_of("sigma-step", directions=(1, 2), drops=(0.3,), matrices=("U_out",))
    run_search(lm, rows, settings, "tiny", "tiny", exact_stop=False)
    trials = propose(search_context(lm, rows, settings, tmp_path))
    edited = [min(one.layer for one in trials.matrix_edits(each, None)) for each in trials.candidates]
    assert [start for start, _ in started[:3]] == [0, *edited]
    assert any(edited), "an edit that leaves the first block as it is"
    for trial, (_, found) in zip(trials.trials(trials.candidates), started[1:], strict=False):
        former = [(target, target.weight.clone()) for target, _ in trial.weights]
        with torch.no_grad():
            for target, weight in trial.weights:
                target.weight.copy_(weight)
            whole = ReferenceEvaluator(lm, rows).evaluate()
            for target, weight in former:
                target.weight.copy_(weight)
        assert found is not None
        assert found.correct == whole.correct
        assert found.nll == pytest.approx(whole.nll, abs=2e-5)


def test_each_n_is_tried_with_each_f_and_more_than_there_are_are_tried_once(tmp_path: Path) -> None:
    settings = settings_of("sigma-step", directions=(2, 4000, 5000), matrices=("U_in",))
    trials = propose(search_context(lm_of("gptj"), choices(tmp_path), settings, tmp_path))
    assert list(trials.candidates) == [Step(2, 0.3), Step(2, 1.0), Step(96, 0.3), Step(96, 1.0)]
    assert str(trials.candidates[0]) == "one step on 2 directions, f = 0.3"
    (first, *_), (last, *_) = ([*trials.trials([each])] for each in (trials.candidates[0], trials.candidates[-1]))
    assert (first.added_parameters, last.added_parameters, len(last.weights)) == (2, 96, 3)


def test_of_half_precision_the_winner_is_measured_with_what_is_applied(tmp_path: Path) -> None:
    lm, rows = lm_of("llama", tiny_model("llama").to(torch.bfloat16)), choices(tmp_path)
    context = search_context(lm, rows, settings_of("sigma-step", clusters=(3,)), tmp_path)
    trials = propose(context)
    result = searched(lm, rows, context.settings)
    for candidate in trials.candidates:
        exact = trials.as_applied(candidate) or next(trials.trials([candidate]))
        edit = dataclasses.replace(result.edit, edits=trials.matrix_edits(candidate, None))
        with applied(edit, lm.model):
            assert all(torch.equal(target.weight, weight) for target, weight in exact.weights)


def test_what_is_applied_does_not_come_from_the_decompositions_of_the_search(tmp_path: Path) -> None:
    """Those may be off by rounding; here they are off by more, so that it shows."""
    lm, rows = lm_of("llama"), choices(tmp_path)
    context = search_context(lm, rows, settings_of("sigma-step"), tmp_path)
    gradients = direction_gradients(context.session, rows, 2, context.targets, context.cache, context.progress)
    step = Step(12, 1.0)
    scales = step_scales(gradients, chosen_directions(gradients, 12), 1.0)
    blocks = {
        place: [
            dataclasses.replace(one, spectrum=dataclasses.replace(one.spectrum, vectors=one.spectrum.vectors + 1e-5))
            for one in of_matrix
        ]
        for place, of_matrix in gradients.blocks.items()
    }
    trials = DirectionTrials(context.targets, dataclasses.replace(gradients, blocks=blocks), {step: scales})
    (tried,) = trials.trials([step])
    exact = trials.as_applied(step)
    assert exact is not None
    assert not all(torch.equal(one, other) for (_, one), (_, other) in zip(exact.weights, tried.weights, strict=True))
    edit = Edit(
        name="tried",
        description="",
        base_model=BaseModel("tests/tiny", None, "LlamaForCausalLM", "float32"),
        edits=trials.matrix_edits(step, None),
    )
    with applied(edit, lm.model):
        assert all(torch.equal(target.weight, weight) for target, weight in exact.weights)


def break_at(lm: Any, matrix: MatrixId, distance: float) -> None:
    """The matrix gives what is no number once its weight has moved so far."""
    target = target_matrix(lm.model, matrix.matrix, matrix.layer)
    former = target.weight.clone()

    def poison(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output if float((target.weight - former).norm()) < distance else output * float("nan")

    lm.model.get_submodule(target.module).register_forward_hook(poison)


@pytest.mark.parametrize("evaluator", ["replay", "reference"])
@pytest.mark.parametrize("exact_stop", [True, False])
def test_a_candidate_that_gives_what_is_no_number_loses_with_a_line(
    evaluator: EvaluatorName, exact_stop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = choices(tmp_path)
    settings = settings_of("sigma-step", directions=(12,), drops=(0.1, 0.3, 1.0))
    whole = searched(lm_of("llama"), rows, settings)
    context = search_context(lm_of("llama"), rows, settings, tmp_path)
    trials = propose(context)
    small, large = (next(trials.trials([each])) for each in trials.candidates[1:])
    (target, moved), (_, moved_far) = small.weights[0], large.weights[0]
    distance = float((moved - target.weight).norm() + (moved_far - target.weight).norm()) / 2
    lm = lm_of("llama")
    break_at(lm, MatrixId(target.layer, target.matrix), distance)
    notes = Notes()
    found = searched(lm, rows, settings, evaluator, exact_stop, notes)
    assert found.failed == (Step(12, 1.0),)
    (line,) = [line for line in notes.lines if line.startswith("loses: ")]
    assert line.startswith("loses: one step on 12 directions, f = 1: the log-likelihood of the gold answer on row ")
    assert found.best.candidate != Step(12, 1.0)
    assert found.edit.search is not None
    assert found.edit.search.candidates == 3
    if not exact_stop:
        assert [one.candidate for one in found.outcomes] == [Step(12, 0.1), Step(12, 0.3)]
        assert [one.correct for one in found.outcomes] == [one.correct for one in whole.outcomes[:2]]


def test_where_every_candidate_gives_what_is_no_number_the_edit_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lm, rows = lm_of("llama"), choices(tmp_path)
    context = search_context(lm, rows, settings_of("sigma-step"), tmp_path)
    trials: DirectionTrials = propose(context)
    (first,) = trials.matrix_edits(trials.candidates[0], None)
    break_at(lm, MatrixId(first.layer, first.matrix), 1e-9)
    found = searched(lm, rows, context.settings)
    assert (len(found.failed), found.outcomes, found.edit.edits) == (6, (), ())
    assert found.best == found.unedited


def test_steps_that_go_too_far_for_a_manifest_are_left_out(tmp_path: Path) -> None:
    """One singular value is so small that its factor would be huge."""
    lm, rows, notes = lm_of("gptj"), choices(tmp_path), Notes()
    for target in target_matrices(lm.model, ("U_in",)):
        U, S, Vh = torch.linalg.svd(target.weight.double(), full_matrices=False)
        S[-1] = 2e-5 * S[0]
        with torch.no_grad():
            target.weight.copy_((U * S) @ Vh)
    settings = settings_of("sigma-step", directions=(96,), drops=(0.1, 1000.0), matrices=("U_in",))
    trials = propose(search_context(lm, rows, settings, tmp_path, notes))
    assert list(trials.candidates) == [Step(96, 0.1)]
    assert notes.lines == ["left out: one step on 96 directions, f = 1000: a factor would be beyond 1,000,000"]
    with pytest.raises(EditError, match=r"^drops: every step would have a factor beyond 1,000,000; "):
        propose(search_context(lm, rows, dataclasses.replace(settings, drops=(1000.0,)), tmp_path))
