from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import cti_edits.models.architectures
from cti_edits.artifact.rows import Rows
from cti_edits.errors import EditError, FitError
from cti_edits.models.apply import model_family, target_matrices, target_matrix
from cti_edits.models.architectures import (
    Family,
    MatrixPlace,
    RowShares,
    Stack,
    families,
    family_of,
    known,
    known_family,
    made_family,
    read_family,
    use_architecture,
)
from studies.tiny import TINY
from studies.tiny.encoder_decoders import SEQ2SEQ
from tests.support.tiny_models import CAUSAL, EVERY, INNER, LAYERS, VOCABULARY, WIDTH, tiny_model

SHIPPED = sorted(Path(cti_edits.models.architectures.__file__).parent.glob("*.json"))
DEPTH = ("n_layer", "num_hidden_layers", "n_layers")
# Tiny models with half as many key and value heads as query heads.
GROUPED = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma3_text")


@cache
def model_of(model_type: str, layers: int = LAYERS) -> Any:
    depth = next(key for key in DEPTH if key in EVERY[model_type][2])
    return tiny_model(model_type, **{depth: layers})


def expected_shape(model_type: str, matrix: str) -> tuple[int, int]:
    narrow = WIDTH // 2 if model_type in GROUPED else WIDTH
    return {
        "U_in": (INNER, WIDTH),
        "U_up": (INNER, WIDTH),
        "U_out": (WIDTH, INNER),
        "W_q": (WIDTH, WIDTH),
        "W_k": (narrow, WIDTH),
        "W_v": (narrow, WIDTH),
        "W_o": (WIDTH, WIDTH),
    }[matrix]


def tokens(rows: int = 2) -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (rows, 6), generator=torch.Generator().manual_seed(0))


def noisy_first_position(output: torch.Tensor) -> torch.Tensor:
    changed = output.clone()
    changed[:, 0] += torch.linspace(-3, 3, output.shape[-1])
    return changed


def zeroed(output: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(output)


def doubled(output: torch.Tensor) -> torch.Tensor:
    return 2 * output


def input_of(
    model: Any, reader: str, changed: str | None = None, change: Callable[[torch.Tensor], torch.Tensor] = zeroed
) -> torch.Tensor:
    """What goes into ``reader`` of layer 1 while the output of ``changed`` of layer 1 is put through ``change``."""
    family = model_family(model)
    seen: list[torch.Tensor] = []

    def record(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].reshape(2, 6, -1).clone())

    def replace(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return change(output.reshape(2, 6, -1)).reshape(output.shape)

    hooks = [model.get_submodule(family.module_name(reader, 1)).register_forward_pre_hook(record)]
    if changed is not None:
        hooks.append(model.get_submodule(family.module_name(changed, 1)).register_forward_hook(replace))
    try:
        with torch.no_grad():
            model(input_ids=tokens())
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0]


def test_every_shipped_family_has_a_tiny_model_for_each_of_its_model_types() -> None:
    shipped = {model_type for path in SHIPPED for model_type in read_family(path).model_types}
    assert shipped == set(TINY)


# Plain MLPs of T5 have no U_up.
WITHOUT_UP = ("t5",)
BLOCKS = {True: (3, 2), False: (2, 3)}
"""Of encoder and decoder, in the tiny T5s and in the others."""
CROSS_ATTENTION = ("W_crossq", "W_crossk", "W_crossv", "W_crosso")


