"""Models that no architecture file covers: what flows into what, and the file that is proposed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.errors import FitError
from cti_edits.models.architectures import Family, families
from cti_edits.models.detection.blocks import block_lists, roles_of
from cti_edits.models.detection.columns import Columns, columns_of, union, without
from cti_edits.models.detection.flow import Flow, Source, trace
from cti_edits.models.detection.fused import Shares, shares_of
from cti_edits.models.detection.proposal import propose
from cti_edits.models.empty_model import empty_model, kind_of
from cti_edits.models.targets import every_target
from tests.support.tiny_models import EVERY, tiny_model

WIDTH, INNER = 8, 12


class Own(torch.nn.Module):
    """A model of blocks that take and give hidden states, whose names say nothing or the wrong thing."""

    def __init__(self, *blocks: torch.nn.Module) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(10, WIDTH)
        self.pile = torch.nn.ModuleList(blocks)
        self.head = torch.nn.Linear(WIDTH, 10)

    def forward(self, input_ids: torch.Tensor) -> Any:
        hidden = self.embedding(input_ids)
        for block in self.pile:
            hidden = hidden + block(hidden)
        return self.head(hidden)


class Misnamed(torch.nn.Module):
    """Attention whose queries are called keys, and an MLP whose gate is called down_proj."""

    def __init__(self) -> None:
        super().__init__()
        self.k_proj, self.q_proj = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.o_proj, self.v_proj = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.down_proj, self.gate_proj = torch.nn.Linear(WIDTH, INNER), torch.nn.Linear(WIDTH, INNER)
        self.up_proj = torch.nn.Linear(INNER, WIDTH)

    def forward(self, hidden: torch.Tensor) -> Any:
        scores = self.k_proj(hidden) @ self.q_proj(hidden).transpose(-1, -2)
        hidden = hidden + self.v_proj(scores.softmax(-1) @ self.o_proj(hidden))
        return self.up_proj(torch.nn.functional.silu(self.down_proj(hidden)) * self.gate_proj(hidden))


class Fused(torch.nn.Module):
    """Queries, keys and values of each head follow one another in one matrix, and gate and up alternate in another."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.one = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.two = torch.nn.Linear(WIDTH, WIDTH)
        self.three = torch.nn.Linear(WIDTH, 2 * INNER)
        self.four = torch.nn.Linear(INNER, WIDTH)

    def forward(self, hidden: torch.Tensor) -> Any:
        shape = (*hidden.shape[:2], self.heads, -1)
        query, key, value = self.one(hidden).view(shape).transpose(1, 2).chunk(3, dim=-1)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        hidden = hidden + self.two(mixed.transpose(1, 2).flatten(2))
        both = self.three(hidden)
        return self.four(torch.tanh(both[..., 0::2]) * both[..., 1::2])


class Router(torch.nn.Module):
    """Two MLPs in one parameter each, the second as GPT-2 stores matrices, chosen by a router."""

    def __init__(self) -> None:
        super().__init__()
        self.router = torch.nn.Linear(WIDTH, 2)
        self.into = torch.nn.Parameter(torch.zeros(2, INNER, WIDTH))
        self.out = torch.nn.Parameter(torch.zeros(2, INNER, WIDTH))

    def forward(self, hidden: torch.Tensor) -> Any:
        weights, chosen = self.router(hidden).softmax(-1).max(-1)
        tokens = hidden.flatten(0, 1)[:, :, None]
        inner = torch.relu(self.into[chosen.flatten()] @ tokens).transpose(1, 2)
        return (inner @ self.out[chosen.flatten()]).view(hidden.shape) * weights[..., None]


class Experts(torch.nn.Module):
    """A block with two experts."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = Router()

    def forward(self, hidden: torch.Tensor) -> Any:
        result: torch.Tensor = self.mlp(hidden)
        return result


class Mixer(torch.nn.Module):
    """No MLP: what goes through its nonlinear function is mixed over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.into = torch.nn.Linear(WIDTH, INNER)
        self.convolution = torch.nn.Conv1d(INNER, INNER, 3, padding=1)
        self.out = torch.nn.Linear(INNER, WIDTH)

    def forward(self, hidden: torch.Tensor) -> Any:
        mixed = self.convolution(self.into(hidden).transpose(1, 2)).transpose(1, 2)
        return self.out(torch.nn.functional.silu(mixed))


