"""What the lm-eval models here share: the base they load, the edit on it, and what results and caches know of both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from lm_eval.models.huggingface import HFLM

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError, FactorsError, FitError, one_line_in_command, printable
from cti_edits.harness.asked_otherwise import warn_of_evaluation, warn_of_model, warn_of_prompts
from cti_edits.harness.asking import ModelSource, asked_model, asked_prompt
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edit_argument import EditArgument, names_base, read_edits
from cti_edits.harness.evaluator_hook import install
from cti_edits.harness.model_arguments import check_arguments, check_remote_code, loading
from cti_edits.harness.response_cache import attach_table
from cti_edits.harness.row_hashes import joined, split
from cti_edits.harness.skipped_rows import SkippedRows, rows_to_skip
from cti_edits.hub.repositories import quiet_hub
from cti_edits.models.apply import AppliedEdit, apply
from cti_edits.models.architectures import Kind, families
from cti_edits.models.checkpoint_location import checkpoint_location
from cti_edits.models.wrappers import inner_model
from cti_edits.paths import folder


@dataclass(frozen=True)
class ScoredTokens:
    """What a model is given to score an answer.

    Attributes:
        tokens: token ids that go into the model.
        places: ascending indices into ``tokens`` of those whose logits predict the answer's tokens.
        answer: the answer's token ids, one a place.
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]
    answer: tuple[int, ...]


