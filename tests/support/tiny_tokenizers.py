"""Tokenizers in the three styles of masked language models, trained on a few sentences when a test asks for them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.support.tiny_models import tiny_model

SENTENCES = (
    "Consider the following claim: Paris is the capital of France. Is this claim true or false. The claim is true",
    "Consider the following claim: the sea is dry. Is this claim true or false. The claim is false",
    "Relation: entailment", "Relation: non-entailment", "A quick brown fox jumps over the lazy dog.",
    "The capital of Norway is Oslo, and the capital of Peru is Lima.",
)  # fmt: skip
STYLE_OF = {"roberta": "byte_bpe", "xlm-roberta": "unigram", "bert": "wordpiece", "distilbert": "wordpiece"}


def _byte_bpe() -> Any:
    """RoBERTa's: blanks belong to the token after them, and the mask takes the blank before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )  # fmt: skip


def _wordpiece() -> Any:
    """BERT's: lower case, words, no blanks."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        mask_token="[MASK]",
    )  # fmt: skip


def _unigram() -> Any:
    """XLM-RoBERTa's: every word starts with ▁, after a mask too."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )  # fmt: skip
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )  # fmt: skip


@cache
def masked_tokenizer(style: str) -> Any:
    """A tokenizer of the style "byte_bpe", "wordpiece" or "unigram"."""
    return {"byte_bpe": _byte_bpe, "wordpiece": _wordpiece, "unigram": _unigram}[style]()


def save_masked_checkpoint(folder: Path, model_type: str, **overrides: Any) -> Path:
    """A checkpoint of a tiny masked model with the tokenizer of its family's style."""
    tokenizer = masked_tokenizer(STYLE_OF[model_type])
    # Positions as in the published models: RoBERTa's padding_idx is 1, and takes two of them.
    positions = 66 if STYLE_OF[model_type] != "wordpiece" else 64
    settings = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": positions,
        **overrides,
    }
    tiny_model(model_type, **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