def own(*blocks: type[torch.nn.Module]) -> Own:
    with torch.device("meta"):
        return Own(*(block() for block in blocks))


def flow_of(model: torch.nn.Module) -> Flow:
    return trace(model, {"input_ids": torch.zeros((1, 4), dtype=torch.long, device="meta")})


def proposed(*blocks: type[torch.nn.Module]) -> dict[str, Any]:
    config = SimpleNamespace(model_type="own", num_attention_heads=2)
    return dict(propose(own(*blocks), config, "causal").content)


def test_roles_are_found_by_what_flows_into_what_and_not_by_names() -> None:
    content = proposed(Misnamed, Misnamed)
    assert content == {
        "model_types": ["own"],
        "kind": "causal",
        "layers": "pile",
        "matrices": {
            "U_in": "down_proj", "U_up": "gate_proj", "U_out": "up_proj",
            "W_q": "k_proj", "W_k": "q_proj", "W_v": "o_proj", "W_o": "v_proj",
        },
        "weight_rows": "outputs",
    }  # fmt: skip


def test_parts_of_a_fused_matrix_are_found_by_its_columns() -> None:
    matrices = proposed(Fused)["matrices"]
    heads = {"shares": [1, 1, 1], "groups": "num_attention_heads"}
    for part, role in enumerate(("W_q", "W_k", "W_v")):
        assert matrices[role] == {"module": "one", "rows": {**heads, "part": part}}
    assert matrices["U_in"] == {"module": "three", "rows": {"shares": [1, 1], "part": 0, "groups": INNER}}
    assert matrices["U_up"]["rows"]["part"] == 1
    assert (matrices["U_out"], matrices["W_o"]) == ("four", "two")


def test_experts_are_found_with_their_orientation() -> None:
    matrices = proposed(Experts)["matrices"]
    assert matrices == {
        "U_in": {"module": "mlp", "parameter": "into", "experts": True},
        "U_out": {"module": "mlp", "parameter": "out", "experts": True, "weight_rows": "inputs"},
    }


def test_blocks_of_several_kinds_have_several_places_and_the_most_frequent_comes_first() -> None:
    matrices = proposed(Misnamed, Fused, Misnamed, Mixer)["matrices"]
    assert matrices["U_out"] == ["up_proj", "four"]
    assert matrices["W_q"][0] == "k_proj"
    assert matrices["W_q"][1]["module"] == "one"


def test_a_model_without_such_matrices_is_refused_with_what_it_has() -> None:
    with pytest.raises(FitError, match=r"^own: no list of blocks has .*; pile has 2 of Mixer: Linear, Conv1d$"):
        proposed(Mixer, Mixer)
    with pytest.raises(FitError, match="it has no list of blocks"):
        proposed()


class Looking(Misnamed):
    """A block that cannot be run without values."""

    def forward(self, hidden: torch.Tensor) -> Any:
        return hidden[hidden > 0]


def test_a_model_that_needs_values_is_refused() -> None:
    with pytest.raises(FitError, match=r"own: what flows into what cannot be seen without weights .*by hand"):
        proposed(Looking)


LEFT_OUT: dict[str, set[str]] = {}
"""By known type, the roles of its file that cannot be told from what flows into what."""


def places(model: torch.nn.Module, family: Family) -> dict[MatrixId, tuple[object, ...]]:
    """Where each matrix of a model is, as an architecture file says."""
    targets = every_target(model, family)
    return {one.id: (one.name, one.transposed, one.rows, one.experts) for one in targets}


@pytest.mark.parametrize("model_type", EVERY)
def test_what_is_proposed_for_a_known_type_is_what_its_file_says(model_type: str) -> None:
    """As if the file were not there: it is not read for this."""
    config = tiny_model(model_type).config
    model = empty_model(config, kind_of(config))
    found, known = propose(model, config, kind_of(config)).family(), families()[model_type]
    assert (found.kind, found.stack_names) == (known.kind, known.stack_names)
    proposed, expected = places(model, found), places(model, known)
    assert {name: proposed[name] for name in proposed.keys() & expected} == {
        name: expected[name] for name in proposed.keys() & expected
    }
    assert {one.matrix for one in expected.keys() - proposed} == LEFT_OUT.get(model_type, set())


