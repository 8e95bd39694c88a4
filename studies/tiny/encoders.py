"""Masked language models: encoders that fill in what is masked."""

from __future__ import annotations

from typing import Any

from studies.tiny.model import INNER, LAYERS, TinyModel


def _masked(model_type: str, model_class: str, **settings: Any) -> TinyModel:
    return TinyModel(model_type, model_class, "masked", settings, "encoder")


_OFFSET = {"max_position_embeddings": 514}

MODELS = (
    _masked("bert", "BertForMaskedLM"),
    _masked("big_bird", "BigBirdForMaskedLM", attention_type="original_full"),
    _masked("megatron-bert", "MegatronBertForMaskedLM"),
    _masked("roberta", "RobertaForMaskedLM", **_OFFSET),
    _masked("xlm-roberta", "XLMRobertaForMaskedLM", **_OFFSET),
    _masked("camembert", "CamembertForMaskedLM", **_OFFSET),
    _masked("xlm-roberta-xl", "XLMRobertaXLForMaskedLM", **_OFFSET),
    _masked("xmod", "XmodForMaskedLM", default_language="en_XX", **_OFFSET),
    _masked("roberta-prelayernorm", "RobertaPreLayerNormForMaskedLM", **_OFFSET),
    _masked("data2vec-text", "Data2VecTextForMaskedLM", **_OFFSET),
    _masked("distilbert", "DistilBertForMaskedLM", hidden_dim=INNER, n_layers=LAYERS),
    _masked("albert", "AlbertForMaskedLM"),
    _masked("electra", "ElectraForMaskedLM"),
    _masked("ernie", "ErnieForMaskedLM"),
    _masked("esm", "EsmForMaskedLM", token_dropout=False, mask_token_id=4),
    _masked("deberta", "DebertaForMaskedLM", pos_att_type=["c2p", "p2c"], relative_attention=True),
    _masked("deberta-v2", "DebertaV2ForMaskedLM", pos_att_type=["c2p", "p2c"], relative_attention=True),
    _masked("mpnet", "MPNetForMaskedLM"),
    _masked("rembert", "RemBertForMaskedLM", input_embedding_size=16, output_embedding_size=16),
    _masked("roformer", "RoFormerForMaskedLM"),
    _masked("roc_bert", "RoCBertForMaskedLM", enable_pronunciation=False, enable_shape=False),
    _masked("modernbert", "ModernBertForMaskedLM", local_attention=64, global_attn_every_n_layers=2),
    _masked("nomic_bert", "NomicBertForMaskedLM"),
    _masked("eurobert", "EuroBertForMaskedLM"),
    _masked("gte", "GteForMaskedLM"),
)
