"""Arguments of lm-eval's hf model by what they decide."""

from __future__ import annotations

import pytest

from cti_edits.harness.hf_arguments import DOWNLOAD_ARGUMENTS, QUANTIZATION, RUNTIME_ARGUMENTS, is_quantization


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("load_in_4bit", True),
        ("bnb_4bit_quant_type", True),
        ("quantization_config", True),
        ("dtype", False),
        ("bnb", False),
        ("max_length", False),
    ],
)
def test_what_says_how_weights_are_quantized(name: str, expected: bool) -> None:
    assert is_quantization(name) is expected


def test_an_argument_decides_one_thing() -> None:
    lists = (QUANTIZATION, RUNTIME_ARGUMENTS, DOWNLOAD_ARGUMENTS)
    every = [name for names in lists for name in names]
    assert len(every) == len(set(every))
    assert not any(is_quantization(name) for name in (*RUNTIME_ARGUMENTS, *DOWNLOAD_ARGUMENTS))


def test_what_changes_answers_is_in_neither_list() -> None:
    """These would be missing from the record of what was asked."""
    asked = {"pretrained", "revision", "subfolder", "dtype", "tokenizer", "max_length", "truncation", "add_bos_token",
             "prefix_token_id", "peft", "delta", "gguf_file", "softmax_dtype", "enable_thinking", "chat_template_args",
             "mixed_precision_dtype", "backend", "trust_remote_code", "use_fast_tokenizer"}  # fmt: skip
    assert not asked & {*RUNTIME_ARGUMENTS, *DOWNLOAD_ARGUMENTS, *QUANTIZATION}
