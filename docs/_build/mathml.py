"""Turns formulas into MathML when the site is built, so that a page needs no script and no network to show them.

A hook of mkdocs: pymdownx.arithmatex marks the formulas, ``$…$`` in a line and ``$$…$$`` in a block.
"""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """mkdocs calls this with the HTML of every page."""
    content = INLINE.sub(lambda found: convert(html.unescape(found[1]).strip()), content)
    return BLOCK.sub(lambda found: convert(html.unescape(found[1]).strip(), display="block"), content)
