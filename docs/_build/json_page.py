"""Writes the page of ``--json`` from the records that commands print when the site is built, so that it cannot go stale.

A hook of mkdocs: `on_page_markdown` puts the text in the place of `MARKER`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator

from cti_edits.cli.json_records import records

MARKER = "<!-- every record -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs calls this for every page."""
    return markdown.replace(MARKER, records_text()) if MARKER in markdown else markdown


def records_text() -> str:
    """A heading and the keys of each command's objects, as Markdown."""
    return "\n".join(line for words, record in records().items() for line in _record_lines(words, record))


def keys(record: type[object]) -> dict[str, str]:
    """From each key of an object to its meaning; those of an object inside stand after its own, as ``runs.accuracy``."""
    found: dict[str, str] = {}
    for name, meaning in attributes(record).items():
        found[name] = meaning
        for inner in _inside(record, name):
            found |= {f"{name}.{key}": text for key, text in keys(inner).items()}
    return found


def attributes(record: type[object]) -> dict[str, str]:
    """What the docstring says of each attribute."""
    text = inspect.getdoc(record) or ""
    _, _, listed = text.partition("Attributes:\n")
    entries = re.split(r"\n(?= {4}\w)", "\n" + listed.split("\n\n")[0])
    pairs = (" ".join(entry.split()).partition(": ") for entry in entries if entry.strip())
    return {name: meaning for name, _, meaning in pairs}


def _inside(record: type[object], name: str) -> Iterator[type[object]]:
    """The dataclasses in the type of an attribute, as far as the record's module has their names."""
    kinds = {one.name: str(one.type) for one in dataclasses.fields(record)}  # type: ignore[arg-type]
    for word in re.findall(r"\w+", kinds.get(name, "")):
        found = getattr(sys.modules[record.__module__], word, None)
        if inspect.isclass(found) and dataclasses.is_dataclass(found):
            yield found


def _record_lines(words: str, record: type[object]) -> Iterator[str]:
    summary = (inspect.getdoc(record) or "").split("\n\n")[0]
    yield from (f"## cti-edits {words}", "", " ".join(summary.split()), "", "| key | meaning |", "| --- | --- |")
    yield from (f"| `{key}` | {_escaped(meaning)} |" for key, meaning in keys(record).items())
    yield ""


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>\[\]|])", r"\\\1", text).replace("``", "`")
