"""Figures of a page: SVG with a title, a description and a table of its data, in the colours of the page.

A page has styles for light and dark; a figure says which part a colour plays, and the page which colour that is.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

from cti_edits.errors import printable
from cti_edits.pictures import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas
    from matplotlib.typing import RcKeyType

INK = "#1b1e24"
"""Text and axes."""
QUIET = "#8a909c"
"""What is there to compare with."""
GRID = "#dfe2e8"
ACCENT = "#3346b0"
"""The edit, and what is its own."""
PAPER = "#ffffff"
"""What is behind all of it."""
VARIABLES = {PAPER: "--paper", INK: "--ink", QUIET: "--quiet", GRID: "--rule", ACCENT: "--accent"}
"""The page's names of these colours."""

WIDTH = 4.2
"""Inches: about as wide as a phone, so that text there is as large as it is drawn."""
SIZE = (WIDTH, 2.9)
MOST_TEXT = 22
"""Characters of a name in a figure."""
MOST_TITLE = 120
MOST_DESCRIPTION = 600
MOST_ROWS = 300
"""Of the table of a figure."""

SETTINGS: Mapping[RcKeyType, object] = {
    "axes.edgecolor": QUIET,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        key: its name in the page, unique there.
        title: what it is.
        description: what it shows, in words.
        svg: the drawing.
        headings: of the table of its data.
        rows: of that table, `MOST_ROWS` at most.
        count: how many there are.
    """

    key: str
    title: str
    description: str
    svg: Markup
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    count: int


def drawn(
    key: str,
    title: str,
    description: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    draw: Callable[[Canvas], None],
    size: tuple[float, float] = SIZE,
) -> Figure:
    """A figure. See `Figure`; ``draw`` fills an empty canvas of ``size`` inches. Anyone may have written the texts."""
    title, description = printable(title, MOST_TITLE), printable(description, MOST_DESCRIPTION)
    with warnings.catch_warnings():
        # A label may be in any script; of what the font has not, the table below has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        picture = svg(title, description, draw, size, SETTINGS, headed=False)
    table = tuple(map(tuple, rows[:MOST_ROWS]))
    return Figure(key, title, description, _inline(picture, key), tuple(headings), table, len(rows))


def name_text(text: str) -> str:
    """Someone's text as it is written into a figure."""
    return printable(text, MOST_TEXT)


def percent_axis(axis: Axis) -> None:
    """Have an axis say shares in per cent, at few places."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %" if -1e-9 < share < 1 + 1e-9 else ""))


def log_x_axis(axes: Axes) -> None:
    """Have the x axis go by factors, with numbers as people write them: 0.1, 10, 10 k, 1 M."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.set_xscale("log")
    # Within a decade or two, a place at each factor of ten is too few.
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1.0,) if high > 100 * max(low, 1e-12) else (1.0, 2.0, 5.0), numticks=6)
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _inline(picture: bytes, key: str) -> Markup:
    """A picture as a part of a page: its names are unique there, and its colours the page's."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(picture)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            element.set(name, _of_page(name, value, key))
    for name in ("title", "desc"):
        for said in root.findall(f"{{{_SVG}}}{name}"):
            said.set("id", f"{key}-{name}")
    root.set("aria-labelledby", f"{key}-title {key}-desc")
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _of_page(name: str, value: str, key: str) -> str:
    """The value of an attribute, with names that are unique in the page and the page's colours."""
    if name == "id":
        return f"{key}-{value}"
    if name.endswith("href") and value.startswith("#"):
        return f"#{key}-{value[1:]}"
    value = re.sub(r"url\(#", f"url(#{key}-", value)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _colour(found[0]), value) if name in ("style", "fill") else value


def _colour(written: str) -> str:
    variable = VARIABLES.get(written)
    return written if variable is None else f"var({variable}, {written})"
