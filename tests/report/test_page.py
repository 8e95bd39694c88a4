"""Templates and what they escape."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from cti_edits.report.edit_report import edit_report
from cti_edits.report.gallery import gallery
from cti_edits.report.page import MOST_TEXT, page, script_hash, sentence, shown
from tests.support.pages_of_html import read
from tests.support.reports import HUGE, SCRIPT, hostile


def test_a_text_is_of_one_line_and_cut() -> None:
    assert shown("a\n\x1b[31mb") == "a\\n\\x1b[31mb"
    assert shown("a" * 5000) == "a" * (MOST_TEXT - 1) + "…"
    assert shown("abcdef", 3) == "ab…"


def test_no_line_ends_before_a_per_cent_sign() -> None:
    assert sentence("from 1 % to 2 %\n") == "from 1\xa0% to 2\xa0%\\n"


def test_a_value_that_a_template_names_and_is_not_there_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        page("report.html", object())


def test_a_page_is_one_file_without_a_script() -> None:
    text = edit_report(hostile(SCRIPT), None, ())
    found = read(text)
    assert found.language == "en"
    assert found.tags.count("script") == 0
    assert found.tags.count("h1") == 1
    assert found.title == "tiny.every-field-2: report"
    assert found.policy == (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'none'; base-uri 'none'; form-action 'none'"
    )
    assert found.addresses == []


def test_the_only_script_of_a_gallery_is_the_one_that_its_policy_names() -> None:
    text = gallery([(Path("a.json"), hostile(SCRIPT)), (Path("b.json"), hostile(HUGE))], Path("gallery.html"))
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    assert len(scripts) == read(text).tags.count("script") == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert script_hash("gallery.js") == f"sha256-{digest}"
    assert f"script-src 'sha256-{digest}'" in read(text).policy
