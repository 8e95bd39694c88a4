"""The lm-eval model ``cti``, a causal language model with an edit; and loading the base model of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.utils import simple_parse_args_string

from cti_edits.errors import EditError, FitError, one_line_in_command, printable
from cti_edits.harness.base_config import model_kind, read_config
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import EditedHFLM, ScoredTokens, kind_for
from cti_edits.harness.masked_lm import EditedMaskedLM
from cti_edits.harness.model_arguments import loading
from cti_edits.harness.results_folder import name_results_after_edits
from cti_edits.harness.special_tokens import check_prefix, keep_padding_in_vocabulary
from cti_edits.harness.task import Instance
from cti_edits.models.architectures import Kind, family_of


@register_model("cti")
class EditedLM(EditedHFLM):
    """A causal language model with an edit. Arguments as `EditedHFLM` has them.

    lm-eval knows one class for the name ``cti`` and makes models of it by the two ``create_from_arg_…`` methods;
    given a masked language model, those make an `EditedMaskedLM`.
    """

    kind = "causal"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        keep_padding_in_vocabulary(self.tokenizer, self.model)

    @classmethod
    def for_checkpoint(cls, **arguments: Any) -> EditedHFLM:
        """An `EditedMaskedLM` where the base is a masked language model, else one of this class.

        Raises:
            EditError: see `EditedHFLM`.
        """
        lm_class = EditedMaskedLM if kind_for(arguments) == "masked" else cls
        return lm_class(**arguments)

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

    @one_line_in_command()
    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """See HFLM. Tasks whose prompts are for masked language models are refused."""
        self.check_requests(requests)
        if any(request.args[0] == "" for request in requests):
            check_prefix(self)
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    @one_line_in_command()
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """See HFLM. Tasks whose prompts are for masked language models are refused."""
        self.check_requests(requests)
        answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return answers

    @one_line_in_command()
    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """See HFLM, which puts the prefix token before each text."""
        self.check_requests(requests)
        check_prefix(self)
        answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        return answers

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **named: Any) -> list[int]:
        """See HFLM, which fails for tokenizers without a prefix token."""
        if add_special_tokens is None and self.prefix_token_id is None:
            add_special_tokens = self.add_bos_token is not False
        tokens: list[int] = super().tok_encode(string, add_special_tokens, **named)
        return tokens

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
        """See HFLM. None, which stands for the EOS token of a tokenizer without one, stays None and ends no text."""
        return None if tokens is None else super().tok_decode(tokens, skip_special_tokens=skip_special_tokens)

    def scored_tokens(self, context: str, continuation: str) -> ScoredTokens:
        """See `EditedHFLM.scored_tokens`. An empty context is the prefix token; a long one is cut on the left."""
        if context:
            prompt, answer = self._encode_pair(context, continuation)
        else:
            check_prefix(self)
            answer = self.tok_encode(continuation, add_special_tokens=False)
            prompt = [self.prefix_token_id]
            if answer and answer[0] == self.prefix_token_id:
                prompt, answer = answer[:1], answer[1:]
        if not answer:
            raise EditError(f"the answer {printable(continuation)!r} has no tokens")
        if len(answer) > self.max_length:
            raise EditError(
                f"the answer has {len(answer)} tokens, more than the {self.max_length} that the model takes"
            )
        # The last token predicts what comes after the answer.
        tokens = (prompt + answer)[-(self.max_length + 1) :][:-1]
        return ScoredTokens(tuple(tokens), tuple(range(len(tokens) - len(answer), len(tokens))), tuple(answer))

    def prompt_tokens(self, context: str, room: int) -> tuple[int, ...]:
        """The tokens of a prompt that is continued by up to ``room`` tokens, cut as `generate_until` cuts them."""
        found, _ = self.tok_batch_encode(
            [context], left_truncate_len=self.max_length - room, truncation=self.truncation
        )
        return tuple(found[0].tolist())

    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """See `EditedHFLM.answer_losses`. Rows are padded on the right, which earlier positions do not see."""
        encoded = [self.gold_tokens(request) for request in requests]
        longest = max(len(scored.tokens) for scored in encoded)
        inputs = torch.zeros((len(encoded), longest), dtype=torch.long, device=self.device)
        mask = torch.zeros_like(inputs)
        for row, scored in enumerate(encoded):
            inputs[row, : len(scored.tokens)] = torch.tensor(scored.tokens, device=self.device)
            mask[row, : len(scored.tokens)] = 1
        logits = self.model(input_ids=inputs, attention_mask=mask).logits
        losses = []
        for row, scored in enumerate(encoded):
            answered = logits[row, list(scored.places)]
            # Half precision would lose the loss in rounding; a wider model keeps its own precision.
            wide = answered.float() if answered.dtype in (torch.float16, torch.bfloat16) else answered
            losses.append(torch.nn.functional.cross_entropy(wide, torch.tensor(scored.answer, device=self.device)))
        return torch.stack(losses)


DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Base:
    """The base model of a search, before it is loaded.

    Attributes:
        id: hub id, or the whole path of a checkpoint folder.
        kind: "causal" or "masked".
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


def check_matrices(model_type: str, matrices: Sequence[str]) -> None:
    """Refuse matrices that models of this type do not have, before one is loaded.

    Raises:
        EditError: the model type is unknown, or has no such matrix.
    """
    family = family_of(model_type)
    for matrix in matrices:
        try:
            family.check_role(matrix)
        except FitError as error:
            raise EditError(f"matrices: {error}") from None


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
