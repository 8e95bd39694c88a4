"""Which evaluator a search has, and what is said where the fast one cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.harness.questions import UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
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