@pytest.mark.parametrize("model_type", SEQ2SEQ)
def test_every_role_of_both_stacks_of_an_encoder_decoder(model_type: str) -> None:
    model = tiny_model(model_type)
    family = model_family(model)
    assert (family.kind, family.stack_names) == ("seq2seq", ("encoder", "decoder"))
    both = {*family.stack("encoder").matrices} - ({"U_up"} if model_type in WITHOUT_UP else set())
    assert both >= {"U_in", "U_out", "W_q", "W_k", "W_v", "W_o"}
    encoder_blocks, decoder_blocks = BLOCKS["t5" in model_type]
    targets = target_matrices(model, (*both, *CROSS_ATTENTION))
    assert [one.stack for one in targets].count("encoder") == encoder_blocks * len(both)
    assert [one.stack for one in targets].count("decoder") == decoder_blocks * (len(both) + 4)
    # Each is a weight of its own, and none is shared with another stack or the embeddings.
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(names[id(one.parameter)] for one in targets) == sorted({f"{one.module}.weight" for one in targets})
    assert [one.id for one in targets] == sorted(
        (one.id for one in targets), key=lambda one: (one.stack == "decoder", one.layer)
    )
    if model_type in WITHOUT_UP:
        with pytest.raises(FitError, match=r"^matrix: no layer of the model has U_up \(it has U_in, U_out, W_q"):
            target_matrices(model, ("U_up",))


@torch.no_grad()
@pytest.mark.parametrize("model_type", SEQ2SEQ)
def test_the_roles_of_an_encoder_decoder_do_what_they_are_named_for(model_type: str) -> None:
    """By what reads what: an MLP's, and that cross-attention reads the encoder for keys and values alone."""
    model = tiny_model(model_type)
    seen: dict[tuple[str, str], torch.Tensor] = {}

    def record(name: tuple[str, str], _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.setdefault(name, inputs[0])

    for one in target_matrices(model, ("U_in", "U_out", "W_q", "W_v", *CROSS_ATTENTION)):
        if one.layer == 1:
            name = (str(one.stack), one.matrix)
            model.get_submodule(one.module).register_forward_pre_hook(functools.partial(record, name))
    model(input_ids=torch.arange(5, 25)[None], decoder_input_ids=torch.arange(5, 12)[None])
    inner = {"encoder": INNER, "decoder": INNER if "t5" in model_type else 40}
    for stack in ("encoder", "decoder"):
        assert seen[stack, "U_in"].shape[-1] == WIDTH
        assert seen[stack, "U_out"].shape[-1] == inner[stack]
        assert torch.equal(seen[stack, "W_q"], seen[stack, "W_v"])
    assert [seen["decoder", role].shape[-2] for role in CROSS_ATTENTION] == [7, 20, 20, 7]
    assert torch.equal(seen["decoder", "W_crossk"], seen["decoder", "W_crossv"])


@pytest.mark.parametrize("model_type", EVERY)
def test_the_family_is_found_by_the_models_own_type(model_type: str) -> None:
    model = model_of(model_type)
    assert model.config.model_type == model_type
    family = model_family(model)
    assert family is family_of(model_type)
    assert family.kind == ("causal" if model_type in CAUSAL else "masked")


@pytest.mark.parametrize("layers", [1, LAYERS, 12])
@pytest.mark.parametrize("model_type", EVERY)
def test_every_role_of_every_layer_is_a_weight_of_its_own_of_the_right_shape(model_type: str, layers: int) -> None:
    model = model_of(model_type, layers)
    family = model_family(model)
    assert {"U_in", "U_out", "W_o"} <= set(family.matrices)
    assert family.layer_count(dict(model.named_modules())) == layers == model.config.num_hidden_layers
    targets = target_matrices(model, tuple(family.matrices))
    assert [(t.matrix, t.layer) for t in targets] == [(m, layer) for layer in range(layers) for m in family.matrices]
    for target in targets:
        assert target.parameter is model.get_submodule(target.module).weight
        assert tuple(target.weight.shape) == expected_shape(model_type, target.matrix)
    parts = [(id(target.parameter), target.rows) for target in targets]
    assert len({(one, None if rows is None else tuple(rows)) for one, rows in parts}) == len(targets)
    assert sum(target.weight.numel() for target in targets) == sum(
        parameter.numel() for parameter in {id(target.parameter): target.parameter for target in targets}.values()
    )


@pytest.mark.parametrize("model_type", EVERY)
def test_the_mlp_roles_do_what_they_are_named_for(model_type: str) -> None:
    model = model_of(model_type)
    hidden = input_of(model, "U_out")
    assert hidden.shape[-1] == INNER
    assert input_of(model, "U_in").shape[-1] == WIDTH
    assert not torch.allclose(hidden, input_of(model, "U_out", "U_in"))
    if "U_up" in model_family(model).matrices:
        # The hidden state is linear in U_up and, for the activation, not in U_in.
        assert torch.equal(input_of(model, "U_in"), input_of(model, "U_up"))
        torch.testing.assert_close(input_of(model, "U_out", "U_up", doubled), 2 * hidden)
        assert not torch.allclose(input_of(model, "U_out", "U_in", doubled), 2 * hidden, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model_type", [name for name in EVERY if name not in ("gpt2", "gpt_neox")])
def test_the_attention_roles_do_what_they_are_named_for(model_type: str) -> None:
    model = model_of(model_type)
    mixed = input_of(model, "W_o")
    for matrix in ("W_q", "W_k", "W_v"):
        assert torch.equal(input_of(model, matrix), input_of(model, "W_q"))
    # Without values nothing is mixed; without queries or keys every value still is.
    assert not input_of(model, "W_o", "W_v").any()
    assert input_of(model, "W_o", "W_q").any()
    assert input_of(model, "W_o", "W_k").any()
    # A query matters to its own position alone, a key to every position that sees it.
    query = (input_of(model, "W_o", "W_q", noisy_first_position) - mixed).abs().amax(dim=(0, 2)) > 1e-4
    key = (input_of(model, "W_o", "W_k", noisy_first_position) - mixed).abs().amax(dim=(0, 2)) > 1e-4
    assert not query[1:].any()
    assert key[1:].any()


@pytest.mark.parametrize("model_type", EVERY)
def test_layer_one_of_twelve_is_not_also_ten_and_eleven(model_type: str) -> None:
    model = model_of(model_type, 12)
    family = model_family(model)
    for matrix in family.matrices:
        found = {layer: target_matrix(model, matrix, layer) for layer in range(12)}
        assert len({target.module for target in found.values()}) == 12
        assert found[1].module == f"{family.layers}.1.{family.matrices[matrix]}"


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "bert"])
def test_the_attention_output_is_not_the_mlp_output(model_type: str) -> None:
    family = family_of(model_type)
    assert family.module_name("W_o", 2) == f"{family.layers}.2.attention.output.dense"
    assert family.module_name("U_out", 2) == f"{family.layers}.2.output.dense"


