"""Every module of a room has tests under its name, and every file of tests says what it is of."""

from __future__ import annotations

import ast
import re

import pytest
import typer.main

from cti_edits.cli import app
from tests.conftest import ROOT

OF_SEVERAL_MODULES = {
    "artifact/format_page": "schemas/README.md alone, followed without the project's own code",
    "artifact/hostile": "files that are wrong, through the manifest's reader, the model and the file of factors",
    "cli/broken_output": "every command where the output is full or closed",
    "cli/search_goes_on": "the search command where its log has what is finished",
    "cli/encodings": "every command where the output's encoding has few characters",
    "harness/remote_code": "code of a checkpoint or task, which nothing here runs unasked",
    "harness/task_files": "the task files in tasks/",
    "hub/signing": "what the documentation says of signatures, which are another program's",
    "models/encoder_decoders": "edits of both stacks of every type, from apply to the exported checkpoint",
    "models/parts": "edits of parts of one weight, and of experts, through everything that takes an edit",
    "models/copies": "the memory that former weights take, in apply and the lm-eval model",
    "report/browser": "the pages in Chromium: what it draws, says, asks for and prints, and what axe-core finds",
    "search/encoders": "whole searches of masked models, and their winners in lm-eval",
    "search/encoder_decoders": "whole searches of encoder-decoders, and their winners in lm-eval",
    "search/exact_stop": "candidates that are stopped, from the rule in space to the whole search",
    "search/experts": "whole searches of mixtures of experts and of fused weights",
    "studies/null_searches": "the simulation studies/null_searches.py, through choice, verdict and BBC-CV",
    "search/killed_searches": "whole searches that are killed and go on, of every preset",
    "search/recorded_searches": "what whole searches found, to the last figure",
    "search/search_identity": "what a search records of its base, and verify and apply make of it",
}
"""Tests of a room that are of no one module of it, and what they are of. Others stand under a module's name."""


def rooms() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "cti_edits").glob("*/__init__.py"))


def modules(room: str) -> set[str]:
    """Names of a room's modules; one with data beside it is a folder."""
    folder = ROOT / "cti_edits" / room
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    return files | {path.parent.name for path in folder.glob("*/__init__.py")}


def command_names() -> set[str]:
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def under_test(room: str) -> set[str]:
    return {path.stem.removeprefix("test_") for path in (ROOT / "tests" / room).glob("test_*.py")}


def test_the_rooms_are_found() -> None:
    assert {"artifact", "cli", "search"} <= set(rooms())
    assert "manifest" in modules("artifact") & under_test("artifact")
    assert "architectures" in modules("models")


@pytest.mark.parametrize("room", rooms())
def test_every_module_has_tests_under_its_name(room: str) -> None:
    missing = sorted(modules(room) - under_test(room))
    assert not missing, f"write tests/{room}/test_{missing[0]}.py, which cti_edits/{room}/{missing[0]}.py lacks"


@pytest.mark.parametrize("room", rooms())
def test_the_docstring_of_a_room_says_what_is_in_which_file(room: str) -> None:
    """A newcomer reads it alone."""
    text = ast.get_docstring(ast.parse((ROOT / "cti_edits" / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = set(re.findall(r"(\w+)\.py", text) + re.findall(r"^- (\w+)/:", text, flags=re.M))
    assert named - {"__main__"} <= modules(room), "a file is named that is not there"
    if room == "cli":
        assert "Each command has a file of its name" in text
        named |= {name.replace("-", "_") for name in command_names()}
    assert modules(room) <= named, f"what is in {sorted(modules(room) - named)}?"


@pytest.mark.parametrize("room", rooms())
def test_every_file_of_tests_is_of_a_module_or_says_of_what(room: str) -> None:
    others = {name.split("/")[1] for name in OF_SEVERAL_MODULES if name.startswith(f"{room}/")}
    unknown = sorted(under_test(room) - modules(room) - others)
    assert not unknown, (
        f"tests/{room}/test_{unknown[0]}.py: cti_edits/{room}/ has no {unknown[0]}.py; "
        "name it as its module, or say in OF_SEVERAL_MODULES what it is of"
    )
    assert not others & modules(room), "a module has this name now"


def test_tests_have_no_other_rooms_and_the_list_no_other_files() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == set(rooms())
    for name in OF_SEVERAL_MODULES:
        room, _, file = name.partition("/")
        assert (ROOT / "tests" / room / f"test_{file}.py").is_file(), name
