"""A tokenizer of single bytes for tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")


def byte_tokenizer(masked: bool = False, seq2seq: bool = False) -> Any:
    """Every byte a token; masked models get ``<s> … </s>`` around each text, encoder-decoders ``… </s>``."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL)}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if masked or seq2seq:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>" if masked else "$A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=512,
    )


def save_checkpoint(folder: Path, model: Any, masked: bool = False, seq2seq: bool = False) -> Path:
    """A checkpoint folder of a model (config, safetensors, tokenizer), as lm-eval loads one."""
    model.save_pretrained(folder)
    byte_tokenizer(masked, seq2seq).save_pretrained(folder)
    return folder
