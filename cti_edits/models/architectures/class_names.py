"""Whether a model is of the class that an edit is for, by the names of transformers' classes."""

from __future__ import annotations

from collections.abc import Sequence

from cti_edits.errors import FitError, printable

HEADS = (
    ("ForPreTraining", "ForMaskedLM"),
    ("DoubleHeadsModel", "LMHeadModel"),
    # The name of T5's class of old.
    ("WithLMHeadModel", "ForConditionalGeneration"),
)
"""Endings of classes whose checkpoints have all that a class of the second ending needs."""


def check_architecture(wanted: str, found: Sequence[str], what: str) -> None:
    """Refuse a model or checkpoint of another class than an edit is for.

    The class itself has the matrices that the edit changes, and so have the one that was pretrained with a further head
    and the bare model without a head.

    Args:
        wanted: name of the transformers class that the edit is for.
        found: names of the classes that the model or checkpoint is of; where there are none, nothing is refused.
        what: the model or checkpoint, for the message.

    Raises:
        FitError: no class of ``found`` is one of these.
    """
    names = {wanted}
    for more, less in HEADS:
        if wanted.endswith(less):
            names.add(wanted.removesuffix(less) + more)
    for ending in ("ForCausalLM", "ForMaskedLM", "LMHeadModel", "ForConditionalGeneration", "MTModel"):
        if wanted.endswith(ending):
            names.add(f"{wanted.removesuffix(ending)}Model")
    if found and names.isdisjoint(found):
        raise FitError(f"base_model.architecture: the edit is for {wanted}, {what} is a {printable(', '.join(found))}")
