"""Tiny random models of every known architecture, each from its config and a seed: three blocks, 264 tokens.

- model.py: what is said of a type, and how its model is built.
- decoders.py: causal models whose matrices are layers of their own.
- fused.py: those with several matrices in one weight. experts.py: mixtures of experts.
- encoders.py: masked models. encoder_decoders.py: those that read one text and write another.
- hybrids.py: causal models some of whose blocks have no attention, or no MLP.
- wrappers.py: text models inside multimodal ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from studies.tiny import decoders, encoders, hybrids, wrappers
from studies.tiny.encoder_decoders import SEQ2SEQ
from studies.tiny.experts import EXPERT_TYPES
from studies.tiny.fused import FUSED
from studies.tiny.model import TinyModel

TINY: Mapping[str, TinyModel] = {
    one.model_type: one
    for group in (
        decoders.MODELS,
        (TinyModel(name, of, settings=settings, group="fused") for name, (_, of, settings) in FUSED.items()),
        (TinyModel(name, of, settings=settings, group="experts") for name, (_, of, settings) in EXPERT_TYPES.items()),
        hybrids.MODELS,
        encoders.MODELS,
        (TinyModel(name, of, "seq2seq", settings, "encoder-decoder") for name, (_, of, settings) in SEQ2SEQ.items()),
        wrappers.MODELS,
    )
    for one in group
}
"""By ``config.model_type``."""
