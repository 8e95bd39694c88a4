"""The lm-eval model ``cti``: a causal language model with an edit applied when it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from cti_edits.apply import AppliedEdit, apply
from cti_edits.calibration import GoldRequest
from cti_edits.errors import EditError, FitError, one_line_in_command, printable
from cti_edits.manifest import Edit, load


@register_model("cti")
class EditedLM(HFLM):  # type: ignore[misc]
    """lm-eval's Hugging Face model with an edit.

    Arguments:
        edit: path of an edit manifest; none gives the base model, so that both runs go the same way.
        pretrained: the base model; the manifest's if left out.
        revision: hub revision of the base model; the manifest's if neither it nor ``pretrained`` is given.
        dtype: the manifest's if the edit has one and this is left out, else lm-eval's default.
        device: a GPU if there is one, else the CPU, if left out (HFLM's own default fails without a GPU).
        verify: false applies the edit to a base whose hash differs; recorded in the results.

    Every other argument goes to lm-eval's ``HFLM``.
    """

    edit: Edit | None
    applied_edit: AppliedEdit | None

    def __init__(
        self,
        edit: str | Edit | None = None,
        pretrained: Any = None,
        revision: str | None = None,
        dtype: Any = None,
        device: str | None = None,
        verify: bool = True,
        **arguments: Any,
    ) -> None:
        if not isinstance(verify, bool):
            raise EditError(f"verify: expected true or false, got {printable(verify)!r}")
        self.edit = edit if isinstance(edit, Edit) or edit is None else load(str(edit))
        if pretrained is None:
            if self.edit is None:
                raise EditError("expected edit=FILE, pretrained=MODEL or both in --model_args, got neither")
            pretrained = self.edit.base_model.id
            revision = revision or self.edit.base_model.revision
        if dtype is None:
            dtype = (self.edit.base_model.dtype if self.edit else None) or "auto"
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if isinstance(pretrained, str):
            check_model_kind(pretrained, revision, arguments)
        super().__init__(pretrained=pretrained, revision=revision or "main", dtype=dtype, device=device, **arguments)
        self.applied_edit = None
        if self.edit is not None:
            model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
            try:
                self.applied_edit = apply(self.edit, model, verify)
            except FitError as error:
                raise error if isinstance(edit, Edit) else type(error)(f"{printable(edit)}: {error}") from None

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> EditedLM:
        """As lm-eval has it, with errors for people when it is the ``lm_eval`` command that calls."""
        with one_line_in_command():
            lm: EditedLM = super().create_from_arg_string(arg_string, additional_config)
            return lm

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> EditedLM:
        """As lm-eval has it, with errors for people when it is the ``lm_eval`` command that calls."""
        with one_line_in_command():
            lm: EditedLM = super().create_from_arg_obj(arg_dict, additional_config)
            return lm

    def answer_length(self, request: GoldRequest) -> int:
        """How many tokens the gold answer has.

        Raises:
            EditError: it has none, or more than the model takes.
        """
        return self._encode_answer(request)[1]

    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """Mean negative log-likelihood of the answer's tokens, one number a request, nats, float32 or wider.

        Differentiable. Rows are padded on the right, which the earlier positions of a causal model do not see.

        Raises:
            EditError: an answer has no tokens, or more than the model takes.
        """
        encoded = [self._encode_answer(request) for request in requests]
        longest = max(len(tokens) for tokens, _ in encoded) - 1
        inputs = torch.zeros((len(encoded), longest), dtype=torch.long, device=self.device)
        mask = torch.zeros_like(inputs)
        for row, (tokens, _) in enumerate(encoded):
            inputs[row, : len(tokens) - 1] = torch.tensor(tokens[:-1], device=self.device)
            mask[row, : len(tokens) - 1] = 1
        logits = self.model(input_ids=inputs, attention_mask=mask).logits
        losses = []
        for row, (tokens, answer) in enumerate(encoded):
            last = len(tokens) - 1
            answered = logits[row, last - answer : last]
            # Half precision would lose the loss in rounding; a wider model keeps its own precision.
            wide = answered.float() if answered.dtype in (torch.float16, torch.bfloat16) else answered
            losses.append(torch.nn.functional.cross_entropy(wide, torch.tensor(tokens[-answer:], device=self.device)))
        return torch.stack(losses)

    def _encode_answer(self, request: GoldRequest) -> tuple[list[int], int]:
        """Tokens of context and answer as `loglikelihood` has them, and how many of them are the answer.

        An empty context becomes the model's prefix token; what is too long is cut on the left.
        """
        if request.context:
            context, answer = self._encode_pair(request.context, request.continuation)
        else:
            answer = self.tok_encode(request.continuation, add_special_tokens=False)
            context = [self.prefix_token_id]
            if answer and answer[0] == self.prefix_token_id:
                context, answer = answer[:1], answer[1:]
        if not answer:
            raise EditError(f"row {request.doc_id}: the gold answer {printable(request.continuation)!r} has no tokens")
        if len(answer) > self.max_length:
            raise EditError(
                f"row {request.doc_id}: the gold answer has {len(answer)} tokens, more than the {self.max_length} "
                "that the model takes"
            )
        return (context + answer)[-(self.max_length + 1) :], len(answer)

    def get_model_info(self) -> dict[str, Any]:
        """lm-eval's figures about the model, and which edit ran on which base."""
        info: dict[str, Any] = super().get_model_info()
        info["edit"] = None
        if self.edit is not None and self.applied_edit is not None:
            info["edit"] = {
                "name": self.edit.name,
                "digest": self.edit.digest(),
                "base_model": self.edit.base_model.id,
                "base_model_revision": self.edit.base_model.revision,
                "applied_to": self.pretrained if isinstance(self.pretrained, str) else type(self.model).__name__,
                "verified": self.applied_edit.verified,
            }
        return info

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Give an edited model a table of its own in lm-eval's response cache.

        ``--use_cache`` keys on the request's text alone, so that an edited run would be answered from the base
        model's responses, and the other way round. lm-eval's wrapper and this hook share one SqliteDict; pointing it
        at another table of the same file moves both.
        """
        super().set_cache_hook(cache_hook)
        responses = getattr(cache_hook, "dbdict", None)
        if self.edit is None or responses is None:
            return
        from sqlitedict import SqliteDict

        identity = hashlib.sha256(f"{self.edit.digest()} {self.pretrained} {self.revision}".encode()).hexdigest()
        SqliteDict(responses.filename, tablename=f"cti_{identity}", autocommit=True).close()
        responses.tablename = f"cti_{identity}"


def load_base(model: str, model_args: str, device: str | None, dtype: str, batch_size: int) -> EditedLM:
    """The base model of a search, loaded as ``lm_eval --model cti`` loads it.

    Args:
        model: hub id or checkpoint folder.
        model_args: more HFLM arguments, "key=value,key=value".
        device: as lm-eval takes it; a GPU if there is one and None is given.
        dtype: a dtype's name or "auto".
        batch_size: requests in one pass.

    Raises:
        EditError: an argument is not the model's, or the model cannot be loaded.
    """
    from lm_eval.utils import simple_parse_args_string

    arguments: dict[str, Any] = simple_parse_args_string(model_args)
    if clash := {"pretrained", "edit", "dtype", "device", "batch_size"} & set(arguments):
        raise EditError(f"--model-args: {min(clash)} has an option of its own here, or no place in a search")
    try:
        return EditedLM(pretrained=model, dtype=dtype, batch_size=batch_size, device=device, **arguments)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EditError(f"cannot load the model {printable(model)!r}: {printable(first, 300)}") from None


def check_model_kind(pretrained: str, revision: str | None, arguments: dict[str, Any]) -> None:
    """Refuse what HFLM would load as something that it is not.

    HFLM loads a masked language model such as RoBERTa silently as a causal one, whose head is then wrong.

    Raises:
        EditError: the model's config cannot be read, or says that it is not a causal language model.
    """
    from transformers import AutoConfig

    options = {k: arguments[k] for k in ("trust_remote_code", "gguf_file", "subfolder") if arguments.get(k)}
    try:
        config = AutoConfig.from_pretrained(pretrained, revision=revision or "main", **options)
    except (OSError, ValueError) as error:
        raise EditError(
            f"cannot load the model {printable(pretrained)!r}: {printable(str(error).splitlines()[0])}"
        ) from None
    classes = getattr(config, "architectures", None) or []
    if classes and all(name.endswith("ForMaskedLM") for name in classes):
        raise EditError(
            f"{printable(pretrained)} is a masked language model ({classes[0]}), which --model cti cannot run"
        )
