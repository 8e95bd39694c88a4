"""The search log: every finished step of a search, on the disk before the next one begins.

JSON Lines (``schemas/search-log-1.schema.json``), only added to. The first line says what was asked. A search that was
stopped, however it was stopped, takes the steps that it finds there and goes on with the next one.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import Self

from cti_edits.artifact.json_schema import first_error
from cti_edits.errors import MAX_SHOWN_PATH, EditError, WriteError, printable
from cti_edits.json_lines import HeldError, JsonLines, objects_of
from cti_edits.version import __version__

VERSION = 1
SCHEMA = f"search-log-{VERSION}"
SUFFIX = ".search.jsonl"

EXTENDABLE = ("top_q", "clusters", "rates", "matrices", "directions", "drops", "epochs", "compose")
"""Settings of which a search can be given more, and keep the figures that it has."""

MAX_SHOWN_DIFFERENCES = 5

T = TypeVar("T")
Json = Any
"""What JSON can say."""


def log_path(manifest: Path) -> Path:
    """``edits/gptj_fever.search.jsonl`` of ``edits/gptj_fever.json``."""
    return manifest.with_name(manifest.name.removesuffix(".json") + SUFFIX)


class Steps:
    """Finished steps by their names and by what they are of; where there is no log, none is remembered."""

    def __init__(self, log: SearchLog | None = None, of: Mapping[str, Json] | None = None) -> None:
        """Look at those steps of ``log`` that are of ``of``."""
        self._log, self._of = log, dict(of or {})

    def under(self, **of: Json) -> Steps:
        """Those that are of this, too."""
        return Steps(self._log, {**self._of, **of})

    def get(self, step: str, of: Mapping[str, Json], read: Callable[[Json], T]) -> T | None:
        """What a finished step gave; None for one that is not finished.

        Args:
            step: its name.
            of: what tells it from others of the name.
            read: from what JSON says to the value.

        Raises:
            EditError: the log holds something else.
        """
        if self._log is None:
            return None
        value = self._log.values.get(_key(step, {**self._of, **of}))
        if value is None:
            return None
        try:
            return read(value)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            what = printable(json.dumps(of))
            raise EditError(f"{self._log.shown}: the step {step} of {what} is damaged; begin anew (fresh)") from None

    def put(self, step: str, *finished: tuple[Mapping[str, Json], Json]) -> None:
        """Keep what steps of one name gave: of what, and the value. They are on the disk when this returns.

        Raises:
            WriteError: they cannot be written.
        """
        if self._log is not None and finished:
            self._log.put(step, [({**self._of, **of}, value) for of, value in finished])

    def once(
        self,
        step: str,
        of: Mapping[str, Json],
        compute: Callable[[], T],
        write: Callable[[T], Json],
        read: Callable[[Json], T],
    ) -> T:
        """What a step gives, computed if it is not finished yet. Arguments as of `get` and `put`."""
        found = self.get(step, of, read)
        if found is None:
            found = compute()
            self.put(step, (of, write(found)))
        return found


class SearchLog:
    """A file of finished steps that this process alone adds to until it is closed, or the process ends.

    Attributes:
        path: where it is.
        shown: likewise, as a message has it.
        values: what the finished steps gave, by name and by what they are of.
        finished: what was found in it, as JSON; None where the search did not end.
    """

    def __init__(self, path: Path, *, fresh: bool = False, extend: bool = False) -> None:
        """Open the log, or begin it.

        Args:
            path: where it is, or will be.
            fresh: begin anew; a log that is there gets another name.
            extend: allow that more of `EXTENDABLE` is asked for than before.

        Raises:
            HeldError: another process writes to it; the message says which.
            EditError: a line of it is no line of a search log.
            WriteError: it cannot be written.
        """
        self.path, self.shown = path, printable(path, MAX_SHOWN_PATH)
        self.values: dict[str, Json] = {}
        self.finished: Json = None
        self._extend = extend
        self._asked: dict[str, Json] | None = None
        self._added = False
        try:
            self._file = JsonLines(path)
        except HeldError as error:
            raise HeldError(f"{error}{_holder(path)}") from None
        if fresh and self._file.lines:
            _set_aside(path)
            self._file.close()
            self._file = JsonLines(path)
        try:
            for number, line in enumerate(objects_of(path, self._file.lines), start=1):
                self._take(line, number)
        except EditError:
            self._file.close()
            raise
        self._file.append({"run": _run()})

    @property
    def steps(self) -> Steps:
        """All of them."""
        return Steps(self)

    @property
    def has_steps(self) -> bool:
        """Whether any step is finished."""
        return bool(self.values)

    def begin(self, asked: Mapping[str, Json]) -> int:
        """Say what is asked; what was asked before has to be the same.

        Returns:
            How many steps are finished already.

        Raises:
            EditError: it is not. The message names the differences.
            WriteError: it cannot be written.
        """
        now = json.loads(json.dumps(asked))
        if self._asked is not None and self._asked != now:
            self._check(self._asked, now)
        if self._asked != now:
            self._asked, self.finished = now, None
            self._file.append({"search_log": VERSION, "asked": now})
        return len(self.values)

    def put(self, step: str, finished: Sequence[tuple[Mapping[str, Json], Json]]) -> None:
        """See `Steps.put`; what is there already is not written again."""
        new = [(of, value) for of, value in finished if self.values.get(_key(step, of)) != value]
        self._added = True
        self._file.append(*({"step": step, "of": of, "value": value} for of, value in new))
        self.values.update({_key(step, of): value for of, value in new})

    def finish(self, found: Json) -> None:
        """Say that the search ended, and with what; where the log says so already, nothing is written.

        Raises:
            WriteError: it cannot be written.
        """
        if self.finished is None or self._added:
            self._added = True
            self._file.append({"finished": found})
            self.finished = found

    def close(self) -> None:
        """Let others write it. Where no step was added, it is as it was before it was opened."""
        if self._added:
            self._file.close()
        else:
            self._file.undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, line: dict[str, Json], number: int) -> None:
        wrong = first_error(line, SCHEMA)
        if wrong is not None:
            raise EditError(f"{self.shown}: line {number}: {wrong}; begin anew (fresh)")
        if "asked" in line:
            self._asked, self.finished = line["asked"], None
        elif "step" in line:
            self.values[_key(line["step"], line["of"])] = line["value"]
        elif "finished" in line:
            self.finished = line["finished"]

    def _check(self, before: dict[str, Json], now: dict[str, Json]) -> None:
        differing = _differences(before, now)
        if self._extend:
            differing = {name: pair for name, pair in differing.items() if not _is_more(name, *pair)}
        if not differing:
            return
        few = list(differing.items())[:MAX_SHOWN_DIFFERENCES]
        named = "; ".join(f"{name}: {_text(there)} there, {_text(here)} here" for name, (there, here) in few)
        more = f"; and {len(differing) - len(few)} more" if len(differing) > len(few) else ""
        wider = not self._extend and all(_is_more(name, *pair) for name, pair in differing.items())
        what_to_do = "widen that search (extend)" if wider else "begin anew, and keep it under another name (fresh)"
        raise EditError(f"{self.shown} is of another search ({named}{more}); {what_to_do}")


def _key(step: str, of: Mapping[str, Json]) -> str:
    return json.dumps([step, of], sort_keys=True)


def _differences(before: Json, now: Json, name: str = "") -> dict[str, tuple[Json, Json]]:
    """Fields in which two documents differ, by their names: ``settings.rates``."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return {} if before == now else {name: (before, now)}
    found: dict[str, tuple[Json, Json]] = {}
    for key in {**before, **now}:
        found |= _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    return found


