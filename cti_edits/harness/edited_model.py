"""`EditedHFLM`, the base class of the lm-eval models here: loads the base, applies the edit, records both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lm_eval.models.huggingface import HFLM

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError, one_line_in_command, printable
from cti_edits.harness.base_config import Pretrained, base_of, config_of, model_kind, name_of
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edit_argument import EditArgument, names_base, read_edits
from cti_edits.harness.evaluator_hook import wrap_evaluate
from cti_edits.harness.model_arguments import check_arguments, check_remote_code, loading
from cti_edits.harness.model_record import ModelSource, asked_model, asked_prompt
from cti_edits.harness.response_cache import attach_table
from cti_edits.harness.row_hashes import joined, split
from cti_edits.harness.search_mismatch import warn_of_evaluation, warn_of_model, warn_of_prompts
from cti_edits.harness.skipped_rows import SkippedRows, rows_to_skip
from cti_edits.harness.task import Instance, Task
from cti_edits.harness.tasks import refuse_other_kind
from cti_edits.models.apply import AppliedEdit, apply
from cti_edits.models.architectures import Kind, use_architecture
from cti_edits.models.checkpoint_location import checkpoint_location


@dataclass(frozen=True)
class ScoredTokens:
    """What goes into a model to score an answer.

    Attributes:
        tokens: token ids that go into the model; into its encoder, if it has one beside a decoder.
        places: positions, ascending, whose logits predict the answer's tokens: in ``tokens``, or in what a decoder is
            given beside them.
        answer: the answer's token ids, one for each position.
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]
    answer: tuple[int, ...]


