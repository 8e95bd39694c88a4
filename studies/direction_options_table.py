"""A Markdown table of what `studies.direction_options` measured: accuracy on held-out rows, each seed's and the mean.

python -m studies.direction_options_table FILE…
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.direction_options import ALL, Way

DEFAULTS = vars(Way(""))
KINDS = {
    "step": "one step",
    "random": "one step, random directions",
    "opposite": "one step, the other sign",
    "steps": "steps with new gradients",
    "fit": "fit",
    "gradient": "one step along the gradient's best rank",
}


def name_of(way: Mapping[str, Any], stage: int) -> str:
    """What was done, in words."""
    count = "all" if way["count"] == ALL else f"{way['count']:,}"
    words = [KINDS[way["how"]], f"rank {count} a matrix" if way["how"] == "gradient" else f"N = {count}"]
    if way["how"] not in ("fit", "steps"):
        words.append(f"f = {way['drop']:g}")
    if way["how"] == "fit":
        words += [f"rate {way['rate']:g}", f"{stage} epoch{'s' if stage > 1 else ''}"]
    if way["how"] == "steps":
        words.append(f"{stage} steps")
    words += ["on log σ"] if way["relative"] else []
    words += ["factors exp(p)"] if way["log_scale"] else []
    words += ["all roles"] if way["roles"] == "all" else []
    words += [f"K = {way['clusters']}"] if way["clusters"] > 1 else []
    words += [f"decay {way['decay']:g}"] if way["decay"] else []
    return ", ".join(words)


def main() -> None:
    """Print the table of the files that are named."""
    lines = [json.loads(text) for name in sys.argv[1:] for text in Path(name).read_text(encoding="utf-8").splitlines()]
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in lines:
        cell = found.setdefault(name_of(line["way"], line["stage"]), {}).setdefault(line["task"], {})
        cell[line["seed"]] = 100 * line["accuracy"]
    order = list(KINDS.values())
    names = sorted(found, key=lambda name: order.index(name.split(", N")[0].split(", rank")[0]))
    print("| what | " + " | ".join(f"{task}: mean (each seed), %" for task in tasks) + " |")
    print("| --- |" + " --- |" * len(tasks))
    for name in names:
        cells = []
        for task in tasks:
            by_seed = found[name].get(task, {})
            each = ", ".join(f"{by_seed[seed]:.1f}" for seed in sorted(by_seed))
            cells.append(f"{statistics.mean(by_seed.values()):.1f} ({each})" if by_seed else "")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
