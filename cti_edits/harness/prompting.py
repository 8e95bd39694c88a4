"""How examples become prompts, by lm-eval: few-shot examples, chat template, system instruction."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cti_edits.artifact.asked import AskedPrompt
from cti_edits.errors import EditError, printable
from cti_edits.harness.benchmark_rows import first_line
from cti_edits.harness.task import Task

if TYPE_CHECKING:
    from cti_edits.harness.edited_model import EditedHFLM

FEWSHOT_SEED = 1234
"""lm-eval's default."""


@dataclass(frozen=True)
class ChatTemplate:
    """A model's chat template.

    Attributes:
        text: the template.
        render: from a conversation to a prompt, ``lm.apply_chat_template``.
        tokenizer_name: lm-eval's name of the tokenizer that it belongs to.
    """

    text: str
    render: Callable[..., str] = field(compare=False)
    tokenizer_name: str

    @property
    def sha256(self) -> str:
        """Of the text, as lm-eval records it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Prompting:
    """How examples become prompts. Names and meanings are those of ``lm_eval.simple_evaluate``.

    Attributes:
        num_fewshot: examples before each prompt; the task's own number if None. A task whose file says 0 keeps it.
        apply_chat_template: whether prompts go through the model's chat template, or the name of one of several.
        fewshot_as_multiturn: whether few-shot examples are turns of the conversation; if None, where there is one.
        system_instruction: goes before every prompt.
        gen_kwargs: arguments of generation that take the place of the task's.
        fewshot_seed: of the draw of few-shot examples.
        template: the chat template; None until there is a model, see `with_model`.

    Raises:
        EditError: a value is out of range, or turns are asked for without a chat template.
    """

    num_fewshot: int | None = None
    apply_chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    gen_kwargs: Mapping[str, object] = field(default_factory=dict)
    fewshot_seed: int = FEWSHOT_SEED
    template: ChatTemplate | None = None

    def __post_init__(self) -> None:
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise EditError(f"num_fewshot: expected 0 or more, got {self.num_fewshot}")
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise EditError("fewshot_as_multiturn: only together with apply_chat_template")

    @property
    def as_multiturn(self) -> bool:
        """Whether few-shot examples are turns."""
        if self.fewshot_as_multiturn is None:
            return bool(self.apply_chat_template)
        return self.fewshot_as_multiturn

    def with_model(self, lm: EditedHFLM) -> Prompting:
        """The same with the chat template of a loaded model, where one is asked for.

        Raises:
            EditError: its tokenizer has none, or none of that name.
        """
        if not self.apply_chat_template:
            return self
        try:
            text = lm.chat_template(self.apply_chat_template)
        except (ValueError, AttributeError) as error:
            raise EditError(f"apply_chat_template: {printable(str(error).splitlines()[0], 300)}") from None
        if isinstance(self.apply_chat_template, str) and text != lm.tokenizer.chat_template:
            # lm-eval chooses a template by name, and then renders prompts with the tokenizer's own.
            raise EditError(
                f"apply_chat_template: prompts would go through the tokenizer's own template, not through "
                f"{printable(self.apply_chat_template)!r}; leave the name out"
            )
        if not text:
            raise EditError("apply_chat_template: the model's tokenizer has no chat template")
        return replace(self, template=ChatTemplate(str(text), lm.apply_chat_template, lm.tokenizer_name))

    def configure(self, task: Task) -> None:
        """Set the number of few-shot examples and the arguments of generation of a task.

        Args:
            task: a copy of an lm-eval task, with a configuration of its own.
        """
        own = task.config.num_fewshot
        if own is None or (self.num_fewshot is not None and own != 0):
            task.set_config(key="num_fewshot", value=self.num_fewshot or 0)
        if self.gen_kwargs and task.OUTPUT_TYPE == "generate_until":
            task._config.generation_kwargs = copy.deepcopy(task._config.generation_kwargs)
            task.set_config(key="generation_kwargs", value=dict(self.gen_kwargs), update=True)

    def build_requests(self, task: Task, doc_ids: tuple[int, ...]) -> None:
        """Have ``task`` make its requests for these rows, as lm-eval's evaluator would.

        The sampler of few-shot examples keeps its state from call to call, so that it is seeded first.
        """
        task.set_fewshot_seed(seed=self.fewshot_seed)
        try:
            task.build_all_requests(
                samples=list(doc_ids),
                rank=0,
                world_size=1,
                system_instruction=self.system_instruction,
                apply_chat_template=self.template is not None,
                fewshot_as_multiturn=self.as_multiturn,
                chat_template=self.template.render if self.template else None,
                tokenizer_name=self.template.tokenizer_name if self.template else "",
            )
        except (ValueError, AssertionError) as error:
            # What the sampler raises where there are fewer rows than examples.
            said = printable(first_line(error), 300)
            raise EditError(f"num_fewshot: {task.config.task} cannot make these prompts ({said})") from error

    def evaluator_arguments(self) -> dict[str, object]:
        """The arguments for ``lm_eval.evaluator.evaluate``."""
        return {
            "system_instruction": self.system_instruction,
            "apply_chat_template": self.apply_chat_template,
            "fewshot_as_multiturn": self.as_multiturn,
        }

    def asked(self, task: Task, model_part: AskedPrompt) -> AskedPrompt:
        """The record of how ``task`` becomes prompts. What is off is left out.

        Args:
            task: configured, see `configure`.
            model_part: the fields that are settings of the model.
        """
        shots = int(task.config.num_fewshot or 0)
        writes = task.OUTPUT_TYPE == "generate_until"
        template = self.template
        return replace(
            model_part,
            apply_chat_template=True if template else None,
            chat_template=self.apply_chat_template if isinstance(self.apply_chat_template, str) else None,
            chat_template_sha=template.sha256 if template else None,
            system_instruction=self.system_instruction,
            fewshot_as_multiturn=self.as_multiturn if template and shots else None,
            num_fewshot=shots,
            fewshot_seed=self.fewshot_seed if shots else None,
            gen_kwargs=json.dumps(task.config.generation_kwargs, sort_keys=True) if writes else None,
        )
