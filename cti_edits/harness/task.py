"""What is used here of lm-eval's tasks and of the requests that they make, as types; lm-eval ships none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Doc = Mapping[str, object]
"""A row of a task, with the fields that its data set has."""

Response = tuple[float, bool] | str
"""What a model answers to a request: log-likelihood and whether it is the greedy continuation, or a text."""


class Instance(Protocol):
    """One request about a row. A row of a multiple-choice task makes one for each choice."""

    request_type: str
    doc: Doc
    doc_id: int
    idx: int
    task_name: str | None
    repeats: int
    resps: list[Response]
    filtered_resps: dict[str, Response]

    @property
    def args(self) -> tuple[Any, ...]:
        """Context and continuation, or context and arguments of generation."""
        ...


class FilterEnsemble(Protocol):
    """The filters that responses go through before a metric, under one name."""

    name: str

    def apply(self, instances: Sequence[Instance]) -> None:
        """Set ``filtered_resps`` of each."""
        ...


class Sampler(Protocol):
    """Draws few-shot examples."""

    def sample(self, n: int, eval_doc: Doc | None = None) -> Sequence[Doc]:
        """Draw ``n`` rows without ``eval_doc``."""
        ...

    def fewshot_docs(self) -> Sequence[Doc]:
        """The rows to draw from."""
        ...

    def set_rnd(self, rnd: int | None) -> object:
        """Seed the draws."""
        ...


class FewshotConfig(Protocol):
    """Where few-shot examples come from."""

    split: str | None


class TaskConfig(Protocol):
    """What a task's file says. Names are the file's."""

    task: str
    dataset_path: str | None
    dataset_kwargs: Mapping[str, Any] | None
    validation_split: str | None
    test_split: str | None
    doc_to_choice: object
    target_delimiter: str
    num_fewshot: int | None
    generation_kwargs: Mapping[str, object] | None
    metadata: Mapping[str, object] | None


class Task(Protocol):
    """A ``ConfigurableTask``."""

    OUTPUT_TYPE: str
    VERSION: object
    dataset: Mapping[str, Sequence[Doc]]
    multiple_input: int
    sampler: Sampler
    fewshot_cfg: FewshotConfig
    doc_iterator: Callable[..., Iterator[tuple[int, Doc]]]
    build_all_requests: Callable[..., None]
    _config: TaskConfig
    _filters: Sequence[FilterEnsemble]

    @property
    def config(self) -> TaskConfig:
        """Its configuration."""
        ...

    @property
    def eval_docs(self) -> Sequence[Doc]:
        """The rows that it is evaluated on: its test rows, else its validation rows."""
        ...

    @property
    def instances(self) -> Sequence[Instance]:
        """The requests that ``build_all_requests`` made."""
        ...

    def has_validation_docs(self) -> bool:
        """Whether it has validation rows."""
        ...

    def has_test_docs(self) -> bool:
        """Whether it has test rows."""
        ...

    def validation_docs(self) -> Sequence[Doc]:
        """Its validation rows."""
        ...

    def doc_to_text(self, doc: Doc) -> str | int:
        """The prompt of a row; with ``multiple_input``, the index of the right one."""
        ...

    def doc_to_target(self, doc: Doc) -> object:
        """The gold answer of a row: text, index among the choices, or a list of these."""
        ...

    def doc_to_choice(self, doc: Doc) -> Sequence[str]:
        """The choices of a row."""
        ...

    def process_results(self, doc: Doc, results: Sequence[Response]) -> Mapping[str, object]:
        """The metrics of a row, by name."""
        ...

    def aggregation(self) -> Mapping[str, object]:
        """From each metric to what adds it up over rows."""
        ...

    def set_config(self, key: str, value: object, update: bool = False) -> None:
        """Set a field of the configuration, or update it where it is a mapping."""
        ...

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        """Seed the draw of few-shot examples."""
        ...


@dataclass(frozen=True)
class LoggedSample:
    """What lm-eval logs of one row under one filter.

    Attributes:
        doc_id: number of the row.
        responses: one a request, after the filter.
        metrics: by name.
    """

    doc_id: int
    responses: Sequence[Response]
    metrics: Mapping[str, object]


def by_row(task: Task) -> list[list[Instance]]:
    """The requests of ``task`` row by row: rows ascending, and the requests of a row in their order."""
    rows: dict[int, list[Instance]] = {}
    for instance in task.instances:
        rows.setdefault(instance.doc_id, []).append(instance)
    return [sorted(group, key=lambda instance: instance.idx) for _, group in sorted(rows.items())]
