from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.model_record import tokenizer_sha256
from cti_edits.harness.response_cache import identity
from tests.support.edits import edit_of
from tests.support.small_tasks import write_task
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
GENERATES = 'doc_to_target: answer\ngeneration_kwargs:\n  until: ["."]\n  max_gen_toks: 6\n'


def save_llama(folder: Path, seed: int = 0) -> Path:
    """A checkpoint whose tokenizer puts ``<s> … </s>`` around texts where it is asked to."""
    tiny_model("llama", seed=seed).save_pretrained(folder)
    byte_tokenizer(masked=True).save_pretrained(folder)
    return folder


def answers(model: Any, tasks: Path, task: str, cache: Path | None, **more: Any) -> list[Any]:
    """What lm-eval has of the model; ``model`` is the arguments of ``cti``, or a loaded model."""
    named = {"model": "cti", "model_args": model} if isinstance(model, dict) else {"model": model}
    found = simple_evaluate(
        **named,
        tasks=[task],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        limit=3,
        device="cpu",
        bootstrap_iters=0,
        use_cache=str(cache / "cache") if cache else None,
        **more,
    )
    return [sample["resps"] for sample in found["samples"][task]]


def tables(cache: Path) -> dict[str, int]:
    """The tables of the cache with answers in them, and how many."""
    connection = sqlite3.connect(cache / "cache_rank0.db")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {name: connection.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in names}
    connection.close()
    return {name: count for name, count in counts.items() if count}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, an adapter, a tokenizer and two tasks."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("places")
    save_llama(root / "base")
    save_llama(root / "base" / "inner", seed=1)
    byte_tokenizer().save_pretrained(root / "tokenizer")
    torch.manual_seed(3)
    adapter = get_peft_model(tiny_model("llama"), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    adapter.save_pretrained(str(root / "adapter"))
    write_task(root, "picks")
    write_task(root, "says", "generate_until", GENERATES)
    return root


CHANGES: dict[str, Any] = {
    "add_bos_token": False,
    "dtype": "bfloat16",
    "peft": "adapter",
    "subfolder": "inner",
    "max_length": 8,
    "tokenizer": "tokenizer",
    "softmax_dtype": "bfloat16",
    "mixed_precision_dtype": "bfloat16",
}


@pytest.mark.parametrize("name", CHANGES)
def test_runs_that_differ_in_an_argument_do_not_share_answers(name: str, places: Path, tmp_path: Path) -> None:
    base = {"pretrained": str(places / "base")}
    value = str(places / CHANGES[name]) if name in ("peft", "tokenizer") else CHANGES[name]
    other = {**base, name: value}
    first, second, again = (answers(model, places, "picks", tmp_path) for model in (base, other, base))
    assert first == again != second
    assert len(tables(tmp_path)) == 2


def test_base_runs_of_two_models_do_not_share_answers(places: Path, tmp_path: Path) -> None:
    models = [{"pretrained": str(places / "base")}, {"pretrained": str(places / "base" / "inner")}]
    plain = [answers(model, places, "picks", None) for model in models]
    assert plain[0] != plain[1]
    assert [answers(model, places, "picks", tmp_path) for model in models] == plain


def test_a_checkpoint_that_was_written_anew_does_not_get_the_former_one_s_answers(places: Path, tmp_path: Path) -> None:
    model = {"pretrained": str(save_llama(tmp_path / "base"))}
    answers(model, places, "picks", tmp_path)
    save_llama(tmp_path / "base", seed=1)
    assert answers(model, places, "picks", tmp_path) == answers(model, places, "picks", None)


def test_the_same_run_answers_from_the_cache(places: Path, tmp_path: Path) -> None:
    class Unasked(EditedLM):
        def loglikelihood(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("asked again")

    base = str(places / "base")
    first = answers({"pretrained": base, "batch_size": 1}, places, "picks", tmp_path)
    again = Unasked(pretrained=base, batch_size=2, device="cpu")
    assert answers(again, places, "picks", tmp_path) == first
    # Each call leaves padding and truncation behind in the tokenizer.
    again.tok_batch_encode(["a", "longer"], truncation=True)
    assert answers(again, places, "picks", tmp_path) == first
    assert len(tables(tmp_path)) == 1


def test_models_in_memory_are_told_by_their_weights(places: Path, tmp_path: Path) -> None:
    def given(model: Any) -> dict[str, Any]:
        return {"pretrained": model, "tokenizer": byte_tokenizer()}

    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    plain = [answers(given(one), places, "picks", None) for one in (model, other)]
    assert plain[0] != plain[1]
    assert [answers(given(one), places, "picks", tmp_path) for one in (model, other, model)] == [*plain, plain[0]]
    assert len(tables(tmp_path)) == 2


def test_a_model_that_changed_since_it_was_loaded_is_asked_again(places: Path, tmp_path: Path) -> None:
    lm = EditedLM(pretrained=str(places / "base"), device="cpu")
    first = answers(lm, places, "picks", tmp_path)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.neg_()
    changed = answers(lm, places, "picks", tmp_path)
    assert changed == answers(lm, places, "picks", None) != first


def test_runs_with_another_chat_template_or_generation_do_not_share_answers(places: Path, tmp_path: Path) -> None:
    def loaded(template: str) -> EditedLM:
        tokenizer = byte_tokenizer()
        tokenizer.chat_template = template
        return EditedLM(pretrained=str(places / "base"), tokenizer=tokenizer, device="cpu")

    runs: list[tuple[str, dict[str, Any]]] = [
        (TEMPLATE, {}),
        (TEMPLATE, {"apply_chat_template": True}),
        (TEMPLATE, {"apply_chat_template": True, "system_instruction": "Think."}),
        (TEMPLATE.replace("[assistant]", "<assistant>"), {"apply_chat_template": True}),
        (TEMPLATE, {"gen_kwargs": {"max_gen_toks": 2}}),
    ]

    def all_answers(cache: Path | None) -> list[Any]:
        return [answers(loaded(text), places, "says", cache, predict_only=True, **more) for text, more in runs]

    plain = all_answers(None)
    assert len({str(one) for one in plain}) == len(runs)
    assert all_answers(tmp_path) == plain
    assert all_answers(tmp_path) == plain


def identities(variants: Iterator[EditedHFLM]) -> list[str]:
    return [identity(lm) for lm in variants]


def test_what_else_answers_depend_on_is_in_the_identity(places: Path) -> None:
    base: dict[str, Any] = {"pretrained": str(places / "base"), "device": "cpu"}
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 4, 0.2), base_id=base["pretrained"])
    variants: list[dict[str, Any]] = [
        {},
        {"prefix_token_id": 5},
        {"truncation": True},
        {"think_end_token": "x"},
        {"chat_template_args": {"a": 1}},
        {"attn_implementation": "eager"},
        {"add_bos_token": True},
        {"add_bos_token": False},
        {"edit": edit},
        {"edit": edit, "factorize": True},
        {"use_fast_tokenizer": False},
    ]
    found = identities(EditedLM(**base, **more) for more in variants)
    assert len(set(found)) == len(variants)


