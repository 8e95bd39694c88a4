"""What a manifest says of the search that found it, as what such a search is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cti_edits.artifact.asked import Asked, AskedPrompt
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import SearchRecord, TaskRecord
from cti_edits.errors import EditError
from cti_edits.harness.other_text import BUNDLED, NONE
from cti_edits.harness.prompting import FEWSHOT_SEED, Prompting
from cti_edits.models.architectures import Kind
from cti_edits.replay.session import EvaluatorName
from cti_edits.search.presets import find_preset
from cti_edits.search.settings import HeldOut, Part, SearchSettings

WHERE_OTHER = (
    "method", "scorer", "selector", "directions", "drops", "epochs", "confirm", "max_kl", "partition", "compose",
)  # fmt: skip
"""Settings that a manifest has where they are not the usual ones."""


@dataclass(frozen=True)
class RecordedSearch:
    """The search of an edit, as far as its manifest tells.

    Attributes:
        edit: what was found.
        task: the task and metric.
        search: how it went.
        asked: what was asked of which model.
    """

    edit: Edit
    task: TaskRecord
    search: SearchRecord
    asked: Asked

    def settings(self, kind: Kind) -> SearchSettings:
        """What was tried.

        What is not recorded because a preset says it is that preset's as it is now. Without a preset, the parts of the
        examples follow from how many were used for what.

        Raises:
            EditError: no preset, method, scorer, selector or partition has such a name here.
        """
        search = self.search
        if search.preset is None:
            gradients_on, evaluated_on = self._parts()
            usual = SearchSettings(
                clusters=(search.clusters[0],),
                gradients_on=gradients_on,
                evaluated_on=evaluated_on,
            )
        else:
            usual = find_preset(search.preset).settings(kind)
        evaluated = search.evaluated_on or search.samples
        values: dict[str, Any] = {
            "samples": evaluated if usual.evaluated_on == "sample" else search.samples,
            "seed": search.seed,
            "clusters": search.clusters,
            "matrices": search.matrices,
            "stack": search.stack,
            "preset": search.preset,
        }
        values |= {name: value for name in WHERE_OTHER if (value := getattr(search, name)) is not None}
        if search.rates:
            values |= {"rates": search.rates, "top_q": search.top_q}
        return SearchSettings(**{**vars(usual), **values})

    def _parts(self) -> tuple[Part, Part]:
        """The part of the gradients and that of the evaluations. Of the same number, both are drawn.

        Where that is every row of the validation part, it is the same rows in the same order.
        """
        drawn, evaluated = self.search.samples, self.search.evaluated_on or self.search.samples
        return ("validation" if drawn > evaluated else "sample"), ("validation" if drawn < evaluated else "sample")

    def prompting(self) -> Prompting:
        """How examples became prompts."""
        prompt = self.asked.prompt
        return Prompting(
            num_fewshot=prompt.num_fewshot,
            apply_chat_template=prompt.chat_template or bool(prompt.apply_chat_template),
            fewshot_as_multiturn=prompt.fewshot_as_multiturn,
            system_instruction=prompt.system_instruction,
            gen_kwargs=_object(prompt.gen_kwargs),
            fewshot_seed=FEWSHOT_SEED if prompt.fewshot_seed is None else prompt.fewshot_seed,
        )

    def model_arguments(self) -> dict[str, object]:
        """The arguments of the base model, as lm-eval's hf model takes them.

        Of a model that was given in memory they are not all known.
        """
        model = self.asked.model
        found: dict[str, object] = {**_object(model.model_arguments), **_object(model.quantization)}
        named = {"subfolder": model.subfolder, "gguf_file": model.gguf_file, "delta": model.delta}
        if model.tokenizer is not None and not model.tokenizer.startswith("sha256:"):
            named["tokenizer"] = model.tokenizer
        found |= {name: value for name, value in named.items() if value is not None}
        return found | _prompt_arguments(self.asked.prompt)

    @property
    def dtype(self) -> str:
        """In which the base was loaded."""
        return self.asked.model.dtype or self.edit.base_model.dtype or "auto"

    @property
    def held_out(self) -> HeldOut:
        """On how many rows that it did not see the winner was measured."""
        return "none" if self.edit.results.test is None else self.edit.results.test.n

    @property
    def guard(self) -> str:
        """The text that the edit was compared with its base on, as `other_text` takes it.

        An empty edit says nothing of it. Where a limit needs one all the same, it is taken to be the bundled one.
        """
        if self.edit.results.guard is None:
            return NONE if self.search.max_kl is None else BUNDLED
        return self.edit.results.guard.text

    @property
    def evaluator(self) -> EvaluatorName:
        """Which evaluator made the figures: lm-eval's has no size of batches of its own."""
        return "replay" if self.edit.provenance.batch_tokens else "reference"


def recorded_search(edit: Edit, name: str) -> RecordedSearch:
    """The search that an edit records.

    Args:
        edit: the edit.
        name: what messages call it.

    Raises:
        EditError: it records none, or one that was cut short.
    """
    if edit.search is None or edit.task is None:
        raise EditError(f"{name}: records no search of this tool, so that there is none to run again")
    if edit.search.time_budget is not None:
        raise EditError(
            f"{name}: its search was cut short after {edit.search.time_budget:g} s, and how far another comes in that "
            "time nobody knows; run it to its end first"
        )
    return RecordedSearch(edit, edit.task, edit.search, edit.search.asked or Asked())


def _object(text: str | None) -> Mapping[str, Any]:
    """Arguments that are recorded as JSON."""
    return {} if text is None else dict(json.loads(text))


def _prompt_arguments(prompt: AskedPrompt) -> dict[str, object]:
    """The arguments of the model that say how it takes prompts; what they are by default is left out."""
    found: dict[str, object] = {"max_length": prompt.max_length, "add_bos_token": prompt.add_bos_token}
    found["truncation"] = prompt.truncation or None
    return {name: value for name, value in found.items() if value is not None}
