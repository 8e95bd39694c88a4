from __future__ import annotations

import enum
from pathlib import Path

import pytest
import torch
import transformers

from cti_edits.harness.plain_json import canonical, plain_value


class Precision(enum.Enum):
    HALF = torch.float16


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.bfloat16, "bfloat16"),
        (Precision.HALF, "float16"),
        (Path("a/b"), "a/b"),
        # RFC 8785 has no numbers but those of a double.
        (2**53, "9007199254740992"),
        (float("inf"), "inf"),
        ({1: (True, None)}, {"1": [True, None]}),
        ({"b", "a"}, ["a", "b"]),
        (torch.nn.ReLU(), "torch.nn.modules.activation.ReLU"),
        (transformers.LlamaConfig, "builtins.type"),
    ],
)
def test_every_argument_becomes_a_value_of_json(value: object, expected: object) -> None:
    assert plain_value(value) == expected


def test_a_configuration_becomes_its_fields() -> None:
    found = plain_value(transformers.GenerationConfig(num_beams=3))
    assert isinstance(found, dict)
    assert found["num_beams"] == 3


def test_the_order_of_arguments_changes_nothing() -> None:
    assert canonical({"b": 1, "a": [2.0]}) == canonical({"a": [2.0], "b": 1}) == '{"a":[2],"b":1}'
