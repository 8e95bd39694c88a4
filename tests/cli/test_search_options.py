"""The options of ``cti-edits search``."""

from __future__ import annotations

from typing import Annotated, get_origin

import typer.main

from cti_edits.cli import app, search_options


def test_each_option_of_the_search_is_declared_once_and_has_a_help() -> None:
    command = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    declared = {name for name, value in vars(search_options).items() if get_origin(value) is Annotated}
    assert declared == {"".join(word.capitalize() for word in one.name.split("_")) for one in command.params}
    assert all(one.help for one in command.params)
    flags = {flag for one in command.params for flag in one.opts}
    assert {"--task", "--data", "--test-data", "--test-rows", "--exact-stop"} <= flags
