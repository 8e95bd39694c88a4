"""Pages of one file: HTML by templates that escape every value, with styles and figures inside."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING

from cti_edits.errors import printable

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_TEXT = 600
"""Characters that a page shows of a text; more of it says nothing."""


def page(template: str, values: object) -> str:
    """A page.

    Args:
        template: the file in ``templates/``.
        values: what the template names ``page``.
    """
    return _environment().get_template(template).render(page=values)


def shown(text: object, limit: int = MOST_TEXT) -> str:
    """Someone's text on one line, without control characters, cut to ``limit``. The template escapes it for HTML."""
    return printable(text, limit)


def sentence(text: object) -> str:
    """The same, and no line ends between a figure and its per cent sign."""
    return shown(text).replace(" %", "\N{NO-BREAK SPACE}%")


@cache
def script_hash(template: str) -> str:
    """What a page's policy says of the only script that it may run."""
    text = _environment().get_template(template).render()
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("cti_edits.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["shown"] = shown
    found.filters["sentence"] = sentence
    found.globals["script_hash"] = script_hash
    return found
