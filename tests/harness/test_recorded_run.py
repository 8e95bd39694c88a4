"""What a results file of lm-eval tells of what was asked, and which of two such runs can be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.harness.comparison import compare_runs
from tests.support.eval_runs import EDIT, LATER, refusal, write_run

MODEL = {"pretrained": "owner/base", "dtype": "float32", "tokenizer": "owner/base"}


PLAIN = {"asked": {"model": MODEL, "prompt": {"max_length": 64, "add_bos_token": True}}, "fewshot_seed": 1234}


RESULTS = {
    "n-shot": {"cti_fever": 0},
    "versions": {"cti_fever": 1.0},
    "chat_template_sha": None,
    "system_instruction": None,
    "fewshot_as_multiturn": True,
    "configs": {"cti_fever": {"output_type": "generate_until", "generation_kwargs": {"max_gen_toks": 8}}},
}


def test_seeds_and_turns_matter_where_there_are_examples(tmp_path: Path) -> None:
    turns = {"fewshot_as_multiturn": False}
    base = write_run(tmp_path / "base", [1], results=RESULTS, config=PLAIN)
    other = write_run(tmp_path / "other", [1], results={**RESULTS, **turns}, config={**PLAIN, "fewshot_seed": 5})
    assert compare_runs([base, other])
    shots = {**RESULTS, "n-shot": {"cti_fever": 2}, "chat_template_sha": "ab" * 32}
    base = write_run(tmp_path / "base", [1], LATER, results=shots, config=PLAIN)
    other = write_run(tmp_path / "other", [1], LATER, results={**shots, **turns}, config={**PLAIN, "fewshot_seed": 5})
    message = refusal(base, other)
    assert "fewshot_as_multiturn: True and False" in message
    assert "fewshot_seed: 1234 and 5" in message


def test_a_run_of_another_model_class_is_compared_by_what_it_tells(tmp_path: Path) -> None:
    """An exported checkpoint, say, that runs with lm-eval's own hf model."""
    config = {"model_args": "pretrained=owner/base,dtype=float32", "model_dtype": "torch.float32"}
    plain = write_run(tmp_path / "plain", [1, 0], results=RESULTS, config=config)
    ours = write_run(tmp_path / "ours", [1, 1], edit=EDIT, results=RESULTS, config=PLAIN)
    # Neither what its tokenizer was nor how long a prompt may be is known.
    assert compare_runs([plain, ours], allow_different=["add_bos_token"])
    half = {"model_args": {"pretrained": "owner/base", "peft": "owner/adapter"}, "model_dtype": "torch.float16"}
    other = write_run(tmp_path / "other", [1, 0], results=RESULTS, config=half)
    message = refusal(plain, other)
    assert "dtype: float32 and float16" in message
    assert "peft: none and owner/adapter" in message


HF = "pretrained=owner/base"


@pytest.mark.parametrize(
    ("arguments", "config", "difference"),
    [
        (f"{HF},revision=step2", {"model_revision": "step2"}, "revision: main and step2"),
        (f"{HF},tokenizer=owner/other", {}, "tokenizer: none and owner/other"),
        (f"{HF},load_in_4bit=True", {}, 'quantization: none and {"load_in_4bit": "True"}'),
        (f"{HF},enable_thinking=False", {}, 'model_arguments: none and {"enable_thinking": "False"}'),
        (f"{HF},prefix_token_id=7", {}, "prefix_token_id: none and 7"),
        (f"{HF},truncation=true", {}, "truncation: False and True"),
    ],
)
def test_arguments_of_two_runs_of_lm_evals_own_model(
    arguments: str, config: dict[str, str], difference: str, tmp_path: Path
) -> None:
    plain = {"model": "hf", "model_args": HF, "model_dtype": "torch.float32", "model_revision": "main"}
    one = write_run(tmp_path / "one", [1, 0], results=RESULTS, config=plain)
    two = write_run(tmp_path / "two", [1, 0], results=RESULTS, config={**plain, "model_args": arguments, **config})
    assert refusal(one, two).endswith(f"differ in more than the edit: {difference}")
    # Where and how fast it ran, and a secret, are not what was asked.
    fast = {**plain, "model_args": f"{HF},batch_size=8,device=cpu,token=hf_secret,subfolder="}
    assert compare_runs([one, write_run(tmp_path / "fast", [1, 0], results=RESULTS, config=fast)])


def test_commits_tell_revisions_apart_whatever_they_were_called(tmp_path: Path) -> None:
    plain = {"model": "hf", "model_args": HF, "model_revision": "main"}
    one = write_run(tmp_path / "one", [1], config={**plain, "model_sha": "a" * 40})
    two = write_run(tmp_path / "two", [1], config={**plain, "model_sha": "b" * 40})
    assert f"revision: {'a' * 40} and {'b' * 40}" in refusal(one, two)
    tagged = {**plain, "model_args": f"{HF},revision=v1", "model_revision": "v1", "model_sha": "a" * 40}
    assert compare_runs([one, write_run(tmp_path / "tagged", [1], config=tagged)])


def test_the_longest_prompt_is_what_the_model_took(tmp_path: Path) -> None:
    """lm-eval writes it of every model, given or not."""
    config = {"model": "hf", "model_args": HF}
    plain = write_run(tmp_path / "plain", [1, 0], results={"max_length": 64}, config=config)
    cut = write_run(tmp_path / "cut", [1, 0], results={"max_length": 32}, config=config)
    assert "max_length: 64 and 32" in refusal(plain, cut)
    ours = {"asked": {"model": {"pretrained": "owner/base"}, "prompt": {"max_length": 32}}}
    assert "max_length: 64 and 32" in refusal(plain, write_run(tmp_path / "ours", [1, 0], config=ours))


def test_older_results_name_the_base_with_the_edit(tmp_path: Path) -> None:
    config = {"model": "cti", "model_args": {"pretrained": "owner/base"}, "model_revision": "main"}
    base = write_run(tmp_path / "base", [1, 0], config=config)
    edit = {"name": "n", "digest": "d", "applied_to": "owner/base"}
    config = {"model": "cti", "model_args": {"edit": "a.json"}, "model_revision": "c" * 40}
    assert compare_runs([base, write_run(tmp_path / "edited", [1, 0], edit=edit, config=config)])
    of_other = {**edit, "applied_to": "owner/other"}
    other = write_run(tmp_path / "other", [1, 0], edit=of_other, config=config)
    assert refusal(base, other).endswith("pretrained: owner/base and owner/other")
