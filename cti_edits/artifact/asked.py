"""What was asked: everything that a figure depends on beside the edit itself.

One value for every record that holds a figure or an answer: the manifest (``search.asked``), lm-eval's results
(``config.asked``), the response cache's table, and the comparison of two runs. Knows JSON and nothing of models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Value = str | int | float | bool | None
"""What a field of a record holds; None where it does not apply or is not known."""


@dataclass(frozen=True)
class AskedModel:
    """The model that was asked, without the edit on it. Names are lm-eval's where it has one.

    Attributes:
        pretrained: hub id or folder of the checkpoint, or the class of a model that was given in memory.
        revision: commit of a model from the hub, else the revision that was asked for.
        subfolder: of the checkpoint.
        gguf_file: of the checkpoint.
        weights_sha256: of a model that was given in memory, or of a folder's files by name, size and time.
        dtype: in which the weights are loaded, "float32".
        quantization: the quantization as canonical JSON.
        peft: adapter that was put on the model.
        delta: delta weights that were added to it.
        tokenizer: id or folder of the tokenizer, or the hash of one that was given in memory.
        model_arguments: every other argument of the model as canonical JSON, but for those that say where and how fast
            it runs (device, batch sizes).
    """

    pretrained: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    gguf_file: str | None = None
    weights_sha256: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    peft: str | None = None
    delta: str | None = None
    tokenizer: str | None = None
    model_arguments: str | None = None


@dataclass(frozen=True)
class AskedPrompt:
    """How examples become what the model is given. Names are lm-eval's where it has one.

    Attributes:
        add_bos_token: whether a BOS token goes before every prompt; None leaves it to the tokenizer.
        prefix_token_id: the token that stands for an empty prompt.
        max_length: tokens that the model is given at most; longer prompts are cut on the left.
        truncation: whether generation prompts are cut by the tokenizer.
        apply_chat_template: whether prompts go through a chat template.
        chat_template: name of the one that was chosen, of several.
        chat_template_sha: sha256 of the template's text.
        system_instruction: the text that goes before every conversation.
        fewshot_as_multiturn: whether few-shot examples are turns of a conversation.
        num_fewshot: how many examples go before each prompt.
        fewshot_seed: of their draw.
        gen_kwargs: arguments of generation that take the place of the task's, as canonical JSON.
    """

    add_bos_token: bool | None = None
    prefix_token_id: int | None = None
    max_length: int | None = None
    truncation: bool | None = None
    apply_chat_template: bool | None = None
    chat_template: str | None = None
    chat_template_sha: str | None = None
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    num_fewshot: int | None = None
    fewshot_seed: int | None = None
    gen_kwargs: str | None = None


@dataclass(frozen=True)
class AskedTask:
    """The task whose rows were asked.

    Attributes:
        task: its name.
        version: of its file.
        metric: that says right or wrong of a row.
        filter: that responses went through before the metric.
        rows_sha256: of the rows' contents: of lm-eval's ``doc_hash`` of each, joined by commas, in the order asked.
        prompts_sha256: of what the model is asked about them: of lm-eval's ``prompt_hash`` of each, likewise.
    """

    task: str | None = None
    version: str | None = None
    metric: str | None = None
    filter: str | None = None
    rows_sha256: str | None = None
    prompts_sha256: str | None = None


@dataclass(frozen=True)
class Difference:
    """A field in which two records differ.

    Attributes:
        field: its name, unique among all fields: "num_fewshot".
        first: what the first has.
        second: what the second has.
    """

    field: str
    first: Value
    second: Value


@dataclass(frozen=True)
class Asked:
    """What was asked of which model on which rows.

    Attributes:
        model: the model.
        prompt: how examples become what it is given.
        task: the task.
        empty_parts: those of the three that a manifest names and says nothing of. It may, and its digest tells.
    """

    model: AskedModel = field(default_factory=AskedModel)
    prompt: AskedPrompt = field(default_factory=AskedPrompt)
    task: AskedTask = field(default_factory=AskedTask)
    empty_parts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, dict[str, Value]]:
        """Plain JSON values; fields that are None are left out, and parts without any but for ``empty_parts``."""
        found = {part: _present(getattr(self, part)) for part in PARTS}
        return {part: values for part, values in found.items() if values or part in self.empty_parts}

    @classmethod
    def from_json(cls, document: Mapping[str, Mapping[str, Any]]) -> Asked:
        """The record that `to_json` gave. Fields that are not known here are left out: a later version may have more.

        Args:
            document: checked by the manifest's schema, or lm-eval's results.
        """
        parts = {
            part: kind(**{one.name: document.get(part, {}).get(one.name) for one in fields(kind)})
            for part, kind in PARTS.items()
        }
        return cls(**parts, empty_parts=tuple(part for part in PARTS if document.get(part) == {}))

    def sha256(self) -> str:
        """Hash of the canonical JSON (RFC 8785): equal if and only if all fields are."""
        import rfc8785

        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()

    def differences(self, other: Asked) -> Iterator[Difference]:
        """The fields whose values differ, in the order in which they are declared."""
        for part, kind in PARTS.items():
            mine, theirs = getattr(self, part), getattr(other, part)
            for one in fields(kind):
                first, second = getattr(mine, one.name), getattr(theirs, one.name)
                # 1 and True are equal in Python and not in JSON.
                if first != second or type(first) is not type(second):
                    yield Difference(one.name, first, second)


PARTS: Mapping[str, type[Any]] = {"model": AskedModel, "prompt": AskedPrompt, "task": AskedTask}
"""The parts of a record, by name."""


def _present(part: Any) -> dict[str, Value]:
    return {one.name: getattr(part, one.name) for one in fields(part) if getattr(part, one.name) is not None}
