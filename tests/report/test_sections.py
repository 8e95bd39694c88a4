"""What ``show`` says of an edit: the manifest's lines, and those of plugins."""

from __future__ import annotations

import pytest

from cti_edits.artifact.manifest import Edit
from cti_edits.report.edit_lines import manifest_lines
from cti_edits.report.sections import section_lines
from tests.support.edits import edit_of
from tests.support.installed_plugins import InstalledPlugins
from tests.support.tiny_models import tiny_model

SECTION = """
from cti_edits.hookspecs import hookimpl
from cti_edits.report.sections import ReportSection

@hookimpl
def report_sections():
    return [ReportSection("mine", lambda edit: {lines})]
"""


@pytest.fixture(scope="module")
def edit() -> Edit:
    return edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.5))


def test_without_plugins_they_are_the_manifests_lines(plugin_folder: InstalledPlugins, edit: Edit) -> None:
    assert list(section_lines(edit)) == list(manifest_lines(edit))


def test_a_plugins_lines_come_under_a_heading_and_cannot_write_control_characters(
    plugin_folder: InstalledPlugins, edit: Edit
) -> None:
    plugin_folder.add("more", SECTION.replace("{lines}", "[('one\\x1b', 1), ('two', edit.name)]"))
    added = list(section_lines(edit))[len(list(manifest_lines(edit))) :]
    assert added == [("", ""), ("mine", ""), ("  one\\x1b ", "1"), ("  two ", "test")]


def test_a_section_without_lines_has_no_heading(plugin_folder: InstalledPlugins, edit: Edit) -> None:
    plugin_folder.add("more", SECTION.replace("{lines}", "[]"))
    assert list(section_lines(edit)) == list(manifest_lines(edit))


@pytest.mark.parametrize("lines", ["1 / 0", "None", "['xyz']"])
def test_a_section_that_fails_is_named_and_left_out(
    plugin_folder: InstalledPlugins, edit: Edit, lines: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin_folder.add("broken", SECTION.replace("{lines}", lines))
    plugin_folder.add("more", SECTION.replace("{lines}", "[('key', 'value')]"))
    assert list(section_lines(edit))[-2:] == [("mine", ""), ("  key ", "value")]
    err = capsys.readouterr().err
    assert err.startswith("cti-edits: warning: the report section 'mine' of the plugin 'broken' (broken 1.0) failed")
    assert err.count("\n") == 1