class EditedHFLM(HFLM):  # type: ignore[misc]
    """lm-eval's Hugging Face model with an edit; `lm.EditedLM` and `masked_lm.EditedMaskedLM` are its two kinds.

    Arguments:
        edit: an edit manifest, a folder with one, or ``owner/name[/file.json][@revision]`` on the hub; several that fit
            together, joined by ``+`` or as a list, are composed in memory; none gives the base model, so that both runs
            go the same way.
        pretrained: the base model; the manifest's if left out.
        revision: hub revision of the base model; the manifest's if neither it nor ``pretrained`` is given.
        dtype: the manifest's if the edit has one and this is left out, else lm-eval's default.
        device: a GPU if there is one, else the CPU, if left out (HFLM's own default fails without a GPU).
        verify: false applies the edit to a base whose hash differs; recorded in the results.
        factorize: true runs the factors of each edited layer instead of its matrix, where they have fewer numbers, and
            drops the matrix; recorded in the results.
        skip_calibration: true leaves the rows that the edit was searched on out of every run, by their contents; the
            name of an edit (or several) leaves out that one's, as for the base model beside it. The results say how
            many.
        trust_remote_code: true runs code that comes with the checkpoint; never done unless asked for.

    Every other argument goes to lm-eval's ``HFLM``.

    Attributes:
        kind: the kind of language model that the class runs.
        edit: the edit, or None for the base model.
        applied_edit: the edit in force on ``model``, or None.
        given: what the model was made of.
        skipped_rows: the rows that runs leave out, or None.

    Raises:
        EditError: an argument or the manifest is wrong, or the base is of another kind.
    """

    kind: ClassVar[Kind]
    edit: Edit | None
    applied_edit: AppliedEdit | None
    given: ModelSource
    skipped_rows: SkippedRows | None
    _templated = False
    _warned_of_prompts = False

    def __init__(
        self,
        edit: EditArgument | None = None,
        pretrained: Any = None,
        revision: str | None = None,
        dtype: Any = None,
        device: str | None = None,
        verify: bool = True,
        factorize: bool = False,
        skip_calibration: bool | EditArgument = False,
        trust_remote_code: bool | None = False,
        **arguments: Any,
    ) -> None:
        for name, value in (("verify", verify), ("factorize", factorize)):
            if not isinstance(value, bool):
                raise EditError(f"{name}: expected true or false, got {printable(value)!r}")
        trust = check_remote_code(trust_remote_code)
        self._given = None if edit is None else read_edits(edit)
        self.edit = self._given.edit if self._given else None
        self._parts = self._given.parts if self._given else ()
        self.skipped_rows = rows_to_skip(skip_calibration, self._given)
        named_by = names_base(self._given, pretrained)
        if not self.edit and not pretrained:
            check_arguments(type(self), arguments, lambda _: False)
        pretrained, revision = base_of(self.edit, pretrained, revision)
        if dtype is None:
            dtype = (self.edit.base_model.dtype if self.edit else None) or "auto"
        device = check_device(device)
        reading = {**arguments, "trust_remote_code": trust}
        check_arguments(
            type(self), arguments, lambda name: hasattr(_config(pretrained, revision, reading, named_by), name)
        )
        found = model_kind(pretrained, revision, reading, named_by)
        if found != self.kind:
            right = {"causal": "EditedLM", "masked": "EditedMaskedLM"}[found]
            raise EditError(
                f"{_name(pretrained)} is a {found} language model, which {type(self).__name__} cannot run; "
                f"use {right}, or `lm_eval --model cti`, which goes by the checkpoint"
            )
        with loading(pretrained, named_by):
            super().__init__(
                pretrained=pretrained,
                revision=revision or "main",
                dtype=dtype,
                device=device,
                trust_remote_code=trust,
                **arguments,
            )
        self.applied_edit = None
        self.factorize = factorize
        self.given = ModelSource(pretrained, revision, reading)
        self.checkpoint_location = checkpoint_location({**arguments, "revision": revision})
        if self.edit is not None:
            self.given = ModelSource.before_edit(self, pretrained, revision, reading)
            try:
                self.applied_edit = apply(
                    self.edit, self.model, verify, factorize, revertible=False, **self.checkpoint_location
                )
            except (FitError, FactorsError) as error:
                shown = self._given.shown if self._given else None
                raise error if shown is None else type(error)(f"{printable(shown)}: {error}") from None
            for part in self._parts:
                warn_of_model(part, self.asked())
        if self.skipped_rows is not None or self._parts:
            install()

    @abstractmethod
    def scored_tokens(self, context: str, continuation: str) -> ScoredTokens:
        """What `loglikelihood` gives the model to score ``continuation`` after ``context``.

        Raises:
            EditError: the answer has no tokens, or more than the model takes.
        """

    def gold_tokens(self, request: GoldRequest) -> ScoredTokens:
        """`scored_tokens` of a gold answer.

        Raises:
            EditError: as there; the message names the row.
        """
        try:
            return self.scored_tokens(request.context, request.continuation)
        except EditError as error:
            raise EditError(f"row {request.doc_id}: {error}") from None

    @abstractmethod
    def answer_losses(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """Mean negative log-likelihood of the answer's tokens, one number a request, nats, float32 or wider.

        Differentiable, in one forward pass.

        Raises:
            EditError: an answer has no tokens, or more than the model takes.
        """

    @property
    def tokenizer_name(self) -> str:
        """See HFLM. lm-eval asks for it where prompts go through the chat template, and nowhere else."""
        self._templated = True
        return str(super().tokenizer_name)

    def before_evaluation(self, tasks: Mapping[str, Any], as_multiturn: bool) -> None:
        """Warn, before lm-eval's evaluator asks, of what it is about to ask otherwise than the edits' searches did.

        Args:
            tasks: lm-eval's, by name.
            as_multiturn: whether few-shot examples are turns.
        """
        for part in self._parts:
            warn_of_evaluation(part, tasks, as_multiturn)

    def check_requests(self, requests: Sequence[Any]) -> None:
        """Look at lm-eval's requests before they are answered.

        Warns, once, if the edit's search asked otherwise; see `asked_otherwise.warn_of_prompts`.

        Raises:
            EditError: they are for the other kind of model, or about rows that were to be left out. Inside the
                ``lm_eval`` command, one line and exit code 2 instead.
        """
        refuse_other_kind(requests, self.kind)
        if self.skipped_rows is not None:
            with one_line_in_command():
                self.skipped_rows.check_requests(requests)
        if self.edit is not None and not self._warned_of_prompts:
            names, contexts = ([str(one.task_name) for one in requests], [str(one.args[0]) for one in requests])
            told = [warn_of_prompts(part, names, contexts, self._templated) for part in self._parts]
            self._warned_of_prompts = any(told)

    def log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """What `loglikelihood` makes of logits (…, vocabulary)."""
        return torch.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)

    def asked(self) -> Asked:
        """What the model is asked with, as far as it knows: of the task nothing, and of the prompt its own part."""
        return Asked(asked_model(self), asked_prompt(self))

    def get_model_info(self) -> dict[str, Any]:
        """lm-eval's figures about the model, what it was asked with, which edit ran, and which rows were left out."""
        info: dict[str, Any] = super().get_model_info()
        info["asked"] = self.asked().to_json()
        info["skipped_rows"] = None if self.skipped_rows is None else self.skipped_rows.to_json()
        info["edit"] = None
        if self._given is not None and self.edit is not None and self.applied_edit is not None:
            info["edit"] = {
                **self._given.to_json(),
                **({"metric": self.edit.task.metric} if self.edit.task else {}),
                "base_model": self.edit.base_model.id,
                "base_model_revision": self.edit.base_model.revision,
                "applied_to": self.pretrained if isinstance(self.pretrained, str) else type(self.model).__name__,
                "verified": self.applied_edit.verified,
                "factorize": self.factorize,
                "factorized": list(self.applied_edit.factorized),
            }
            recorded = [part.search.row_hashes or "" for part in self._parts if part.search is not None]
            if row_hashes := joined(frozenset().union(*map(split, recorded))):
                info["edit"]["row_hashes"] = row_hashes
        return info

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Give what is asked of this model a table of its own in lm-eval's response cache; see `response_cache`."""
        super().set_cache_hook(cache_hook)
        responses = getattr(cache_hook, "dbdict", None)
        if responses is not None:
            attach_table(self, responses)


