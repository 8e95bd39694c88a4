"""The pages of the documentation: their blocks of code, and what stands before each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

RUN = ("bash", "python")
NOT_RUN = ("text", "json", "yaml")
_COMMENT = re.compile(r"<!-- (not run|run first): *(.*?) *-->")
_SNIPPET = re.compile(r'^--8<-- "([^":]+)(?::\w+)?"$', re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: where it begins, from 1.
        language: after the fence.
        text: what is in it.
        reason: why it is not run, if it is not.
        first: a command that is run before it.
    """

    line: int
    language: str
    text: str
    reason: str | None = None
    first: str | None = None


def pages() -> list[Path]:
    """README.md, the pages of docs/, and the files that those include."""
    inside = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
    included = {ROOT / name for page in inside for name in _SNIPPET.findall(page.read_text(encoding="utf-8"))}
    return [ROOT / "README.md", ROOT / "SECURITY.md", *inside, *sorted(included)]


def shown(page: Path) -> str:
    """The page's path in the project."""
    return os.path.relpath(page, ROOT)


def whole_text(page: Path) -> str:
    """The page with what it includes."""
    return _SNIPPET.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8"), page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in their order."""
    fence: str | None = None
    begun, language, inside, before = 0, "", list[str](), ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        mark = re.match(r" {0,3}(```+|~~~+)(.*)", line)
        if fence is None and mark:
            fence, language, begun, inside = mark[1], mark[2].strip(), number, []
        elif fence is not None and line.strip() == fence:
            found = _COMMENT.fullmatch(before.strip())
            said = {found[1]: found[2]} if found else {}
            yield Block(begun, language, "\n".join(inside) + "\n", said.get("not run"), said.get("run first"))
            fence, before = None, ""
        elif fence is not None:
            inside.append(line)
        else:
            before = line
    assert fence is None, f"{shown(page)}: the block in line {begun} does not end"


def prose(page: Path) -> str:
    """The page without its fenced blocks and without code within lines."""
    text = re.sub(r"^( {0,3})(```+)[^\n]*\n.*?^ {0,3}\2\s*$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)
