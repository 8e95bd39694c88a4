"""A Markdown table of what `studies.held_out` measured.

python -m studies.held_out_table FILE…
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cti_edits.stats import wilson_interval

HEADINGS = ("task", "seed", "system", "accuracy (95 % interval)", "p against base", "NLL", "what was found", "bytes")


def row(line: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of one measured system."""
    low, high = wilson_interval(round(line["accuracy"] * line["n"]), line["n"])
    return (
        line["task"],
        str(line["seed"]),
        line["system"],
        f"{100 * line['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})",
        f"{line['p']:.1g}" if "p" in line else "",
        f"{line['nll']:.2f}",
        line.get("found", f"always the most frequent answer: {100 * line['majority']:.1f} %"),
        f"{line['bytes']:,}" if "bytes" in line else "",
    )


def main() -> None:
    """Print the table of the files that are named."""
    lines = [json.loads(text) for name in sys.argv[1:] for text in Path(name).read_text(encoding="utf-8").splitlines()]
    order = {system: place for place, system in enumerate(dict.fromkeys(line["system"] for line in lines))}
    lines.sort(key=lambda line: (line["task"], line["seed"], order[line["system"]]))
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + " --- |" * len(HEADINGS))
    for line in lines:
        print("| " + " | ".join(row(line)) + " |")


if __name__ == "__main__":
    main()