def test_layers_are_counted_by_their_own_modules() -> None:
    family = family_of("gptj")
    assert family.layer_count([]) == 0
    assert family.layer_count(["transformer.h", "transformer.h.x", "transformer.h.00", "other.transformer.h.7"]) == 0
    assert family.layer_count(["transformer.h.0", "transformer.h.9", "transformer.h.10", "transformer.h.11.mlp"]) == 11


def test_an_unknown_matrix_names_the_nearest_and_all() -> None:
    with pytest.raises(FitError) as caught:
        family_of("gpt2").module_name("U_ou", 0)
    assert str(caught.value) == (
        "matrix: the gpt2 family has no matrix 'U_ou', perhaps 'U_out' (it has U_in, U_out, W_q, W_k, W_v, W_o)"
    )
    with pytest.raises(
        FitError, match=r"^matrix: the gpt2 family has no matrix 'zz\\\\n' \(it has U_in, U_out, W_q, W_k, W_v, W_o\)$"
    ):
        family_of("gpt2").module_name("zz\n", 0)


def test_a_negative_layer() -> None:
    with pytest.raises(FitError, match=r"^layer: expected 0 or more, got -1$"):
        family_of("gpt2").module_name("U_in", -1)


def test_an_unknown_family_names_near_ones_and_the_command_that_proposes_one() -> None:
    with pytest.raises(FitError) as caught:
        family_of("lama\n")
    message = str(caught.value)
    assert "\n" not in message
    assert "no architecture file covers the model type 'lama\\\\n' (near: llama" in message
    assert "cti-edits architectures MODEL" in message
    assert "--architecture FILE" in message
    with pytest.raises(FitError, match="model type 'zzzz'; cti-edits architectures"):
        family_of("zzzz")


