from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.lm import EditedLM
from tests.conftest import Run
from tests.support.small_tasks import write_task
from tests.support.tiny_models import tiny_model

EMPTY_PROMPT = """doc_to_text: ""
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""
GENERATION = """doc_to_target: answer
generation_kwargs: {until: ["z"], max_gen_toks: 5}
process_results: !function ROWS.half
"""


def bare_tokenizer() -> Any:
    """Every byte a token, and no special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture
def bare(tmp_path: Path) -> str:
    base = tmp_path / "bare"
    tiny_model("llama", vocab_size=256, bos_token_id=None, eos_token_id=None, pad_token_id=None).save_pretrained(base)
    bare_tokenizer().save_pretrained(base)
    return str(base)


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, 0, ("any", 0, 1)) for one in arguments]


def test_what_needs_no_prefix_token_works(bare: str) -> None:
    lm = EditedLM(pretrained=bare, batch_size=2)
    scored = lm.loglikelihood(requests("loglikelihood", ("It is", " so"), ("It was not", " sold")))
    assert all(score < 0 for score, _ in scored)
    stops = {"until": ["\n"], "max_gen_toks": 4}
    alone = [lm.generate_until(requests("generate_until", (text, stops)))[0] for text in ("It is", "It was not so")]
    # Of two lengths, so that the shorter one is padded.
    both = lm.generate_until(requests("generate_until", ("It is", stops), ("It was not so", stops)))
    assert both == alone


def test_an_empty_prompt_says_which_token_is_missing(bare: str) -> None:
    lm = EditedLM(pretrained=bare)
    said = "BOS or EOS token .* the tokenizer has neither; give prefix_token_id=ID, or tokenizer="
    with pytest.raises(EditError, match=said):
        lm.loglikelihood(requests("loglikelihood", ("", "It is so")))
    with pytest.raises(EditError, match=said):
        lm.loglikelihood_rolling(requests("loglikelihood_rolling", ("It is so",)))
    with pytest.raises(EditError, match=f"row 3: .*{said}"):
        lm.gold_tokens(GoldRequest(3, "", "It is so"))


def test_a_prefix_token_that_is_given_stands_for_the_empty_prompt(bare: str) -> None:
    lm = EditedLM(pretrained=bare, prefix_token_id=7)
    ((score, _),) = lm.loglikelihood(requests("loglikelihood", ("", "It is so")))
    assert score < 0
    assert lm.gold_tokens(GoldRequest(0, "", "It")).tokens[0] == 7
    assert len(lm.loglikelihood_rolling(requests("loglikelihood_rolling", ("It is so",)))) == 1


@pytest.mark.parametrize("command", ["lm_eval", "search"])
def test_commands_say_it_in_one_line(command: str, bare: str, run_command: Run, tmp_path: Path) -> None:
    name = write_task(tmp_path, "no_prompt", more="validation_split: validation\n" + EMPTY_PROMPT)
    words = {
        "lm_eval": ("lm_eval", "--model", "cti", "--model_args", f"pretrained={bare}", "--tasks", name,
                    "--include_path", str(tmp_path)),
        "search": ("cti-edits", "search", "--task", name, "--include-path", str(tmp_path), "--model", bare,
                   "--samples", "4", "--top-q", "1", "--output", "edit.json"),
    }[command]  # fmt: skip
    done = run_command(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cti-edits: error: ")
    assert "the tokenizer has neither; give prefix_token_id=ID" in last


@pytest.mark.parametrize("more", ["", GENERATION])
def test_a_search_without_special_tokens(more: str, bare: str, run_command: Run, tmp_path: Path) -> None:
    choice = 'doc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\n'
    name = write_task(
        tmp_path, "plain", "generate_until" if more else "multiple_choice",
        more="validation_split: validation\n" + (more.replace("half", "long") or choice),
    )  # fmt: skip
    with (tmp_path / "plain_rows.py").open("a") as file:
        file.write('\ndef long(doc, results):\n    return {"acc": float(len(results[0]) % 2)}\n')
    done = run_command(
        "cti-edits", "search", "--task", name, "--include-path", str(tmp_path), "--model", bare,
        "--samples", "4", "--top-q", "1", "--clusters", "1", "--rates", "0.5", "--output", "edit.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "edit.json").is_file()