def refuse_other_kind(requests: Sequence[Any], kind: Kind) -> None:
    """Refuse our tasks whose prompts are for the other kind of model; they would give figures that mean nothing.

    Raises:
        EditError: the requests are of such a task; the message names the right one. Inside the ``lm_eval`` command, one
            line and exit code 2 instead.
    """
    with one_line_in_command():
        for name in sorted({str(request.task_name) for request in requests}):
            wanted = "masked" if name.endswith("_masked") else "causal"
            other = name.removesuffix("_masked") if wanted == "masked" else f"{name}_masked"
            if wanted == kind or other not in _our_tasks():
                continue
            raise EditError(
                f"{printable(name)} is for {wanted} language models and this one is {kind}; use {printable(other)}"
            )


@cache
def _our_tasks() -> frozenset[str]:
    return frozenset(path.stem for path in folder("tasks").rglob("cti_*.yaml"))


def check_device(device: str | None) -> str:
    """``device``, or a GPU if there is one, else the CPU.

    HFLM takes any word, and goes where it likes. lm-eval's command asks for cuda:0 by itself, so that a GPU that is
    not there cannot be an error here; HFLM falls back to the CPU then.

    Raises:
        EditError: it is the name of no device.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError:
        raise EditError(f"device: expected cpu, cuda, cuda:0 or mps, got {printable(device)!r}") from None
    return device


def base_of(edit: Edit | None, pretrained: Any, revision: str | None) -> tuple[Any, str | None]:
    """The base model and its revision: those given, else the edit's.

    Raises:
        EditError: neither an edit nor a base is given.
    """
    if pretrained is not None and pretrained != "":
        return pretrained, revision
    if edit is None:
        raise EditError("expected edit=FILE, pretrained=MODEL or both in --model_args, got neither")
    return edit.base_model.id, revision or edit.base_model.revision


def kind_for(arguments: Mapping[str, Any]) -> Kind:
    """The kind of model that the arguments of `EditedHFLM` load.

    Raises:
        EditError: see `edit_argument.read_edits`, `base_of` and `model_kind`.
    """
    edit = arguments.get("edit")
    given = None if edit is None else read_edits(edit)
    if given is None and not arguments.get("pretrained"):
        check_arguments(EditedHFLM, arguments, lambda _: False)
    named_by = names_base(given, arguments.get("pretrained"))
    pretrained, revision = base_of(
        given.edit if given else None, arguments.get("pretrained"), arguments.get("revision")
    )
    return model_kind(pretrained, revision, arguments, named_by)


def model_kind(
    pretrained: Any, revision: str | None, arguments: Mapping[str, Any], named_by: str | None = None
) -> Kind:
    """Which kind of language model a checkpoint holds, by its config, or a loaded model is, by its class.

    HFLM loads a masked language model such as RoBERTa silently as a causal one, whose attention is then wrong.

    Args:
        pretrained: hub id or folder of a checkpoint, or a transformers model.
        revision: of the checkpoint, on the hub.
        arguments: of HFLM, for those that say how a config is read.
        named_by: the edit that named the checkpoint, if one did, for messages.

    Raises:
        EditError: the config cannot be read, or names classes of a masked family that have no language model head.
    """
    config = _config(pretrained, revision, arguments, named_by)
    if isinstance(pretrained, str):
        classes = list(getattr(config, "architectures", None) or [])
    else:
        model = inner_model(pretrained)
        classes = [type(model).__name__]
    if any(name.endswith("ForMaskedLM") for name in classes):
        return "masked"
    family = families().get(str(getattr(config, "model_type", None)))
    if family is None or family.kind == "causal":
        return "causal"
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
        return "causal"
    # Loaded as a masked language model, a classifier would get a random head; BertForPreTraining has the right one.
    if classes and not any(name.endswith("ForPreTraining") for name in classes):
        raise EditError(f"{_name(pretrained)} is a {printable(classes[0])}, which has no language model head")
    return "masked"


def read_config(
    pretrained: str, revision: str | None, arguments: Mapping[str, Any], named_by: str | None = None
) -> Any:
    """A checkpoint's config, with what the arguments of `EditedHFLM` say about how it is read.

    Raises:
        EditError: it cannot be read, or needs code that may not run.
    """
    from transformers import AutoConfig

    options = {k: arguments[k] for k in ("gguf_file", "subfolder") if arguments.get(k)}
    trust = check_remote_code(arguments.get("trust_remote_code"))
    with loading(pretrained, named_by), quiet_hub():
        return AutoConfig.from_pretrained(pretrained, revision=revision or "main", trust_remote_code=trust, **options)


def _config(pretrained: Any, revision: str | None, arguments: Mapping[str, Any], named_by: str | None) -> Any:
    """The config of a checkpoint, or of a model in memory."""
    if isinstance(pretrained, str):
        return read_config(pretrained, revision, arguments, named_by)
    model = pretrained.get_base_model() if hasattr(pretrained, "get_base_model") else pretrained
    return getattr(model, "config", None)


def _name(pretrained: Any) -> str:
    return printable(pretrained) if isinstance(pretrained, str) else type(pretrained).__name__
