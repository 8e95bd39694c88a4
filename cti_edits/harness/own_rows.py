"""A task made of rows of one's own, without a YAML file and without lm-eval's registry of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from cti_edits.errors import EditError, printable
from cti_edits.harness.benchmark_rows import BenchmarkRows, Source, file_revision, json_lines
from cti_edits.harness.calibration import drawn_rows

ANSWER = ("prompt", "answer")
CHOICE = ("prompt", "choices", "gold")


@dataclass(frozen=True)
class OwnRows:
    """Rows of one kind: prompts with an answer, or with choices.

    Attributes:
        rows: each with the fields of `ANSWER` or of `CHOICE`.
        source: the file that they are from; None if they were given in memory.
    """

    rows: tuple[dict[str, Any], ...]
    source: Source | None = None

    @property
    def has_choices(self) -> bool:
        """Whether the rows have choices."""
        return "choices" in self.rows[0]


def read_own_rows(path: Path) -> OwnRows:
    """The rows of a JSON Lines file.

    Raises:
        EditError: the file cannot be read, or a line is broken; the message names line and field.
    """
    rows = _checked(json_lines(path), printable(path))
    return OwnRows(rows, Source(path.name, file_revision(path)))


def own_rows(rows: Sequence[Any], name: str = "rows") -> OwnRows:
    """Rows that are given in memory.

    Args:
        rows: ``{"prompt", "answer"}`` each, or ``{"prompt", "choices", "gold"}`` with the index of the right choice.
            Other fields are left alone.
        name: what messages call them.

    Raises:
        EditError: a row is broken; the message names its number, from 0, and the field.
    """
    return OwnRows(_checked(((f"{name}[{number}]", row) for number, row in enumerate(rows)), name))


def _checked(rows: Iterable[tuple[str, Any]], name: str) -> tuple[dict[str, Any], ...]:
    checked: list[dict[str, Any]] = []
    for where, row in rows:
        checked.append(_row(row, where))
        if checked[-1].keys() != checked[0].keys():
            kinds = " and ".join(_fields(one) for one in (checked[-1], checked[0]))
            raise EditError(f"{where}: expected rows of one kind, got {kinds} in the rows before it")
    if not checked:
        raise EditError(f"{name}: expected rows, got none")
    return tuple(checked)


def _fields(row: dict[str, Any]) -> str:
    return "choices" if "choices" in row else "an answer"


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise EditError(f"{where}: expected an object with prompt and answer, or prompt, choices and gold")
    if ("answer" in row) == ("choices" in row):
        got = "both" if "answer" in row else "neither"
        raise EditError(f"{where}: expected answer, or choices and gold, got {got}")
    fields = CHOICE if "choices" in row else ANSWER
    for field in fields:
        if field not in row:
            raise EditError(f"{where}: expected the field {field!r}")
    for field in ("prompt", "answer"):
        if field in fields and not (isinstance(row[field], str) and row[field].strip()):
            raise EditError(f"{where}: {field}: expected text, got {printable(repr(row[field]))}")
    if fields is CHOICE:
        choices, gold = row["choices"], row["gold"]
        texts = isinstance(choices, list | tuple) and all(isinstance(one, str) and one.strip() for one in choices)
        if not texts or len(set(choices)) < max(2, len(choices)):
            raise EditError(f"{where}: choices: expected two or more different texts, got {printable(repr(choices))}")
        if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
            raise EditError(
                f"{where}: gold: expected the index of a choice, 0 to {len(choices) - 1}, got {printable(repr(gold))}"
            )
        return {"prompt": row["prompt"], "choices": list(choices), "gold": gold}
    return {field: row[field] for field in ANSWER}


def rows_task(name: str, calibration: OwnRows, test: OwnRows | None = None) -> ConfigurableTask:
    """An lm-eval task of these rows, all of which are its validation part.

    A row with an answer is right if the model would write the answer, greedily; one with choices, if the right choice
    is the likeliest. A space comes between prompt and answer, as lm-eval has it between prompt and choice.

    Args:
        name: the task's.
        calibration: the validation part, which a search draws from.
        test: the test part; None if there is none, and then nothing may be measured on it.

    Raises:
        EditError: the two are not of one kind.
    """
    if test is not None and test.has_choices != calibration.has_choices:
        raise EditError("test_rows: expected rows of the same kind as rows: with an answer, or with choices")
    splits = BenchmarkRows(
        {
            "validation": Dataset.from_list(list(calibration.rows)),
            # lm-eval looks at the first row of a split before anyone asks for it.
            "test": Dataset.from_list(list((test or calibration).rows)),
        }
    )
    splits.source = calibration.source or Source(name, None)
    choice = {
        "output_type": "multiple_choice",
        "doc_to_choice": lambda row: row["choices"],
        "doc_to_target": lambda row: row["gold"],
    }
    answer = {"output_type": "loglikelihood", "doc_to_target": lambda row: f" {row['answer']}"}
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: splits,
            "validation_split": "validation",
            "test_split": "test",
            "doc_to_text": lambda row: row["prompt"],
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            **(choice if calibration.has_choices else answer),
        }
    )


def without_drawn(rows: OwnRows, samples: int, seed: int) -> OwnRows | None:
    """The rows that a search does not draw, for a test part; None if it draws all."""
    drawn = set(drawn_rows(len(rows.rows), samples, seed))
    left = tuple(row for number, row in enumerate(rows.rows) if number not in drawn)
    return OwnRows(left, rows.source) if left else None
