"""The matrices of a model, with their shapes and layers."""

from __future__ import annotations

import transformers

from cti_edits.models.architecture_tree import architecture_tree
from cti_edits.models.architectures import families, made_family
from cti_edits.models.empty_model import empty_model, kind_of
from tests.support.tiny_models import INNER, LAYERS, WIDTH, tiny_model


def test_each_role_has_its_shape_and_layers() -> None:
    model = tiny_model("llama")
    tree = architecture_tree(model, families()["llama"])
    found = {one.first.matrix: (one.module, one.shape, one.layers) for one in tree.matrices}
    layers = tuple(range(LAYERS))
    assert found["U_in"] == ("mlp.gate_proj", (INNER, WIDTH), layers)
    assert found["U_out"] == ("mlp.down_proj", (WIDTH, INNER), layers)
    assert found["W_k"] == ("self_attn.k_proj", (16, WIDTH), layers)
    assert (tree.model_class, dict(tree.layers)) == ("LlamaForCausalLM", {None: LAYERS})
    assert tree.parameters == sum(one.numel() for one in model.parameters())
    assert tree.count(("U_in", "U_out")) == 2 * LAYERS


def test_a_matrix_that_is_stored_the_other_way_round_has_outputs_first() -> None:
    tree = architecture_tree(tiny_model("gpt2"), families()["gpt2"])
    assert {one.shape for one in tree.matrices if one.first.matrix == "U_in"} == {(INNER, WIDTH)}


def test_layers_that_differ_are_told_apart_and_experts_counted() -> None:
    """The first layer of a DeepSeek is dense, the others have four experts."""
    config = transformers.DeepseekV3Config(
        hidden_size=16, intermediate_size=24, moe_intermediate_size=8, num_hidden_layers=3, first_k_dense_replace=1,
        n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1, num_attention_heads=2, q_lora_rank=4,
        num_key_value_heads=2, kv_lora_rank=4, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4, vocab_size=32,
    )  # fmt: skip
    rows = {"shares": [1, 1], "part": 0}
    family = made_family(
        "own",
        {
            "model_types": ["own"],
            "kind": "causal",
            "layers": "model.layers",
            "matrices": {
                "U_in": [
                    "mlp.gate_proj",
                    {"module": "mlp.experts", "parameter": "gate_up_proj", "experts": True, "rows": rows},
                ]
            },
            "weight_rows": "outputs",
        },
    )
    dense, experts = architecture_tree(empty_model(config, kind_of(config)), family).matrices
    assert (dense.module, dense.shape, dense.layers, dense.count) == ("mlp.gate_proj", (24, 16), (0,), 1)
    assert (experts.module, experts.shape, experts.layers, experts.count) == ("mlp.experts", (8, 16), (1, 2), 8)
    assert str(experts.first.rows) == "rows 0 to 7"
