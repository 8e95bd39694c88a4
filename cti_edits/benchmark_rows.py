"""Rows of the benchmarks: from the folder that CTI_EDITS_DATA names, else from the hub. Used by tasks/."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset

from cti_edits.errors import EditError, one_line_in_command, printable

DATA_VARIABLE = "CTI_EDITS_DATA"
VALIDATION_SHARE = 0.2

__all__ = ["DATA_VARIABLE", "DatasetDict", "hub_rows", "local_rows", "read_jsonl", "split_rows", "validation_count"]


def validation_count(rows: int) -> int:
    """How many of ``rows`` rows, the first ones, are the validation part: ⌊0.2 · rows⌋, as in LASER."""
    return int(VALIDATION_SHARE * rows)


def read_jsonl(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file.

    Raises:
        EditError: a line is not JSON, or a row lacks one of ``fields``; the message names the line.
    """
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise EditError(f"{path}: line {number}: not JSON: {error}") from None
            missing = [field for field in fields if not isinstance(row, dict) or field not in row]
            if missing:
                raise EditError(f"{path}: line {number}: expected the field {missing[0]!r}")
            rows.append(row)
    return rows


def local_rows(name: str, fields: Sequence[str]) -> list[dict[str, Any]] | None:
    """The rows of ``name`` in the folder that CTI_EDITS_DATA names; None if the variable is not set.

    Raises:
        EditError: the variable is set and the file is not there, or it is not as expected.
    """
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / name
    with one_line_in_command():
        if not path.is_file():
            raise EditError(
                f"{printable(path)}: no such file; {DATA_VARIABLE} names the folder with the benchmarks' rows"
            )
        return read_jsonl(path, fields)


def hub_rows(dataset: str, revision: str | None, name: str | None, splits: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of ``splits``, one after the other, of a data set on the hub.

    Raises:
        EditError: the hub or the data set cannot be reached.
    """
    rows: list[dict[str, Any]] = []
    with one_line_in_command():
        for split in splits:
            try:
                rows.extend(load_dataset(dataset, name=name, revision=revision, split=split))
            except Exception as error:
                raise EditError(
                    f"cannot load the data set {dataset!r} from the hub ({type(error).__name__}: "
                    f"{printable(str(error).splitlines()[0] if str(error) else '')}); with its rows in a local folder, "
                    f"set {DATA_VARIABLE} to that folder"
                ) from None
    return rows


def split_rows(rows: list[dict[str, Any]], keep: Sequence[str] | None = None) -> DatasetDict:
    """The first 20 % of ``rows`` as "validation" and the rest as "test", in order, with the fields ``keep`` only."""
    if keep is not None:
        rows = [{field: row[field] for field in keep} for row in rows]
    cut = validation_count(len(rows))
    return DatasetDict({"validation": Dataset.from_list(rows[:cut]), "test": Dataset.from_list(rows[cut:])})
