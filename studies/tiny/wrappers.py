"""Text models inside multimodal ones: the text stack is edited, the rest stays."""

from __future__ import annotations

from studies.tiny.model import TinyModel

MODELS: tuple[TinyModel, ...] = ()