def equal_pieces(tokens: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """Tokens one after the other in pieces of ``width``; what is left at the end is left out.

    Fewer tokens than that are one piece, as long as there are two of them.
    """
    if 2 <= len(tokens) < width:
        return [tuple(tokens)]
    return [tuple(tokens[start : start + width]) for start in range(0, len(tokens) - width + 1, width)]


class EditedHFLM(HFLM):  # type: ignore[misc]
    """lm-eval's Hugging Face model with an edit.

    `lm.EditedLM`, `masked_lm.EditedMaskedLM` and `seq2seq_lm.EditedSeq2SeqLM` are its three kinds.

    Arguments:
        edit: an edit manifest, a folder with one, or ``owner/name[/file.json][@revision]`` on the hub; several that fit
            together, joined by ``+`` or as a list, are composed in memory; none gives the base model, so that both runs
            go the same way.
        pretrained: the base model; the manifest's if left out.
        revision: hub revision of the base model; the manifest's if both it and ``pretrained`` are left out.
        dtype: the manifest's if the edit has one and this is left out, else lm-eval's default.
        device: a GPU if there is one, else the CPU, if left out (HFLM's own default fails without a GPU).
        verify: false applies the edit to a base whose hash differs; recorded in the results.
        factorize: true runs the factors of each edited layer instead of its matrix, where they have fewer numbers, and
            drops the matrix; recorded in the results.
        skip_calibration: true leaves the rows that the edit was searched on out of every run, by their contents; the
            name of an edit (or several) leaves out that one's, as for the base model beside it. The results say how
            many.
        trust_remote_code: true runs code that comes with the checkpoint; never done unless asked for.
        architecture: an architecture file, for a model whose type is not known.

    Every other argument goes to lm-eval's ``HFLM``.

    Attributes:
        kind: the kind of language model that the class runs.
        edit: the edit, or None for the base model.
        applied_edit: the edit in force on ``model``, or None.
        source: what the model was made of.
        skipped_rows: the rows that runs leave out, or None.

    Raises:
        EditError: an argument or the manifest is wrong, or the base is of another kind.
    """

    kind: ClassVar[Kind]
    edit: Edit | None
    applied_edit: AppliedEdit | None
    source: ModelSource
    skipped_rows: SkippedRows | None
    _templated = False
    _warned_of_prompts = False

    def __init__(
        self,
        edit: EditArgument | None = None,
        pretrained: Pretrained | None = None,
        revision: str | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        verify: bool = True,
        factorize: bool = False,
        skip_calibration: bool | EditArgument = False,
        trust_remote_code: bool | None = False,
        architecture: str | None = None,
        **arguments: Any,
    ) -> None:
        if architecture:
            use_architecture(architecture)
        for name, value in (("verify", verify), ("factorize", factorize)):
            if not isinstance(value, bool):
                raise EditError(f"{name}: expected true or false, got {printable(value)!r}")
        trust = check_remote_code(trust_remote_code)
        self._edits = None if edit is None else read_edits(edit)
        self.edit = self._edits.edit if self._edits else None
        self._parts = self._edits.parts if self._edits else ()
        self.skipped_rows = rows_to_skip(skip_calibration, self._edits)
        named_by = names_base(self._edits, pretrained)
        if not self.edit and not pretrained:
            check_arguments(type(self), arguments, lambda _: False)
        base, revision = base_of(self.edit, pretrained, revision)
        if dtype is None:
            dtype = (self.edit.base_model.dtype if self.edit else None) or "auto"
        device = check_device(device)
        reading = {**arguments, "trust_remote_code": trust}
        check_arguments(type(self), arguments, lambda name: hasattr(config_of(base, revision, reading, named_by), name))
        found = model_kind(base, revision, reading, named_by)
        if found != self.kind:
            right = {"causal": "EditedLM", "masked": "EditedMaskedLM", "seq2seq": "EditedSeq2SeqLM"}[found]
            raise EditError(
                f"{name_of(base)} is a {found} language model, which {type(self).__name__} cannot run; "
                f"use {right}, or `lm_eval --model cti`, which goes by the checkpoint"
            )
        with loading(base, named_by):
            super().__init__(
                pretrained=base,
                revision=revision or "main",
                dtype=dtype,
                device=device,
                trust_remote_code=trust,
                **arguments,
            )
        self.applied_edit = None
        self.factorize = factorize
        self.source = ModelSource(base, revision, reading)
        self.checkpoint_location = checkpoint_location({**arguments, "revision": revision})
        if self.edit is not None:
            self.source = ModelSource.before_edit(self, base, revision, reading)
            try:
                self.applied_edit = apply(
                    self.edit, self.model, verify, factorize, revertible=False, **self.checkpoint_location
                )
            except EditError as error:
                shown = self._edits.shown if self._edits else None
                raise error if shown is None else type(error)(f"{printable(shown)}: {error}") from None
            for part in self._parts:
                warn_of_model(part, self.asked())
        if self.skipped_rows is not None or self._parts:
            wrap_evaluate()

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
    def text_pieces(self, text: str, width: int) -> list[ScoredTokens]:
        """A whole text as what goes into the model to predict its tokens, in pieces of equal length.

        Args:
            text: any text.
            width: tokens of it in each piece; fewer where the model takes fewer. What is left at its end is left out.

        Returns:
            The pieces; none where the text has too few tokens for one.
        """

    @abstractmethod
    def answer_logits(self, scored: Sequence[ScoredTokens]) -> list[torch.Tensor]:
        """For each, the logits (answer, vocabulary) that predict its answer's tokens. From one forward pass."""

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

    def before_evaluation(self, tasks: Mapping[str, Task], as_multiturn: bool) -> None:
        """Warn of settings of an evaluation that is about to start and that the edits' searches had otherwise.

        Args:
            tasks: lm-eval's, by name.
            as_multiturn: whether few-shot examples are turns.
        """
        for part in self._parts:
            warn_of_evaluation(part, tasks, as_multiturn)

    def check_requests(self, requests: Sequence[Instance]) -> None:
        """Check lm-eval's requests before they are answered, and warn once of `search_mismatch.warn_of_prompts`.

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
            # Not by a generator: each part has its warnings.
            own = [warn_of_prompts(part, names, contexts, self._templated) for part in self._parts]
            self._warned_of_prompts = any(own)

    def log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """What `loglikelihood` makes of logits (…, vocabulary)."""
        return torch.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)

    def asked(self) -> Asked:
        """The record of the model and of its settings of prompts; the evaluator's part of `Asked` stays empty."""
        return Asked(asked_model(self), asked_prompt(self))

    def get_model_info(self) -> dict[str, Any]:
        """HFLM's figures about the model, the record of its settings, the edit, and the rows that were left out."""
        info: dict[str, Any] = super().get_model_info()
        info["asked"] = self.asked().to_json()
        info["skipped_rows"] = None if self.skipped_rows is None else self.skipped_rows.to_json()
        info["edit"] = None
        if self._edits is not None and self.edit is not None and self.applied_edit is not None:
            info["edit"] = {
                **self._edits.to_json(),
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
        """Give this model a table of its own in lm-eval's response cache; see `response_cache`."""
        super().set_cache_hook(cache_hook)
        responses = getattr(cache_hook, "dbdict", None)
        if responses is not None:
            attach_table(self, responses)


def check_device(device: str | None) -> str:
    """``device``; a GPU if there is one, else the CPU, where it is None.

    HFLM takes any text for a device. lm-eval's command asks for cuda:0 by itself, so that a GPU that is not there is
    no error here; HFLM then runs on the CPU.

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


def kind_for(arguments: Mapping[str, Any]) -> Kind:
    """The kind of model that the arguments of `EditedHFLM` load.

    Raises:
        EditError: see `edit_argument.read_edits`, `base_of` and `model_kind`.
    """
    if architecture := arguments.get("architecture"):
        use_architecture(architecture)
    edit, pretrained = arguments.get("edit"), arguments.get("pretrained")
    edits = None if edit is None else read_edits(edit)
    if edits is None and not pretrained:
        check_arguments(EditedHFLM, arguments, lambda _: False)
    base, revision = base_of(edits.edit if edits else None, pretrained, arguments.get("revision"))
    return model_kind(base, revision, arguments, names_base(edits, pretrained))
