"""Everything that works on a model, on a tiny one of every type; `studies.architecture_checks` has the checks.

``make test`` takes one type of each way in which they differ, ``make test-thorough`` all.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cti_edits.models.architectures import families
from studies.architecture_checks import check
from studies.architectures import HEADINGS
from studies.tiny import TINY
from tests.conftest import ROOT

CHOSEN = {
    "gemma2": "replay",  # windows that slide, logits that are capped
    "olmo2": "replay",  # norms behind the matrices
    "cohere": "replay",  # attention and MLP beside one another
    "nemotron": "replay",  # no gate
    "openai-gpt": "reference",  # Conv1D, no mask of packed rows
    "mpt": "reference",  # ALiBi by columns
    "ctrl": "replay",  # modules with names of their own
    "lfm2": "reference",  # convolutions
    "phi3": "replay",  # fused one after the other
    "falcon": "replay",  # fused by group
    "mixtral": "replay",  # experts
    "gpt_oss": "replay",  # experts, stored with rows = input features
    "deepseek_v3": "replay",  # dense and sparse layers
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


def test_every_type_that_is_known_has_a_tiny_model_and_a_line_in_the_table() -> None:
    assert sorted(families()) == sorted(TINY)
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+)` \|.*\| (\w+) \|$", page, flags=re.M)
    assert sorted(name for name, _ in lines) == sorted(TINY)
    assert {equal for _, equal in lines} == {"yes"}
    assert "| " + " | ".join(HEADINGS) + " |" in page
