"""Writes the page of commands from the command itself when the site is built, so that it cannot go stale.

A hook of mkdocs: `on_page_markdown` puts the text in the place of `MARKER`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from cti_edits.cli import app

MARKER = "<!-- every command -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs calls this for every page."""
    return markdown.replace(MARKER, commands_text()) if MARKER in markdown else markdown


def commands_text() -> str:
    """A heading, the help and the parameters of each command, as Markdown."""
    return "\n".join(line for words, command in every_command() for line in _command_lines(words, command))


def every_command() -> Iterator[tuple[str, Any]]:
    """The words of each command, and typer's object for it; groups are opened."""
    yield from _commands_in("cti-edits", typer.main.get_command(app))


def _commands_in(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, one in inner.items():
        yield from _commands_in(f"{words} {name}", one)


def _command_lines(words: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=words)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"## {words}", "", _escaped(command.help), "", "```text", f"{words} {usage}".rstrip(), "```", "")
    records = [one.get_help_record(context) for one in command.params]
    rows = [f"| {_code(names)} | {_escaped(text)} |" for names, text in filter(None, records)]
    if rows:
        yield from ("| word | meaning |", "| --- | --- |", *rows, "")


def _code(text: str) -> str:
    return f"`{text.strip()}`"


def _escaped(text: str) -> str:
    """Help as Markdown: paragraphs stay, line breaks within them go, and marks of Markdown are taken as they stand."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(re.sub(r"([*_<>\[\]|])", r"\\\1", part) for part in paragraphs)