VIEWS = {
    "all": lambda rows: rows,
    "a slice": lambda rows: rows[..., 3:7],
    "every second": lambda rows: rows[:, 1:, 1::2],
    "of each head": lambda rows: rows.view(2, 3, 4, 6).transpose(1, 2)[..., 2:5],
    "of some heads": lambda rows: rows.view(2, 3, 4, 6)[..., 1:3, :],
    "one number": lambda rows: rows[0, 0, 5],
    "none": lambda rows: rows[..., :0],
    "transposed": lambda rows: rows.transpose(1, 2)[:, 20:],
}


@pytest.mark.parametrize("name", VIEWS)
def test_the_columns_of_a_view_are_those_that_it_shows(name: str) -> None:
    rows = torch.arange(24).expand(2, 3, 24).contiguous()
    view = VIEWS[name](rows)
    shown = set(view.flatten().tolist())
    columns = columns_of(view, 24)
    assert (
        {column for start, stop in columns for column in range(start, stop)} == shown
        if columns is not None
        else (len(shown) == 24)
    )


def test_columns_are_joined_and_taken_away() -> None:
    left: Columns = ((0, 2), (4, 6))
    assert union([left, ((2, 4),)], 6) is None
    assert union([left, ((1, 3),)], 8) == ((0, 3), (4, 6))
    assert without(None, [left], 6) == ((2, 4),)
    assert without(left, [None], 6) == ()


@pytest.mark.parametrize(
    ("parts", "width", "expected"),
    [
        ({"U_in": ((0, 8),), "U_up": ((8, 16),)}, 16, {"U_in": ((1, 1), 0, 1), "U_up": ((1, 1), 1, 1)}),
        ({"W_q": ((0, 32),), "W_k": ((32, 40),), "W_v": ((40, 48),)}, 48, {
            "W_q": ((4, 1, 1), 0, 1), "W_k": ((4, 1, 1), 1, 1), "W_v": ((4, 1, 1), 2, 1)}),
        # Of a gate behind the queries of each head, nothing is known but that it is there.
        ({"W_q": ((0, 4), (8, 12))}, 16, {"W_q": ((1, 1), 0, 2)}),
        # Ranges at different distances are no pattern.
        ({"W_q": ((0, 4), (9, 13))}, 16, {}),
        ({"W_q": ((0, 4), (8, 12), (13, 14))}, 16, {}),
        # One role has what lies on both sides of another: only the other is one range.
        ({"W_q": ((0, 2),), "W_k": ((0, 4),)}, 8, {"W_q": ((1, 1, 2), 0, 1)}),
    ],
)  # fmt: skip
def test_how_a_fused_matrix_is_shared_out(
    parts: dict[str, Columns], width: int, expected: dict[str, tuple[tuple[int, ...], int, int]]
) -> None:
    assert shares_of(parts, width) == {role: Shares(*shares) for role, shares in expected.items()}


def test_grouped_queries_are_named_by_the_heads_of_the_config() -> None:
    config = SimpleNamespace(num_attention_heads=12, num_key_value_heads=3)
    expected = ["num_attention_heads", "num_key_value_heads", "num_key_value_heads"]
    assert Shares((4, 1, 1), 1, 1).to_json("W_k", config) == {"shares": expected, "part": 1}
    assert Shares((2, 1, 1), 1, 1).to_json("W_k", config) == {"shares": [2, 1, 1], "part": 1}


def test_of_two_mlps_in_a_block_the_widest_is_taken_and_the_other_named() -> None:
    class Both(Misnamed):
        def __init__(self) -> None:
            super().__init__()
            self.small_in, self.small_out = torch.nn.Linear(WIDTH, 2), torch.nn.Linear(2, WIDTH)

        def forward(self, hidden: torch.Tensor) -> Any:
            return super().forward(hidden) + self.small_out(self.small_in(hidden).relu())

    flow = flow_of(own(Both))
    (blocks,) = block_lists(flow)
    roles, further = roles_of(blocks, flow)
    assert roles["U_out"] == (Source("up_proj"),)
    assert set(further) == {"small_in", "small_out"}


def test_a_pass_leaves_no_hooks_and_no_values() -> None:
    model = own(Misnamed)
    flow_of(model)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.is_meta for parameter in model.parameters())
