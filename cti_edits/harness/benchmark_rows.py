"""Rows of the bundled tasks: from the folder that CTI_EDITS_DATA names, else from the hub. Used by tasks/."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset

from cti_edits.errors import EditError, one_line_in_command, printable
from cti_edits.harness.splits import validation_count
from cti_edits.hub.repositories import http_error, quiet_hub

logger = logging.getLogger("cti_edits")

DATA_VARIABLE = "CTI_EDITS_DATA"

Row = dict[str, Any]
#: From a field's name to its type, or to the values that it may have.
Fields = Mapping[str, type | tuple[Any, ...]]


@dataclass(frozen=True)
class Source:
    """Where rows came from.

    Attributes:
        id: the data set's id on the hub, or a bundled file's name.
        revision: which version of it: the hub's revision, or ``sha256:`` and the hash of the local file that was read.
    """

    id: str
    revision: str | None


class NoRowsError(EditError):
    """A benchmark's rows cannot be loaded: there is no local file, or the hub cannot be reached."""


class BenchmarkRows(DatasetDict):  # type: ignore[misc]
    """The splits "validation" and "test" of a benchmark, and where their rows came from."""

    source: Source


@dataclass(frozen=True)
class HubCopy:
    """A data set on the hub, or a folder of the same layout.

    Attributes:
        path: its id, or the folder.
        revision: branch, tag or commit; the newest if None.
        name: the configuration, where it has several.
        data_files: from split to file pattern, where the copy does not say so itself.
    """

    path: str
    revision: str | None = None
    name: str | None = None
    data_files: Mapping[str, str] | None = None

    def rows(self, split: str | None, columns: Sequence[str], limit: int | None = None) -> list[Row]:
        """The first ``limit`` rows of ``split``, or of every split, one after the other, with ``columns`` only.

        Raises:
            NoRowsError: the hub or the data set cannot be reached.
            EditError: a column is not there.
        """
        try:
            with quiet_hub():
                found = load_dataset(
                    self.path,
                    name=self.name,
                    revision=self.revision,
                    data_files=dict(self.data_files) if self.data_files else None,
                    split=split,
                )
        except Exception as error:
            kind = NoRowsError if isinstance(error, _unreachable()) else EditError
            raise kind(
                f"cannot load the data set {printable(self.path)!r} from the hub ({first_line(error)}); with its rows "
                f"in a local folder, set {DATA_VARIABLE} to that folder"
            ) from None
        rows: list[Row] = []
        for part in found.values() if split is None else [found]:
            if missing := [column for column in columns if column not in part.column_names]:
                raise EditError(f"the data set {printable(self.path)!r}: expected the column {missing[0]!r}")
            part = part.select_columns(list(columns))
            rows.extend((part if limit is None else part.select(range(min(limit, len(part))))).to_list())
        return rows


def _unreachable() -> tuple[type[Exception], ...]:
    """What `datasets` raises where the hub cannot be reached or has no such data set."""
    from datasets.exceptions import DatasetNotFoundError

    # ConnectionError is an OSError, as the hub client's own for being offline are.
    return (ConnectionError, DatasetNotFoundError, http_error())


def benchmark(
    file: str,
    fields: Fields,
    hub: HubCopy,
    from_hub: Callable[[HubCopy], list[Row]],
    arrange: Callable[[list[Row]], list[Row]] | None = None,
    stand_in: Row | None = None,
) -> BenchmarkRows:
    """The rows of a benchmark, split: from the local folder when CTI_EDITS_DATA is set, else from the hub.

    Args:
        file: name of the local file, JSON Lines.
        fields: what each of its rows has.
        hub: the copy on the hub.
        from_hub: reads that copy into rows like the local file's.
        arrange: makes the task's rows of those of either source; these rows as they are if left out.
        stand_in: the only row, with a warning, where the rows cannot be loaded: lm-eval cannot load a task without
            rows, and a group of tasks should not stop at one of them. The task's metrics leave it out.

    Raises:
        EditError: the file or the hub cannot be read, or a row is not as expected. Inside the ``lm_eval`` command, one
            line and exit code 2 instead.
    """
    with one_line_in_command():
        try:
            rows, source = _local_or_hub_rows(file, fields, hub, from_hub)
        except NoRowsError as error:
            if stand_in is None:
                raise
            logger.warning("%s: left out, nothing is measured on it: %s", file.removesuffix(".jsonl"), error)
            return split_rows([stand_in], Source(hub.path, None))
        rows = arrange(rows) if arrange else rows
        if not rows:
            raise EditError(f"{printable(local_file(file) or hub.path)}: no rows")
        return split_rows(rows, source)


def _local_or_hub_rows(
    file: str, fields: Fields, hub: HubCopy, from_hub: Callable[[HubCopy], list[Row]]
) -> tuple[list[Row], Source]:
    path = local_file(file)
    if path:
        return read_jsonl(path, fields), Source(hub.path, file_revision(path))
    rows = from_hub(hub)
    for number, row in enumerate(rows, start=1):
        check_row(row, fields, f"{printable(hub.path)}: row {number}")
    return rows, Source(hub.path, hub.revision)


def local_file(name: str) -> Path | None:
    """``name`` in the folder that CTI_EDITS_DATA names; None if the variable is not set.

    Raises:
        NoRowsError: the variable is set and the file is not there.
    """
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / name
    if not path.is_file():
        raise NoRowsError(
            f"{printable(path)}: no such file; {DATA_VARIABLE} names the folder with the benchmarks' rows"
        )
    return path


def file_revision(path: Path) -> str:
    """The version of a local file: ``sha256:`` and its hash."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def read_jsonl(path: Path, fields: Fields) -> list[Row]:
    """The rows of a JSON Lines file, with ``fields`` only.

    Raises:
        EditError: a line is not JSON, or a row is not as ``fields`` has it; the message names the line.
    """
    return [check_row(row, fields, where) for where, row in json_lines(path)]


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """The values in a JSON Lines file, each with its place for messages, "rows.jsonl: line 3". Empty lines are skipped.

    Raises:
        EditError: the file cannot be read, or a line is not JSON.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EditError(f"{printable(path)}: cannot read it: {printable(error)}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{printable(path)}: line {number}"
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EditError(f"{where}: not JSON: {printable(error)}") from None


def check_row(row: Any, fields: Fields, where: str) -> Row:
    """``row`` with ``fields`` only.

    Raises:
        EditError: it is no JSON object, lacks a field or has another value there; the message begins with ``where``.
    """
    for field, wanted in fields.items():
        if not isinstance(row, dict) or field not in row:
            raise EditError(f"{where}: expected the field {field!r}")
        value = row[field]
        if isinstance(wanted, tuple):
            if value not in wanted:
                raise EditError(
                    f"{where}: {field}: expected one of {', '.join(map(repr, wanted))}, got {printable(repr(value))}"
                )
        elif not isinstance(value, wanted):
            raise EditError(f"{where}: {field}: expected a {wanted.__name__}, got {printable(repr(value))}")
    return {field: row[field] for field in fields}


def first_line(error: Exception) -> str:
    """Class and first line of ``error``, for a message of one line."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {printable(said[0])}" if said else type(error).__name__


def split_rows(rows: list[Row], source: Source) -> BenchmarkRows:
    """The first 20 % of ``rows`` as "validation" and the rest as "test", in order."""
    cut = validation_count(len(rows))
    whole = Dataset.from_list(rows)
    splits = BenchmarkRows({"validation": whole.select(range(cut)), "test": whole.select(range(cut, len(rows)))})
    splits.source = source
    return splits
