"""A session of a loaded model: which evaluator it has, and that the model has its own weights again at the end."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from cti_edits.harness.questions import UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.models.apply import target_matrices, target_matrix
from cti_edits.progress import Silent
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import Session
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, written
from tests.support.tiny_models import tiny_model


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, what: str) -> None:
        self.notes.append(what)


def test_the_first_block_is_counted_over_both_stacks_as_they_run() -> None:
    """The tiny T5 has three blocks in its encoder and two in its decoder."""
    session = Session(lm_of("t5"))
    targets = {(one.stack, one.layer): one for one in target_matrices(session.lm.model, ("U_out",))}
    assert [session.first_block([one]) for one in targets.values()] == [0, 1, 2, 3, 4]
    assert session.first_block([targets["decoder", 0], targets["encoder", 2]]) == 2
    assert session.replay is None
    of_one_stack = Session(lm_of("gpt2"))
    assert of_one_stack.first_block(target_matrices(of_one_stack.lm.model, ("U_out",))[1:]) == 1


@pytest.mark.parametrize("model_type", ["mistral", "qwen2"])
def test_a_model_that_looks_at_a_window_gets_the_reference_evaluator(model_type: str, tmp_path: Path) -> None:
    window = {
        "sliding_window": 6,
        **({"use_sliding_window": True, "max_window_layers": 0} if model_type == "qwen2" else {}),
    }
    lm = lm_of(model_type, tiny_model(model_type, **window))
    calibration = choices(tmp_path)
    with pytest.raises(UnsupportedError, match="gives other logits when sequences are packed"):
        ReplayEvaluator(lm, calibration)
    progress = Noted()
    assert isinstance(Session(lm, progress=progress).evaluator(calibration), ReferenceEvaluator)
    (note,) = progress.notes
    assert note.startswith(
        f"the reference evaluator takes over, which is slower: {type(lm.model).__name__} gives other"
    )
    result = run_search(lm, calibration, SMALL, "tiny", "tiny")
    assert result.unedited.nll == ReferenceEvaluator(lm, calibration).evaluate().nll


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{max_gen_toks: 3, do_sample: true, temperature: 0.7}", "more than greedy"),
        ("{num_beams: 3}", "more than greedy"),
    ],
)
def test_other_generations_get_the_reference_evaluator(arguments: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=said):
        ReplayEvaluator(lm_of("gptj"), written(tmp_path, arguments))


SMALL = SearchSettings(samples=7, top_q=2, clusters=(1, 2), rates=(0.3, 0.1))


def test_the_evaluators_of_a_session_share_the_model_in_parts(tmp_path: Path) -> None:
    session = Session(lm_of("gptj"))
    first, second = session.evaluator(choices(tmp_path)), session.evaluator(choices(tmp_path))
    assert isinstance(first, ReplayEvaluator)
    assert isinstance(second, ReplayEvaluator)
    assert first._replay is second._replay is session.replay


def test_the_reference_evaluator_where_it_is_asked_for(tmp_path: Path) -> None:
    progress = Noted()
    session = Session(lm_of("gptj"), "reference", progress=progress)
    assert isinstance(session.evaluator(choices(tmp_path)), ReferenceEvaluator)
    assert progress.notes == []


def test_a_replaced_weight_is_in_force_inside_and_gone_after() -> None:
    lm = lm_of("gptj")
    target = target_matrix(lm.model, "U_in", 1)
    former = target.weight.clone()
    former[0, 0] = -0.0
    with torch.no_grad():
        target.weight[0, 0] = -0.0
    session = Session(lm)
    for error in (None, KeyboardInterrupt):
        with contextlib.suppress(KeyboardInterrupt), session.replaced_weight(target, torch.ones_like(former)):
            assert bool((target.weight == 1).all())
            if error is not None:
                raise error
        assert torch.equal(target.weight.view(torch.uint8), former.view(torch.uint8))
    assert session._replaced == []


def test_closing_puts_back_the_first_of_several_weights_of_one_matrix() -> None:
    """Whatever left them replaced, such as a generator that nobody ran to its end."""
    lm = lm_of("gptj")
    target, other = target_matrix(lm.model, "U_in", 1), target_matrix(lm.model, "U_out", 2)
    formers = target.weight.clone(), other.weight.clone()
    with Session(lm) as session:
        left = [
            session.replaced_weight(target, torch.ones_like(target.weight)),
            session.replaced_weight(other, torch.ones_like(other.weight)),
            session.replaced_weight(target, torch.zeros_like(target.weight)),
        ]
        for one in left:
            one.__enter__()
        assert float(target.weight.sum()) == 0
    assert torch.equal(target.weight, formers[0])
    assert torch.equal(other.weight, formers[1])
