"""Pictures as SVG with a title and a description, the same bytes for the same figures.

matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from cti_edits.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

COLOURS = ("#3f51b5", "#c62828", "#00897b", "#f9a825", "#6d4c41", "#8e24aa", "#7cb342")

GREY = "#757575"
"""Of the unedited model."""


def colour(number: int) -> str:
    """The colour of the ``number``-th thing in a picture."""
    return COLOURS[number % len(COLOURS)]


def whole_numbers(axis: Axis) -> None:
    """Have ticks at whole numbers alone, for layers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def svg(
    title: str,
    description: str,
    draw: Callable[[Figure], None],
    size: tuple[float, float] = (9.6, 4.2),
    settings: Mapping[RcKeyType, object] | None = None,
    headed: bool = True,
) -> bytes:
    """A picture.

    Args:
        title: what it is.
        description: what it shows, in words.
        draw: fills an empty figure.
        size: width and height, in inches.
        settings: matplotlib's, in the place of its own.
        headed: whether the title is drawn, too.
    """
    from matplotlib import rc_context, style
    from matplotlib.figure import Figure

    plain: dict[RcKeyType, object] = {
        "svg.hashsalt": "cti-edits",
        "svg.fonttype": "path",
        "font.size": 9.0,
        "figure.facecolor": "white",
    }
    # Not what a person's own matplotlibrc says; and no identifiers that are drawn at random.
    with style.context("default"), rc_context(plain), rc_context(dict(settings or {})):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        if headed:
            figure.suptitle(title)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    text = buffer.getvalue().replace("<svg ", '<svg role="img" ', 1)
    return text.replace("</title>", f"</title>\n <desc>{escape(description)}</desc>", 1).encode()


def write_svg(target: Path, title: str, description: str, draw: Callable[[Figure], None]) -> None:
    """Write a picture to ``target``. Arguments as in `svg`.

    Raises:
        WriteError: it cannot be written.
    """
    write_atomically(target, svg(title, description, draw))