def test_how_fast_a_model_runs_is_not_in_the_identity(places: Path) -> None:
    base: dict[str, Any] = {"pretrained": str(places / "base"), "device": "cpu"}
    same: list[dict[str, Any]] = [
        {},
        {"batch_size": 7},
        {"batch_size": "auto", "max_batch_size": 3},
        {"logits_cache": False},
        {"truncation": False, "subfolder": "", "trust_remote_code": False},
        {"token": "hf_secret"},
    ]
    assert len(set(identities(EditedLM(**base, **more) for more in same))) == 1


def test_settings_of_the_checkpoint_and_the_adapter_are_in_the_identity(places: Path, tmp_path: Path) -> None:
    import json
    import shutil

    for name in ("base", "adapter"):
        shutil.copytree(places / name, tmp_path / name)
    arguments: dict[str, Any] = {
        "pretrained": str(tmp_path / "base"),
        "peft": str(tmp_path / "adapter"),
        "device": "cpu",
    }
    found = [identity(EditedLM(**arguments))]
    for file, key, value in (
        ("base/config.json", "rms_norm_eps", 0.01),
        ("base/generation_config.json", "repetition_penalty", 2.0),
        ("base/tokenizer_config.json", "bos_token", "</s>"),
        ("adapter/adapter_config.json", "lora_alpha", 99),
    ):
        path = tmp_path / file
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        found.append(identity(EditedLM(**arguments)))
    assert len(set(found)) == len(found)


def test_where_it_cannot_be_told_nothing_is_kept_and_a_line_says_so(
    places: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Opaque:
        pass

    lm = EditedLM(pretrained=str(places / "base"), chat_template_args={"thing": Opaque()}, device="cpu")
    with caplog.at_level(logging.WARNING, "cti_edits"):
        first = answers(lm, places, "picks", tmp_path)
    assert [record.getMessage() for record in caplog.records if record.name == "cti_edits"] == [
        "use_cache: responses are not cached: chat_template_args: nothing is known of what a Opaque holds"
    ]
    assert tables(tmp_path) == {}
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.neg_()
    assert answers(lm, places, "picks", tmp_path) != first


def test_a_tokenizer_written_in_python_is_told_by_its_vocabulary(tmp_path: Path) -> None:
    def of_bert(*words: str) -> str:
        from transformers.models.bert_japanese.tokenization_bert_japanese import BertJapaneseTokenizer

        file = tmp_path / f"{'-'.join(words)}.txt"
        file.write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words)))
        return tokenizer_sha256(BertJapaneseTokenizer(str(file), do_word_tokenize=False))

    assert of_bert("a", "b") == of_bert("a", "b")
    assert of_bert("a", "b") != of_bert("b", "a")
    assert tokenizer_sha256(transformers.ByT5Tokenizer()) != tokenizer_sha256(transformers.ByT5Tokenizer(extra_ids=3))


def test_masked_models_have_their_own_tables(tmp_path: Path) -> None:
    base: dict[str, Any] = {"pretrained": str(save_checkpoint(tmp_path / "bert", "bert")), "device": "cpu"}
    found = identities(EditedLM.for_checkpoint(**base, **more) for more in ({}, {"max_length": 20}))
    assert len(set(found)) == 2
