"""The commands that a page shows."""

from __future__ import annotations

import dataclasses
import shlex

import click
import pytest
import typer.main

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import Guard, Results
from cti_edits.cli import app
from cti_edits.cli.search_command import WIDTH, commands
from cti_edits.search.presets import find_preset
from tests.conftest import ROOT
from tests.support.edits import BASE, EDIT_2, SEARCH, entry
from tests.support.reports import SCRIPT, hostile


def words(edit: Edit, file: str = "a.json") -> dict[str, list[str]]:
    """Of each command by its purpose, as a shell takes them apart."""
    found = {}
    for one in commands(edit, file):
        text = "\n".join(one.lines).replace("\\\n", "")
        found[one.purpose] = [] if "$(" in text else shlex.split(text)
    return found


def given(edit: Edit) -> dict[str, object]:
    """What the command to find an edit again gives to ``cti-edits search``."""
    program, command, *options = words(edit)["Find it again"]
    assert (program, command) == ("cti-edits", "search")
    search = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    context: click.Context = search.make_context("search", options)
    usual = {one.name: one.default for one in search.params}
    return {name: value for name, value in context.params.items() if value != usual[name]}


def test_the_search_is_asked_as_it_was() -> None:
    found = given(load(EDIT_2 / "every_field.json"))
    assert found == {
        "task": "cti_fever", "model": "example/tiny-llama", "model_args": "revision=0123456789abcdef",
        "dtype": "bfloat16", "preset": "cl-100g-100e", "clusters": "1,2,4", "rates": "0.9,0.25,0.05",
        "scorer": "sum-of-gradients", "method": "directions", "directions": "64,256",
        "epochs": 4, "num_fewshot": 2, "apply_chat_template": "default",
        "system_instruction": "Answer with\\none word.", "gen_kwargs": '{"max_gen_toks":8}',
    }  # fmt: skip


def test_what_a_preset_says_anyway_is_not_said_again() -> None:
    settings = find_preset("cl-100g-100e").settings("causal")
    search = dataclasses.replace(
        SEARCH, preset="cl-100g-100e", samples=100, top_q=settings.top_q, clusters=settings.clusters,
        rates=settings.rates, matrices=settings.matrices,
    )  # fmt: skip
    edit = dataclasses.replace(load(ROOT / "edits" / "gptj_fever.json"), search=search)
    assert given(edit) == {"task": "cti_fever", "preset": "cl-100g-100e", "dtype": "float16"}


def test_without_held_out_rows_none_are_asked_for() -> None:
    edit = dataclasses.replace(load(EDIT_2 / "every_field.json"), search=dataclasses.replace(SEARCH, stack="encoder"))
    only = dataclasses.replace(edit, results=Results(edit.results.calibration, None))
    found = given(only)
    assert (found["held_out"], found["stack"], found["samples"], found["top_q"]) == ("none", "encoder", 4, 1)


@pytest.mark.parametrize(
    ("text", "word"),
    [("bundled", None), ("task cti_fever", "cti_fever"), ("my notes.txt, sha256 0123", "my notes.txt")],
)
def test_what_the_winner_was_held_to_is_asked_for(text: str, word: str | None) -> None:
    edit = load(EDIT_2 / "every_field.json")
    results = dataclasses.replace(edit.results, guard=Guard(text, 10, 0.1, 2.0, 2.0))
    search = dataclasses.replace(SEARCH, confirm=3, max_kl=0.05)
    found = given(dataclasses.replace(edit, search=search, results=results))
    assert (found["confirm"], found["max_kl"], found.get("guard")) == (3, 0.05, word)


def test_an_edit_that_no_search_recorded_is_used_and_verified() -> None:
    found = words(Edit("one", "", BASE, (entry(),)), "my edits/a.json")
    assert found == {
        "Check that it fits your base model": ["cti-edits", "verify", "my edits/a.json"],
        "Use it": ["lm_eval", "--model", "cti", "--model_args", "edit=my edits/a.json", "--tasks", "TASK"],
    }


def test_a_bundled_task_comes_with_its_folder() -> None:
    use = commands(load(ROOT / "edits" / "gptj_fever.json"), "a.json")[-1]
    assert " ".join(use.lines).endswith('--include_path "$(cti-edits tasks-path)"')


def test_a_long_command_has_lines_that_begin_with_flags() -> None:
    lines = commands(load(EDIT_2 / "every_field.json"), "a.json")[0].lines
    assert len(lines) > 3
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert all(line.startswith("  --") for line in lines[1:])
    short = commands(Edit("one", "", BASE, ()), "a.json")[0]
    assert short.lines == ("cti-edits verify a.json",)
    assert len(short.lines[0]) < WIDTH


@pytest.mark.parametrize("text", [SCRIPT, "a; rm -rf ~", "$(reboot)", "`reboot`\n", "'"])
def test_a_shell_runs_nothing_that_a_stranger_wrote(text: str) -> None:
    edit = dataclasses.replace(hostile(text), task=None)
    for one in commands(edit, text):
        # Each of the stranger's texts stays one word.
        taken = shlex.split("\n".join(one.lines).replace("\\\n", ""))
        assert taken[0] in ("cti-edits", "lm_eval")
        assert len(taken) in (3, 7)
