"""Everything that works on a model, on a tiny one of every type; `studies.architecture_checks` has the checks.

``make test`` takes one type of each way in which they differ, ``make test-thorough`` all.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.models.architectures import families
from cti_edits.models.targets import target_matrices
from cti_edits.replay.session import Session
from studies.architecture_checks import check
from studies.architectures import HEADINGS
from studies.tiny import TINY
from tests.conftest import ROOT
from tests.support.evaluators import assert_same
from tests.support.small_searches import lm_of, written

CHOSEN = {
    "gemma2": "replay",  # windows that slide, logits that are capped
    "olmo2": "replay",  # norms behind the matrices
    "cohere": "replay",  # attention and MLP beside one another
    "nemotron": "replay",  # no gate
    "gemma3n_text": "replay",  # blocks that share keys and values
    "openai-gpt": "reference",  # Conv1D, no mask of packed rows
    "mpt": "reference",  # ALiBi by columns
    "ctrl": "replay",  # modules with names of their own
    "lfm2": "reference",  # convolutions
    "phi3": "replay",  # fused one after the other
    "falcon": "replay",  # fused by group
    "mixtral": "replay",  # experts
    "gpt_oss": "replay",  # experts, stored with rows = input features
    "deepseek_v3": "replay",  # dense and sparse layers
    "glm4_moe": "replay",  # experts that every token goes to
    "qwen3_next": "reference",  # queries with a gate, linear attention
    "nomic_bert": "replay",  # an encoder, whose checkpoint keeps several matrices in one tensor
    "albert": "replay",  # one block that stands for all
    "gemma3": "replay",  # a text model inside a multimodal one
    "t5": "encoder once",  # an encoder and a decoder
}
"""Of each, the evaluator that it is searched with."""


@pytest.mark.parametrize("model_type", CHOSEN)
def test_everything_works_on(model_type: str, tmp_path: Path) -> None:
    assert check(TINY[model_type], tmp_path).evaluator == CHOSEN[model_type]


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", sorted(TINY.keys() - CHOSEN.keys()))
def test_everything_works_on_the_others_too(model_type: str, tmp_path: Path) -> None:
    check(TINY[model_type], tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", sorted(name for name, tiny in TINY.items() if tiny.kind == "causal"))
def test_texts_are_those_of_the_reference_evaluator(model_type: str, tmp_path: Path) -> None:
    """Where the fast one takes them; what cannot be continued from a cache of keys and values is handed over."""
    lm = lm_of(model_type, TINY[model_type].build())
    calibration = written(tmp_path, "{max_gen_toks: 9, until: []}")
    with Session(lm) as session:
        fast, reference = session.evaluator(calibration), ReferenceEvaluator(lm, calibration)
        if isinstance(fast, ReferenceEvaluator):
            return
        assert_same(fast.evaluate(), reference.evaluate())
        target = target_matrices(lm.model, ("U_out",))[-1]
        with session.replaced_weight(target, target.weight * 0.3):
            assert_same(fast.evaluate(target.layer), reference.evaluate())


def test_every_type_that_is_known_has_a_tiny_model_and_a_line_in_the_table() -> None:
    assert sorted(families()) == sorted(TINY)
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+)` \|.*\| (\w+) \|$", page, flags=re.M)
    assert sorted(name for name, _ in lines) == sorted(TINY)
    assert {equal for _, equal in lines} == {"yes"}
    assert "| " + " | ".join(HEADINGS) + " |" in page
