"""Draws the examples of an lm-eval task that a search is calibrated on, and those that its edit is measured on."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lm_eval.utils import hash_string

from cti_edits.artifact.records import DatasetRecord
from cti_edits.errors import EditError
from cti_edits.harness.benchmark_rows import Source
from cti_edits.harness.fewshot import leave_out_own_rows
from cti_edits.harness.metrics import Metric, metric_of
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.row_hashes import doc_hash
from cti_edits.harness.row_records import records_of
from cti_edits.harness.splits import validation_count
from cti_edits.harness.task import Doc, Task, by_row
from cti_edits.stats import majority_class

# A generation task's accuracy comes from what the model writes; its gold text still has a likelihood.
OUTPUT_TYPES = ("loglikelihood", "multiple_choice", "generate_until")


@dataclass(frozen=True)
class GoldRequest:
    """The gold answer of one example as a request for its likelihood: context and continuation."""

    doc_id: int
    context: str
    continuation: str


@dataclass(frozen=True)
class CalibrationSet:
    """Examples of a task: drawn from its validation part, or all of its validation or test part.

    Attributes:
        task: a copy of the lm-eval task whose ``eval_docs`` are the rows of the part.
        name: the task's name.
        dataset: where the rows are from, for the manifest.
        doc_ids: the rows, ascending, as indices into the task's evaluation rows.
        gold: the gold answers, in the order of ``doc_ids``.
        gold_index: which of an example's requests is the gold one.
        majority_class: share of the most frequent gold answer among the examples.
        labels: the choices, where every example has the same ones; else None.
        own_validation: whether the task has validation rows besides its test rows; if not, the validation part is
            the first 20 % of the rows that lm-eval evaluates on.
        prompting: how the examples become prompts.
        metric: says right or wrong of an example.
        row_hashes: lm-eval's ``doc_hash`` of each row, in the order of ``doc_ids``.
        prompt_hashes: its ``prompt_hash`` of each, likewise.
    """

    task: Task
    name: str
    dataset: DatasetRecord
    doc_ids: tuple[int, ...]
    gold: tuple[GoldRequest, ...]
    gold_index: tuple[int, ...]
    majority_class: float
    labels: tuple[str, ...] | None
    own_validation: bool
    prompting: Prompting
    metric: Metric
    row_hashes: tuple[str, ...]
    prompt_hashes: tuple[str, ...]

    @property
    def ids_sha256(self) -> str:
        """Hash of the row numbers, joined by commas."""
        return hashlib.sha256(",".join(map(str, self.doc_ids)).encode()).hexdigest()

    @property
    def records(self) -> tuple[str, ...] | None:
        """The record of each row, where some share one; see `row_records`."""
        rows = self.task.eval_docs
        return records_of([rows[number] for number in self.doc_ids], self.task.config.metadata)


def validation_part(task: Task, prompting: Prompting | None = None, metric: str | None = None) -> CalibrationSet:
    """Every example of the validation part of ``task``. Arguments as in `draw`.

    Raises:
        EditError: see `draw`.
    """
    _, rows, _, _ = _validation_view(task)
    return draw(task, rows, 0, prompting, metric)


def final_part(
    task: Task,
    limit: int | None = None,
    prompting: Prompting | None = None,
    metric: str | None = None,
    seed: int | None = None,
    seen: Collection[str] = (),
) -> CalibrationSet:
    """The examples of the test part of ``task``, or ``limit`` of them.

    A task with a single set of rows is tested on those after the first 20 %, which are its validation part.

    Args:
        task: an lm-eval task.
        limit: how many at most; all if None.
        prompting: how they become prompts; as the task's file says if None.
        metric: see `metrics.metric_of`.
        seed: of the draw, where there are more than ``limit``; the first ones if None.
        seen: lm-eval's ``doc_hash`` of rows that are left out, whichever part they stand in.

    Raises:
        EditError: there are no such rows, or the task has no gold answer to measure by.
    """
    if limit is not None and limit < 1:
        raise EditError(f"held_out: expected 1 or more, got {limit}")
    view, _, _, own_validation = _validation_view(task)
    split = task.config.test_split or task.config.validation_split
    start = 0
    if own_validation:
        view._config.test_split = task.config.test_split
    else:
        start = validation_count(len(view.eval_docs))
        split = f"{split}[20%:]" if split else None
    doc_ids = _chosen(view.eval_docs, range(start, len(view.eval_docs)), limit, seed, frozenset(seen))
    if not doc_ids:
        raise EditError(
            f"{task.config.task}: its test part has no rows" + (" that the search did not see" if seen else "")
        )
    # Drawing one example makes the checks that `draw` makes of a task.
    drawn = draw(task, 1, 0, prompting, metric)
    examples = _examples(view, doc_ids, drawn.prompting)
    return dataclasses.replace(
        drawn,
        task=view,
        dataset=dataclasses.replace(drawn.dataset, split=split),
        doc_ids=doc_ids,
        **vars(examples),
    )


def fresh_part(task: Task, drawn: CalibrationSet, limit: int, seed: int, seen: Collection[str]) -> CalibrationSet:
    """More examples of the validation part, drawn at random.

    Args:
        task: an lm-eval task.
        drawn: examples of its validation part, whose prompting and metric these have.
        limit: how many; all that are left, where there are fewer.
        seed: of the draw.
        seen: lm-eval's ``doc_hash`` of rows that are left out.

    Raises:
        EditError: none is left.
    """
    view, rows, _, _ = _validation_view(task)
    doc_ids = _chosen(view.eval_docs, range(rows), limit, seed, frozenset(seen))
    if not doc_ids:
        raise EditError(f"{drawn.name}: its validation part has {rows} rows, and none that was not drawn already")
    return dataclasses.replace(drawn, task=view, doc_ids=doc_ids, **vars(_examples(view, doc_ids, drawn.prompting)))


def _chosen(
    docs: Sequence[Doc], numbers: Sequence[int], limit: int | None, seed: int | None, seen: frozenset[str]
) -> tuple[int, ...]:
    """The first ``limit`` of these rows, or as many drawn at random; those that were ``seen`` are passed over."""
    order = list(numbers)
    if seed is not None:
        random.Random(seed).shuffle(order)
    fresh = (number for number in order if not seen or doc_hash(docs[number]) not in seen)
    return tuple(sorted(itertools.islice(fresh, limit)))


def validation_row_count(task: Task) -> int:
    """How many rows the validation part of ``task`` has."""
    return _validation_view(task)[1]


def row_count(task: Task) -> int:
    """How many rows ``task`` has, validation and test part together."""
    view, rows, _, own_validation = _validation_view(task)
    return rows + len(task.eval_docs) if own_validation else len(view.eval_docs)


def draw(
    task: Task, samples: int, seed: int, prompting: Prompting | None = None, metric: str | None = None
) -> CalibrationSet:
    """Draw ``samples`` examples at random, seeded, from the validation part of ``task``.

    Args:
        task: an lm-eval task.
        samples: how many.
        seed: of the draw.
        prompting: how they become prompts; as the task's file says if None.
        metric: see `metrics.metric_of`.

    Raises:
        EditError: the validation part is too small, or the task has no gold answer that a search could use.
    """
    name = task.config.task
    chosen = metric_of(task, metric)
    if task.OUTPUT_TYPE not in OUTPUT_TYPES:
        raise EditError(
            f"{name}: a search needs a gold answer to take the likelihood of, so a task whose output_type is one of "
            f"{', '.join(OUTPUT_TYPES)}; this one's is {task.OUTPUT_TYPE}"
        )
    view, rows, split, own_validation = _validation_view(task)
    if samples < 1:
        raise EditError(f"samples: expected 1 or more, got {samples}")
    if samples > rows:
        raise EditError(f"{name}: samples: expected at most {rows}, the rows of its validation part, got {samples}")
    doc_ids = drawn_rows(rows, samples, seed)
    prompting = prompting or Prompting()
    return CalibrationSet(
        task=view,
        name=name,
        dataset=_dataset(task, split),
        doc_ids=doc_ids,
        own_validation=own_validation,
        prompting=prompting,
        metric=chosen,
        **vars(_examples(view, doc_ids, prompting)),
    )


def drawn_rows(rows: int, samples: int, seed: int) -> tuple[int, ...]:
    """The numbers of the rows that are drawn, ascending: ``samples`` of ``rows``, at random."""
    return tuple(sorted(random.Random(seed).sample(range(rows), samples)))


def _dataset(task: Task, split: str | None) -> DatasetRecord:
    """Where a task's rows are from: as the bundled loader says, else the task's file."""
    source = getattr(task.dataset, "source", None)
    if isinstance(source, Source):
        return DatasetRecord(source.id, source.revision, split)
    return DatasetRecord(task.config.dataset_path, (task.config.dataset_kwargs or {}).get("revision"), split)


def _validation_view(task: Task) -> tuple[Task, int, str | None, bool]:
    """A copy of ``task`` that evaluates on its validation part, that part's rows and split, and ``own_validation``.

    The validation part of a task with a single set of rows is the first 20 % of them, as in the paper.
    """
    view = copy.copy(task)
    view._config = copy.copy(task._config)
    if task.has_validation_docs() and task.has_test_docs():
        # lm-eval evaluates on test rows, and keeps a row out of the examples before its own prompt there alone.
        view._config.test_split = task.config.validation_split
        leave_out_own_rows(view)
        return view, len(view.eval_docs), task.config.validation_split, True
    leave_out_own_rows(view)
    split = task.config.test_split or task.config.validation_split
    return view, validation_count(len(view.eval_docs)), f"{split}[:20%]" if split else None, False


@dataclass(frozen=True)
class _Examples:
    """The fields of `CalibrationSet` that are made of its rows."""

    gold: tuple[GoldRequest, ...]
    gold_index: tuple[int, ...]
    majority_class: float
    labels: tuple[str, ...] | None
    row_hashes: tuple[str, ...]
    prompt_hashes: tuple[str, ...]


def _examples(view: Task, doc_ids: tuple[int, ...], prompting: Prompting) -> _Examples:
    prompting.configure(view)
    prompting.build_requests(view, doc_ids)
    groups = by_row(view)
    gold, gold_index, rows, prompts = [], [], [], []
    counted: list[str | int] = []
    choices = {_choices(view, group[0].doc) for group in groups}
    for doc_id, group in zip(doc_ids, groups, strict=True):
        index = _gold_index(view, group[0].doc)
        context, continuation = group[index].args[:2]
        if view.OUTPUT_TYPE == "generate_until":
            # A chat template ends where the answer begins.
            delimiter = "" if prompting.template else view.config.target_delimiter
            continuation = delimiter + _gold_text(view, group[0].doc)
        gold.append(GoldRequest(doc_id, context, continuation))
        gold_index.append(index)
        # Choices that differ from row to row have no label in common but their position.
        counted.append(continuation if len(choices) == 1 else index)
        rows.append(doc_hash(group[0].doc))
        prompts.append(hash_string(group[0].args[0]))
    labels = choices.pop() if len(choices) == 1 else None
    return _Examples(tuple(gold), tuple(gold_index), majority_class(counted), labels, tuple(rows), tuple(prompts))


def _choices(view: Task, doc: Doc) -> tuple[str, ...] | None:
    if view.OUTPUT_TYPE != "multiple_choice" or view.multiple_input:
        return None
    return tuple(view.doc_to_choice(doc))


def _gold_index(view: Task, doc: Doc) -> int:
    if view.OUTPUT_TYPE != "multiple_choice":
        return 0
    target = view.doc_to_text(doc) if view.multiple_input else view.doc_to_target(doc)
    if isinstance(target, list) and target:
        target = target[0]
    choices = view.doc_to_choice(doc)
    if isinstance(target, str) and target in choices:
        target = choices.index(target)
    if not isinstance(target, int) or not 0 <= target < len(choices):
        raise EditError(f"{view.config.task}: a row has no gold answer among its choices, which a search needs")
    return target


def _gold_text(view: Task, doc: Doc) -> str:
    """The answer that a generation is compared with; the first, where several are right."""
    target = view.doc_to_target(doc)
    if isinstance(target, list):
        target = target[0] if target else None
    if isinstance(target, int) and view.config.doc_to_choice is not None:
        choices = view.doc_to_choice(doc)
        target = choices[target] if 0 <= target < len(choices) else None
    if target is None or not str(target).strip():
        raise EditError(f"{view.config.task}: a row has no gold answer, which a search needs")
    return str(target)
