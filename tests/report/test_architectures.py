"""What ``cti-edits architectures`` prints."""

from __future__ import annotations

import pytest

from cti_edits.models.architecture_tree import ArchitectureTree, architecture_tree
from cti_edits.models.architectures import families
from cti_edits.report.architectures import family_json, print_families, print_tree, tree_json
from cti_edits.search.cost import cost_here
from cti_edits.search.presets import PRESETS
from tests.support.tiny_models import tiny_model


@pytest.fixture(scope="module")
def tree() -> ArchitectureTree:
    return architecture_tree(tiny_model("llama"), families()["llama"])


def test_a_row_for_each_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    print_families([families()["llama"], families()["bert"]])
    heading, llama, bert, last = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["architecture", "kind", "stack"]
    assert llama.startswith("llama")
    assert "U_in, U_up, U_out" in llama
    assert "mistral" in llama
    assert bert.split()[:2] == ["bert", "masked"]
    assert last.startswith("2 architectures, ")


def test_the_tree_of_a_model(tree: ArchitectureTree, capsys: pytest.CaptureFixture[str]) -> None:
    print_tree(tree, "llama")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"llama: LlamaForCausalLM, causal language model, {tree.parameters:,} parameters"
    assert lines[1] == "model.layers: 3 layers"
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert rows["U_in"] == ["mlp.gate_proj", "48", "32", "all"]
    assert "A search tries U_in, U_out: 6 matrices. For a task of 1,000 rows, without --final:" in lines
    expected = cost_here(PRESETS["laser"], "causal", 1000, 3, final=False).total
    assert rows["laser"] == ["54", f"{expected:,.0f}"]


def test_the_same_for_programs(tree: ArchitectureTree) -> None:
    found = tree_json(tree, "llama")
    assert found["stacks"] == [{"name": None, "layers": "model.layers", "count": 3}]
    matrices = found["matrices"]
    assert isinstance(matrices, list)
    assert matrices[0] == {
        "stack": None, "matrix": "U_in", "module": "mlp.gate_proj", "parameter": "weight", "rows": None,
        "shape": [48, 32], "experts": None, "layers": [0, 1, 2],
    }  # fmt: skip
    family = family_json(families()["gpt2"])
    assert family["stacks"] == [
        {
            "name": None,
            "layers": "transformer.h",
            "matrices": {
                role: [{"module": module, "parameter": "weight", "fused": module == "attn.c_attn", "experts": False}]
                for role, module in {
                    "U_in": "mlp.c_fc",
                    "U_out": "mlp.c_proj",
                    **dict.fromkeys(("W_q", "W_k", "W_v"), "attn.c_attn"),
                    "W_o": "attn.c_proj",
                }.items()
            },
        }
    ]