@pytest.fixture
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_given", {})


@pytest.mark.usefixtures("nothing_given")
def test_a_file_that_is_given_covers_its_types_from_then_on(tmp_path: Path) -> None:
    assert known_family("one") is None
    given = use_architecture(written(tmp_path, "own", GOOD))
    assert given == family_of("one") == known_family("two")
    assert "one" not in families()
    other = use_architecture(written(tmp_path, "other", {**GOOD, "layers": "model.others"}))
    assert family_of("one") == other


@pytest.mark.usefixtures("nothing_given")
def test_a_file_for_a_known_type_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "own", {**GOOD, "model_types": ["new", "mistral"]})
    with pytest.raises(EditError, match=r"own.json: model_types: mistral is known already, by the architecture \w+;"):
        use_architecture(path)
    assert known_family("new") is None
    with pytest.raises(EditError, match="not an architecture file"):
        use_architecture(tmp_path / "absent.json")


def test_a_file_is_checked_before_it_is_written() -> None:
    assert made_family("own", GOOD).stack(None).layers == "model.blocks"
    with pytest.raises(EditError, match=r"^own\.json: .*kind"):
        made_family("own", {**GOOD, "kind": "vision"})


GOOD: dict[str, Any] = {
    "model_types": ["one", "two"],
    "kind": "causal",
    "layers": "model.blocks",
    "matrices": {"U_in": "up", "U_out": "down"},
    "weight_rows": "outputs",
}


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_a_data_file_becomes_a_family(tmp_path: Path) -> None:
    matrices = {"U_in": (MatrixPlace("up"),), "U_out": (MatrixPlace("down"),)}
    assert read_family(written(tmp_path, "newest", GOOD)) == Family(
        "newest", ("one", "two"), "causal", {None: Stack("model.blocks", matrices)}
    )


def test_parts_experts_and_several_places_of_a_role(tmp_path: Path) -> None:
    fused = {"module": "qkv", "rows": {"shares": ["heads", 1, 1], "part": 1, "groups": "text.groups"}}
    expert = {"module": "experts", "parameter": "down", "experts": True, "weight_rows": "outputs"}
    matrices = {"W_k": [{**fused, "when": {"old": False}}, "k"], "U_out": expert, "U_in": {"module": "in"}}
    family = read_family(written(tmp_path, "parts", {**GOOD, "matrices": matrices, "weight_rows": "inputs"}))
    shares = RowShares(("heads", 1, 1), 1, "text.groups")
    assert family.places("W_k") == (
        MatrixPlace("qkv", weight_rows="inputs", rows=shares, when=(("old", False),)),
        MatrixPlace("k", weight_rows="inputs"),
    )
    assert family.places("U_out") == (MatrixPlace("experts", "down", "outputs", experts=True),)
    assert family.module_names("W_k", 3) == ("model.blocks.3.qkv", "model.blocks.3.k")
    assert family.matrices == {"W_k": "qkv", "U_out": "experts", "U_in": "in"}
    assert [place.is_whole for role in matrices for place in family.places(role)] == [False, True, False, True]


def test_a_file_of_two_stacks(tmp_path: Path) -> None:
    stacks = {
        "decoder": {"layers": "d.blocks", "matrices": {"U_in": "up", "W_cq": "cross.q"}},
        "encoder": {"layers": "e.blocks", "matrices": {"U_in": "up"}},
    }
    family = read_family(
        written(tmp_path, "two", {"model_types": ["x"], "kind": "seq2seq", "stacks": stacks, "weight_rows": "outputs"})
    )
    assert family.stack_names == ("encoder", "decoder")
    assert (family.main_stack, family.layers) == ("decoder", "d.blocks")
    assert family.module_name("U_in", 1, "encoder") == "e.blocks.1.up"
    assert family.layer_count(["e.blocks.0", "e.blocks.1", "d.blocks.0"], "encoder") == 2
    family.check_role("W_cq")
    with pytest.raises(FitError, match=r"^matrix: the two family has no matrix 'W_cq' in its encoder \(it has U_in\)$"):
        family.places("W_cq", "encoder")
    with pytest.raises(
        FitError, match=r"^stack: the two family has the stacks encoder, decoder, expected one of them$"
    ):
        family.places("U_in")
    with pytest.raises(FitError, match=r"^stack: the gpt2 family has one stack, which has no name, got 'encoder'$"):
        family_of("gpt2").module_name("U_in", 0, "encoder")


