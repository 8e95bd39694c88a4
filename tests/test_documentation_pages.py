"""The pages of the documentation: fences, links, the site, and that commands, names and messages are the program's."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.support.pages import NOT_RUN, RUN, blocks, pages, prose, shown, whole_text


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_every_block_has_a_language_and_what_is_not_run_a_reason(page: Path) -> None:
    for block in blocks(page):
        where = f"{shown(page)}, line {block.line}"
        assert block.language in (*RUN, *NOT_RUN), f"{where}: the language is {block.language!r}"
        assert block.reason is None or len(block.reason) > 8, f"{where}: say why it is not run"
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_no_block_is_indented_instead_of_fenced(page: Path) -> None:
    """Indented lines after a blank one belong to a list, a definition or a note."""
    opener = ""
    before = ""
    for line in prose(page).splitlines():
        if line and not line.startswith(" "):
            opener = line
        if line.startswith("    ") and not before.strip():
            assert re.match(r"[-*!:]|\d+\.", opener), f"{shown(page)}: {line.strip()!r} is indented"
        before = line


def anchors(page: Path) -> set[str]:
    """What a link to a page can lead to within it."""
    from markdown.extensions.toc import slugify

    from docs._build import commands_page, json_page

    text = json_page.on_page_markdown(commands_page.on_page_markdown(whole_text(page)))
    text = re.sub(r"^(```+)[^\n]*\n.*?^\1\s*$", "", text, flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.*?) *$", text, flags=re.M)
    return {slugify(re.sub(r"[`*]|\$", "", heading), "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]{2,}(/[^\s)]*)?", target), f"{shown(page)}: {target}"
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{shown(page)}: {target}: no such file"
        assert linked.is_relative_to(ROOT), f"{shown(page)}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{shown(page)}: {target}: no such heading"


def test_every_command_is_on_the_page_of_commands() -> None:
    from docs._build.commands_page import commands_text, every_command

    text = commands_text()
    assert len(dict(every_command())) > 15
    for words, command in every_command():
        assert f"\n## {words}\n" in f"\n{text}"
        for option in command.params:
            for word in option.opts if option.param_type_name == "option" else ():
                assert word in text
    assert "--evaluator" in text
    assert "## cti-edits cache clear" in text


def test_every_command_with_json_has_its_keys_on_that_page() -> None:
    from cti_edits.cli.json_records import records
    from docs._build.commands_page import every_command
    from docs._build.json_page import attributes, keys, records_text

    text = records_text()
    with_json = {
        words.removeprefix("cti-edits ")
        for words, command in every_command()
        if any("--json" in option.opts for option in command.params)
    }
    assert with_json == set(records())
    for words, record in records().items():
        assert f"\n## cti-edits {words}\n" in f"\n{text}"
        fields = {one.name for one in dataclasses.fields(record)}  # type: ignore[arg-type]
        assert fields <= set(attributes(record)), words
        assert all(meaning for meaning in keys(record).values())
    assert "| `paired.verdict.word` |" in text


def test_every_public_name_is_on_the_page_of_python() -> None:
    import cti_edits

    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: cti_edits\.(\w+)$", text, flags=re.M))
    # The room that is called as this function in it.
    assert "::: cti_edits.search.api.search\n" in text
    assert named | {"search"} == set(cti_edits.__all__)


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.M))
    there = {str(page.relative_to(ROOT / "docs")) for page in pages() if (ROOT / "docs") in page.parents}
    assert listed == there


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    for path, text in made.items():
        assert not re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//[^"]*"', text), path
        assert not re.findall(r'<link[^>]*\shref="(?:https?:)?//[^"]*"', text), path
        assert "arithmatex" not in text, f"{path}: a formula was left as it stands"
        assert "--8<--" not in text, f"{path}: a file was not included"
    assert "<math" in made[tmp_path / "site" / "method.html"]


def test_the_picture_of_the_method_is_drawn(tmp_path: Path) -> None:
    from docs._build.method_picture import draw

    draw(tmp_path / "method.svg")
    assert (tmp_path / "method.svg").read_text(encoding="utf-8").startswith("<?xml")


@cache
def source_texts() -> tuple[str, ...]:
    """Every text in the program, with … for what is put into it."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "cti_edits").rglob("*.py"))]
    return tuple(text for source in sources for text in texts_in(ast.parse(source)))


def texts_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
            yield text_of(node)


def text_of(node: ast.AST) -> str:
    """The text that an expression makes, as far as it stands there."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return "…"


def messages() -> list[str]:
    """The messages that the page of troubleshooting explains."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^`(.+)`\n:   ", text, flags=re.M)


def test_at_least_thirty_messages_are_explained() -> None:
    assert len(messages()) >= 30
    assert len(set(messages())) == len(messages())


@pytest.mark.parametrize("message", messages())
def test_an_explained_message_is_one_of_the_program(message: str) -> None:
    fixed = [part.strip() for part in message.split("…") if part.strip(" :,;()")]
    wanted = re.compile(".*".join(map(re.escape, fixed)), re.DOTALL)
    assert any(wanted.search(text) for text in source_texts()), message
