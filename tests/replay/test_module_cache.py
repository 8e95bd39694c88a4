"""What an edit does not reach in its own block is run once, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.replay.module_cache import reused_outputs, with_parents
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from tests.support.small_searches import choices, edited_weights, lm_of
from tests.support.tiny_models import EVERY, MASKED


class Block(torch.nn.Module):
    """Attention; then a gated pair and what takes their product, the gate or the other first."""

    def __init__(self, up_first: bool = False, fails: bool = False) -> None:
        super().__init__()
        self.attention = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
        self.gate, self.up, self.down = torch.nn.Linear(4, 6), torch.nn.Linear(4, 6), torch.nn.Linear(6, 4)
        self.late = torch.nn.Linear(4, 4)
        self.up_first, self.fails = up_first, fails

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.attention(hidden)
        up = self.up(hidden) if self.up_first else None
        gate = self.gate(hidden)
        up = self.up(hidden) if up is None else up
        if self.fails:
            raise RuntimeError("in the midst")
        hidden = hidden + self.down(gate * up)
        out: torch.Tensor = hidden + self.late(hidden)
        return out


NAMES = with_parents(["attention.0", "gate", "up", "down", "late"])


def test_modules_and_those_around_them() -> None:
    assert with_parents(["mlp.fc_in", "mlp.fc_out", "attention.self.query"]) == [
        "attention",
        "attention.self",
        "attention.self.query",
        "mlp",
        "mlp.fc_in",
        "mlp.fc_out",
    ]


@pytest.mark.parametrize("up_first", [False, True])
@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("attention.0", set()),
        ("gate", {"attention", "up"}),
        ("up", {"attention", "gate"}),
        ("down", {"attention", "gate", "up"}),
        ("late", {"attention", "gate", "up", "down"}),
    ],
)
def test_what_is_remembered(edited: str, expected: set[str], up_first: bool) -> None:
    block = Block(up_first)
    outputs: dict[str, Any] = {}
    hidden = torch.randn(3, 4)
    with torch.no_grad():
        with reused_outputs(block, edited, NAMES, outputs):
            block(hidden)
        assert set(outputs) == expected
        calls = []
        for name in NAMES:
            block.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
        for seed in range(3):
            torch.manual_seed(seed)
            block.get_parameter(f"{edited}.weight").normal_()
            whole = block(hidden)
            calls.clear()
            with reused_outputs(block, edited, NAMES, outputs):
                assert torch.equal(block(hidden), whole)
            # Those inside of what is reused do not run; all others do, and afterwards all do.
            inside = {"attention.0"} & {f"{name}.0" for name in expected}
            assert not inside & set(calls)
            assert edited in calls


def test_what_was_interrupted_is_not_remembered() -> None:
    block = Block(fails=True)
    outputs: dict[str, Any] = {}
    with pytest.raises(RuntimeError, match="in the midst"), reused_outputs(block, "down", NAMES, outputs):
        block(torch.randn(3, 4))
    assert outputs == {}


@pytest.mark.parametrize("model_type", EVERY)
def test_attention_before_an_edited_mlp_runs_once(model_type: str, tmp_path: Path) -> None:
    lm = lm_of(model_type)
    evaluator = ReplayEvaluator(lm, choices(tmp_path, masked=model_type in MASKED))
    evaluator.evaluate()
    evaluator.evaluate(1)
    replay = evaluator._replay
    key = next(role for role in ("W_k", "W_o") if role in replay._matrices)
    attention = replay.blocks[1].get_submodule(replay._matrices[key])
    calls: list[int] = []
    attention.register_forward_hook(lambda *_: calls.append(0))
    for target, _ in edited_weights(lm.model, layers=(1,)):
        counts = []
        for _ in range(2):
            calls.clear()
            evaluator.evaluate(1, target.matrix)
            counts.append(len(calls))
        assert counts == [len(evaluator._layout.batches), 0]
