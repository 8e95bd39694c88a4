"""The lm-eval model ``cti``, a causal language model with an edit; and loading the base model of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.utils import simple_parse_args_string
from transformers import AutoModelForCausalLM, PretrainedConfig

from cti_edits.artifact.matrix_id import StackName
from cti_edits.errors import EditError, FitError, one_line_in_command, printable
from cti_edits.harness.autoregressive_lm import EditedAutoregressiveLM, answer_loss
from cti_edits.harness.base_config import model_kind, read_config
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import EditedHFLM, ScoredTokens, equal_pieces, kind_for
from cti_edits.harness.masked_lm import EditedMaskedLM
from cti_edits.harness.model_arguments import loading
from cti_edits.harness.results_folder import name_results_after_edits
from cti_edits.harness.seq2seq_lm import EditedSeq2SeqLM
from cti_edits.models.architectures import Kind, family_of, known_family, use_architecture
from cti_edits.models.empty_model import auto_class_of


@register_model("cti")
class EditedLM(EditedAutoregressiveLM):
    """A causal language model with an edit. Arguments as `EditedHFLM` has them.

    lm-eval knows one class for the name ``cti`` and makes models of it by the two ``create_from_arg_…`` methods;
    given a masked language model or an encoder-decoder, those make an `EditedMaskedLM` or `EditedSeq2SeqLM`.
    """

    kind = "causal"
    AUTO_MODEL_CLASS: Any

    @classmethod
    def for_checkpoint(cls, **arguments: Any) -> EditedHFLM:
        """A model of the class for the kind of the base: see `EditedHFLM`.

        Raises:
            EditError: see `EditedHFLM`.
        """
        classes: dict[Kind, type[EditedHFLM]] = {"causal": cls, "masked": EditedMaskedLM, "seq2seq": EditedSeq2SeqLM}
        return classes[kind_for(arguments)](**arguments)

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> EditedHFLM:
        """See `create_from_arg_obj`; ``arg_string`` is "key=value,key=value"."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> EditedHFLM:
        """The model of these arguments, of the class for its checkpoint; inside ``lm_eval``, an error is one line.

        Args:
            arg_dict: of ``--model_args``.
            additional_config: of lm-eval's other options (device, batch sizes); None is left out.
        """
        name_results_after_edits()
        more = {key: value for key, value in (additional_config or {}).items() if value is not None}
        with one_line_in_command(), loading(arg_dict.get("pretrained")):
            return cls.for_checkpoint(**arg_dict, **more)

    def _get_backend(
        self, config: PretrainedConfig, backend: str = "default", trust_remote_code: bool | None = False
    ) -> None:
        """See HFLM. A text model inside a multimodal one is loaded with what it is inside of."""
        super()._get_backend(config, backend, trust_remote_code)
        of_text = AutoModelForCausalLM._model_mapping
        known = known_family(str(config.model_type)) is not None
        if self.AUTO_MODEL_CLASS is AutoModelForCausalLM and (known or type(config) not in of_text):
            self.AUTO_MODEL_CLASS = auto_class_of(config, "causal")

    def scored_tokens(self, context: str, continuation: str) -> ScoredTokens:
        """See `EditedHFLM.scored_tokens`. A context that is too long is cut on the left."""
        prompt, answer = self.encoded(context, continuation)
        # The last token predicts what comes after the answer.
        tokens = (prompt + answer)[-(self.max_length + 1) :][:-1]
        return ScoredTokens(tuple(tokens), tuple(range(len(tokens) - len(answer), len(tokens))), tuple(answer))

    def prompt_tokens(self, context: str, room: int) -> tuple[int, ...]:
        """The tokens of a prompt that is continued by up to ``room`` tokens, cut as `generate_until` cuts them."""
        found, _ = self.tok_batch_encode(
            [context], left_truncate_len=self.max_length - room, truncation=self.truncation
        )
        return tuple(found[0].tolist())

    def text_pieces(self, text: str, width: int) -> list[ScoredTokens]:
        """See `EditedHFLM.text_pieces`. The prefix token goes before each piece, where the tokenizer has one."""
        prefix = () if self.prefix_token_id is None else (int(self.prefix_token_id),)
        tokens = self.tok_encode(text, add_special_tokens=False)
        found = [(*prefix, *piece) for piece in equal_pieces(tokens, min(width, self.max_length))]
        return [ScoredTokens(piece[:-1], tuple(range(len(piece) - 1)), piece[1:]) for piece in found]

    def answer_logits(self, scored: Sequence[ScoredTokens]) -> list[torch.Tensor]:
        """See `EditedHFLM.answer_logits`. Rows are padded on the right, which earlier positions do not see."""
        longest = max(len(one.tokens) for one in scored)
        inputs = torch.zeros((len(scored), longest), dtype=torch.long, device=self.device)
        mask = torch.zeros_like(inputs)
        for row, one in enumerate(scored):
            inputs[row, : len(one.tokens)] = torch.tensor(one.tokens, device=self.device)
            mask[row, : len(one.tokens)] = 1
        logits = self.model(input_ids=inputs, attention_mask=mask).logits
        return [logits[row, list(one.places)] for row, one in enumerate(scored)]

    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """See `EditedHFLM.answer_losses`."""
        asked = [self.gold_tokens(request) for request in requests]
        pairs = zip(self.answer_logits(asked), asked, strict=True)
        return torch.stack([answer_loss(logits, one.answer) for logits, one in pairs])


DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Base:
    """The base model of a search, before it is loaded.

    Attributes:
        id: hub id, or the whole path of a checkpoint folder.
        kind: of language model.
        model_type: of its config, "gptj".
        arguments: further arguments of HFLM.
    """

    id: str
    kind: Kind
    model_type: str
    arguments: Mapping[str, object]


RESERVED_ARGUMENTS = (
    *("pretrained", "edit", "dtype", "device", "batch_size", "parallelize", "peft", "skip_calibration"),
)
"""Arguments of the model that a search sets itself, or that have no place in one."""


def read_base(model: str, model_args: str | Mapping[str, object]) -> Base:
    """What the config of a base model says.

    Args:
        model: hub id or checkpoint folder.
        model_args: more HFLM arguments, "key=value,key=value" or by name.

    Raises:
        EditError: an argument has no place here, or the config cannot be read.
    """
    named = simple_parse_args_string(model_args) if isinstance(model_args, str) else model_args
    arguments: dict[str, Any] = dict(named)
    if architecture := arguments.pop("architecture", None):
        use_architecture(architecture)
    if clash := set(RESERVED_ARGUMENTS) & set(arguments):
        raise EditError(f"model_args: {min(clash)} has an option of its own here, or no place in a search")
    if not model:
        raise EditError("model: expected a hub id or a checkpoint folder, got nothing")
    if Path(model).is_absolute() and not Path(model).is_dir():
        raise EditError(f"model: {printable(model)}: no such folder")
    base_id = str(Path(model).resolve()) if Path(model).is_dir() else model
    revision = arguments.get("revision")
    kind = model_kind(base_id, revision, arguments)
    model_type = str(getattr(read_config(base_id, revision, arguments), "model_type", "model"))
    return Base(base_id, kind, model_type, arguments)


def check_matrices(model_type: str, matrices: Sequence[str], stack: StackName | None = None) -> None:
    """Refuse matrices that models of this type do not have, before one is loaded.

    Args:
        model_type: of the config.
        matrices: roles.
        stack: the list of blocks that has to have them, where it is not all one which.

    Raises:
        EditError: the model type is unknown, or has no such matrix or stack.
    """
    family = family_of(model_type)
    for matrix in matrices:
        try:
            if stack is None:
                family.check_role(matrix)
            else:
                family.places(matrix, stack)
        except FitError as error:
            raise EditError(str(error) if str(error).startswith("stack: ") else f"matrices: {error}") from None


def load_base(base: Base, device: str | None, dtype: str, batch_size: int) -> EditedHFLM:
    """The base model of a search, loaded as ``lm_eval --model cti`` loads it.

    Args:
        base: see `read_base`.
        device: as lm-eval takes it; if None, a GPU if there is one.
        dtype: a dtype's name or "auto".
        batch_size: requests in one pass.

    Raises:
        EditError: an argument is not the model's, or the model cannot be loaded.
    """
    if dtype not in DTYPES:
        raise EditError(f"dtype: expected {', '.join(DTYPES)}, got {printable(dtype)!r}")
    if device and device.startswith("cuda") and not torch.cuda.is_available():
        raise EditError(f"device: {printable(device)}: PyTorch sees no such device here")
    with loading(base.id):
        return EditedLM.for_checkpoint(
            pretrained=base.id, dtype=dtype, batch_size=batch_size, device=device, **base.arguments
        )