def _is_more(name: str, before: Json, now: Json) -> bool:
    """Whether a setting asks for what it asked for before, and for more."""
    if not name.startswith("settings.") or name.removeprefix("settings.") not in EXTENDABLE:
        return False
    if isinstance(before, list) and isinstance(now, list):
        return set(before) <= set(now)
    if name == "settings.top_q" and now is None:
        return True
    return isinstance(before, int) and isinstance(now, int) and 0 < before <= now


def _text(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None else printable(value if isinstance(value, str) else json.dumps(value), 100)


def _run() -> dict[str, Json]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tool": f"cti-edits {__version__}",
    }


def _holder(path: Path) -> str:
    """Who holds a log, from its last line of that kind; nothing where it has none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if line.startswith(b'{"run"'):
            try:
                run = json.loads(line)["run"]
                return printable(f": process {run['pid']} on {run['host']}, since {run['since']}")
            except (ValueError, KeyError, TypeError):
                return ""
    return ""


def _set_aside(path: Path) -> None:
    """Give a log another name: ``NAME.search.1.jsonl``, or the first number that is free."""
    stem = path.name.removesuffix(".jsonl")
    number = 1
    while (aside := path.with_name(f"{stem}.{number}.jsonl")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        shown = printable(path, MAX_SHOWN_PATH)
        raise WriteError(f"{shown}: cannot rename it: {error.strerror}") from None
