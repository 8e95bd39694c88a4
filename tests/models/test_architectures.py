from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import cti_edits.models.architectures
from cti_edits.errors import EditError, FitError
from cti_edits.models.apply import model_family, target_matrices, target_matrix
from cti_edits.models.architectures import Family, families, family_of, read_family
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
    assert shipped == set(EVERY)


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
    assert len({id(target.parameter) for target in targets}) == len(targets)


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


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox"])
def test_a_fused_projection_has_no_role(model_type: str) -> None:
    family = family_of(model_type)
    assert set(family.matrices) == {"U_in", "U_out", "W_o"}
    model = model_of(model_type)
    mixed = input_of(model, "W_o")
    assert mixed.shape[-1] == WIDTH
    assert not torch.equal(mixed, input_of(model, "U_in"))


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
        "matrix: the gpt2 family has no matrix 'U_ou', perhaps 'U_out' (it has U_in, U_out, W_o)"
    )
    with pytest.raises(
        FitError, match=r"^matrix: the gpt2 family has no matrix 'zz\\\\n' \(it has U_in, U_out, W_o\)$"
    ):
        family_of("gpt2").module_name("zz\n", 0)


def test_a_negative_layer() -> None:
    with pytest.raises(FitError, match=r"^layer: expected 0 or more, got -1$"):
        family_of("gpt2").module_name("U_in", -1)


def test_an_unknown_family_lists_the_known_ones_and_says_how_to_add_one() -> None:
    with pytest.raises(FitError) as caught:
        family_of("mamba\n")
    message = str(caught.value)
    assert "\n" not in message
    assert "no architecture file covers the model type 'mamba\\\\n'" in message
    assert f"(known: {', '.join(sorted(EVERY))})" in message
    assert "to add one, write a data file like those in cti_edits/models/architectures/" in message
    assert "docs/architecture.md" in message


GOOD: dict[str, Any] = {
    "model_types": ["one", "two"],
    "kind": "causal",
    "layers": "model.blocks",
    "matrices": {"U_in": "up", "U_out": "down"},
    "weight_rows": "outputs",
}


def test_a_data_file_becomes_a_family(tmp_path: Path) -> None:
    path = tmp_path / "newest.json"
    path.write_text(json.dumps(GOOD))
    assert read_family(path) == Family(
        "newest", ("one", "two"), "causal", "model.blocks", {"U_in": "up", "U_out": "down"}, "outputs"
    )


KEYS = "expected an object with the keys model_types, kind, layers, matrices, weight_rows"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not an architecture file: "),
        ("\xff", "not an architecture file: "),
        ("[]", KEYS),
        ("null", KEYS),
        (json.dumps({key: value for key, value in GOOD.items() if key != "kind"}), KEYS),
        (json.dumps({**GOOD, "stack": "decoder"}), KEYS),
        *(
            (json.dumps({**GOOD, key: wrong}), message)
            for key, wrong, message in [
                ("model_types", "gpt2", "model_types: expected a JSON list, got 'gpt2'"),
                ("model_types", [], "model_types: expected one or more names, got []"),
                ("model_types", ["one", 2], "model_types: expected one or more names, got ['one', 2]"),
                ("model_types", [["one"]], "model_types: expected one or more names, got [['one']]"),
                ("model_types", [""], "model_types: expected one or more names, got ['']"),
                ("kind", 1, "kind: expected a JSON str, got 1"),
                ("kind", "encoder", 'kind: expected "causal" or "masked", got \'encoder\''),
                ("layers", None, "layers: expected a JSON str, got None"),
                ("matrices", ["U_in"], "matrices: expected a JSON dict, got ['U_in']"),
                ("matrices", {}, "matrices: expected one or more, each in a module of its own"),
                ("matrices", {"U_in": "up", "U_out": "up"}, "matrices: expected one or more, each in a module of"),
                ("matrices", {"U_in": 3}, "matrices: U_in: expected the name of a module, got 3"),
                ("matrices", {"U_in": ""}, "matrices: U_in: expected the name of a module, got ''"),
                ("matrices", {"mlp": "up"}, "matrices: expected roles such as U_in or W_q, got 'mlp'"),
                ("weight_rows", True, "weight_rows: expected a JSON str, got True"),
                ("weight_rows", "columns", 'weight_rows: expected "outputs" or "inputs", got \'columns\''),
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


def test_a_data_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"absent\.json: not an architecture file: "):
        read_family(tmp_path / "absent.json")


def test_every_model_type_is_claimed_once() -> None:
    claimed = [model_type for path in SHIPPED for model_type in read_family(path).model_types]
    assert len(claimed) == len(set(claimed))
    assert {families()[model_type].name for model_type in claimed} == {path.stem for path in SHIPPED}