def test_a_file_that_is_like_another_takes_its_keys_but_those_that_it_gives(tmp_path: Path) -> None:
    written(tmp_path, "base", GOOD)
    like = read_family(written(tmp_path, "like", {"model_types": ["x"], "like": "base", "layers": "other"}))
    assert like.model_types == ("x",)
    assert like.layers == "other"
    assert like.matrices == GOOD["matrices"]
    shipped = read_family(written(tmp_path, "shipped", {"model_types": ["y"], "like": "llama"}))
    assert shipped.stacks == family_of("llama").stacks
    stacks = {"encoder": {"layers": "e", "matrices": {"U_in": "up"}}}
    assert list(
        read_family(written(tmp_path, "s", {"model_types": ["z"], "like": "base", "stacks": stacks})).stacks
    ) == ["encoder"]


def test_files_that_are_like_one_another(tmp_path: Path) -> None:
    written(tmp_path, "a", GOOD)
    for name, like in (("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("circle", "circle")):
        written(tmp_path, name, {"model_types": ["x"], "like": like})
    assert read_family(tmp_path / "d.json").layers == "model.blocks"
    for name, last in (("e", "b"), ("circle", "circle")):
        with pytest.raises(EditError) as caught:
            read_family(tmp_path / f"{name}.json")
        assert str(caught.value) == (
            f"{tmp_path / last}.json: like: more than 3 files, one like the other, or a circle of them"
        )
    with pytest.raises(EditError) as caught:
        read_family(written(tmp_path, "f", {"model_types": ["x"], "like": "lama"}))
    assert (
        str(caught.value)
        == f"{tmp_path / 'f'}.json: like: there is no architecture file 'lama', perhaps 'llama' or 'jamba'"
    )


def rows_of(**rows: Any) -> dict[str, Any]:
    return {"U_in": {"module": "up", "rows": {"shares": [1, "n"], "part": 0, **rows}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not an architecture file: "),
        ("\xff", "not an architecture file: "),
        ("[]", "expected an object, got an array"),
        ("null", "expected an object, got null"),
        ("{}", 'the key "model_types" is missing'),
        *(
            (
                json.dumps({key: value for key, value in GOOD.items() if key != left_out}),
                f'the key "{left_out}" is missing',
            )
            for left_out in GOOD
        ),
        *(
            (json.dumps({**GOOD, key: wrong}), message)
            for key, wrong, message in [
                ("stack", "decoder", 'unknown key "stack" (known: '),
                ("model_types", "gpt2", 'model_types: expected an array, got a string "gpt2"'),
                ("model_types", [], "model_types: expected at least 1 items, got 0"),
                ("model_types", ["one", 2], "model_types[1]: expected a string, got an integer 2"),
                ("model_types", [""], "model_types[0]: expected at least 1 characters, got 0"),
                ("kind", 1, 'kind: expected "causal" or "masked" or "seq2seq", got 1'),
                ("kind", "encoder", 'kind: expected "causal" or "masked" or "seq2seq", got "encoder"'),
                ("layers", None, "layers: expected a string, got null"),
                ("layers", "a b", "layers: expected text that matches "),
                ("matrices", ["U_in"], "matrices: expected an object, got an array"),
                ("matrices", {}, "matrices: expected at least 1 keys, got 0"),
                ("matrices", {"U_in": "up", "U_out": "up"}, "matrices.U_out: up is the place of another matrix, too"),
                ("matrices", {"U_in": 3}, "matrices.U_in: expected a string, got an integer 3"),
                ("matrices", {"U_in": ""}, "matrices.U_in: expected at least 1 characters, got 0"),
                ("matrices", {"U_in": []}, "matrices.U_in: expected at least 1 items, got 0"),
                ("matrices", {"mlp": "up"}, 'matrices: expected text that matches ^[UW]_[a-z]{1,20}$, got "mlp"'),
                ("matrices", {"U_in": {}}, 'matrices.U_in: the key "module" is missing'),
                (
                    "matrices",
                    {"U_in": {"module": "up", "part": 0}},
                    'matrices.U_in: unknown key "part" (known: module,',
                ),
                ("matrices", rows_of(part=2), "matrices.U_in.rows.part: expected at most 1 (shares), got 2"),
                ("matrices", rows_of(shares=[1]), "matrices.U_in.rows.shares: expected at least 2 items, got 1"),
                ("matrices", rows_of(shares=[1, 0]), "matrices.U_in.rows.shares[1]: expected at least 1, got 0"),
                ("matrices", rows_of(groups="n-1"), "matrices.U_in.rows.groups: expected text that matches "),
                ("matrices", {"U_in": {"module": "x", "experts": False}}, "matrices.U_in.experts: expected true, got"),
                (
                    "matrices",
                    {"U_in": {"module": "x", "when": {"k": [1]}}},
                    "matrices.U_in.when.k: expected a string or an integer or a boolean or null, got an array",
                ),
                ("weight_rows", True, 'weight_rows: expected "outputs" or "inputs", got true'),
                ("weight_rows", "columns", 'weight_rows: expected "outputs" or "inputs", got "columns"'),
                ("stacks", {}, "stacks: expected at least 1 keys, got 0"),
                ("stacks", {"left": {}}, 'stacks: unknown key "left" (known: encoder, decoder)'),
                (
                    "stacks",
                    {"encoder": {"layers": "a", "matrices": {"U_in": "b"}}},
                    'stacks: expected it in the place of "layers", got both',
                ),
            ]
        ),
    ],
)
def test_each_way_a_data_file_can_be_wrong(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(EditError) as caught:
        read_family(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Inner:
    heads: int = 4
    flag: bool = True


@dataclass(frozen=True)
class Config:
    groups: int = 2
    inner: Inner = Inner()


def test_shares_of_rows_are_counted_by_the_config() -> None:
    config = Config()
    assert RowShares((1, 1), 1).rows(config, 10) == Rows(5, 10)
    # 4 query heads, 2 key and 2 value heads of 3 rows each, in 2 groups.
    shares: tuple[str, ...] = ("inner.heads", "groups", "groups")
    assert RowShares(shares, 0, "groups").rows(config, 24) == Rows(0, 6, 12, 2)
    assert list(RowShares(shares, 2, "groups").rows(config, 24)) == [9, 10, 11, 21, 22, 23]
    assert RowShares(shares, 2).rows(config, 24) == Rows(18, 24)
    assert MatrixPlace("x", when=(("inner.flag", True),)).fits(config)
    assert not MatrixPlace("x", when=(("inner.flag", True), ("absent", 1))).fits(config)
    with pytest.raises(
        FitError, match=r"^rows: 10 rows cannot be shared out as 4:2:2 in 2 groups, as the architecture"
    ):
        RowShares(shares, 0, "groups").rows(config, 10)
    for count in ("absent", "inner.flag", "inner.heads.absent"):
        with pytest.raises(FitError, match=f"^rows: the model's config has no count {count}, which the architecture"):
            RowShares((count, 1), 0).rows(config, 10)


def test_a_data_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"absent\.json: not an architecture file: "):
        read_family(tmp_path / "absent.json")


def test_every_model_type_is_claimed_once() -> None:
    claimed = [model_type for path in SHIPPED for model_type in read_family(path).model_types]
    assert len(claimed) == len(set(claimed))
    assert {families()[model_type].name for model_type in claimed} == {path.stem for path in SHIPPED}
