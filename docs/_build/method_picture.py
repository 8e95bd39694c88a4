"""Draws the picture on the page of the method: ``python -m docs._build.method_picture docs/pictures/method.svg``.

A small made-up weight and gradient, but everything drawn of them is computed as the method has it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS, CLUSTERS, RHO = 48, 30, 4, 0.4
TAIL = 5
"""How many of the last directions are scored."""
SHOWN = 1
"""The block that is shown, from 0."""
BLUE, RED, GREY = "#3f51b5", "#c62828", "#9e9e9e"

Matrix = NDArray[np.float64]


def weight_and_gradient() -> tuple[Matrix, Matrix]:
    """W with a falling spectrum and G, both (ROWS, COLUMNS)."""
    random = np.random.default_rng(7)
    left, right = (np.linalg.qr(random.normal(size=(size, COLUMNS)))[0] for size in (ROWS, COLUMNS))
    weight = (left * np.exp(-np.arange(COLUMNS) / 9)) @ right.T
    return weight, random.normal(size=(ROWS, COLUMNS)) / COLUMNS


def truncated(block: Matrix, rank: int) -> Matrix:
    """The best approximation of ``block`` of this rank."""
    u, s, vh = np.linalg.svd(block, full_matrices=False)
    kept: Matrix = (u[:, :rank] * s[:rank]) @ vh[:rank]
    return kept


def draw(target: Path) -> None:
    """Write the picture as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "cti-edits", "svg.fonttype": "path", "font.size": 9})
    import matplotlib.pyplot as plt

    weight, gradient = weight_and_gradient()
    blocks = np.split(weight, CLUSTERS)
    block, block_gradient = blocks[SHOWN], np.split(gradient, CLUSTERS)[SHOWN]
    u, s, vh = np.linalg.svd(block, full_matrices=False)
    slopes = np.einsum("mi,mn,in->i", u, block_gradient, vh)
    rank = max(1, int(RHO * len(s) + 1e-9))

    figure = plt.figure(figsize=(9.6, 3.5), layout="constrained", facecolor="white")
    parts = figure.add_gridspec(2, 3, width_ratios=(1, 1.5, 1), height_ratios=(1.2, 1))
    limit = float(np.abs(weight).max())
    edited = np.concatenate([truncated(one, rank) for one in blocks])
    titles = {0: f"1. W, cut into K = {CLUSTERS} row blocks", 2: f"3. Ŵ: each block at rank {rank}"}
    for column, matrix in ((0, weight), (2, edited)):
        axes = figure.add_subplot(parts[:, column])
        axes.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        for edge in range(1, CLUSTERS):
            axes.axhline(edge * ROWS / CLUSTERS - 0.5, color="black", linewidth=1)
        axes.set(title=titles[column], xticks=[], yticks=[], xlabel="n inputs", ylabel="m outputs")
    numbers = np.arange(1, len(s) + 1)

    above = figure.add_subplot(parts[0, 1])
    above.bar(numbers, s, color=[BLUE if i <= rank else GREY for i in numbers])
    above.axvline(rank + 0.5, color="black", linestyle="--", linewidth=1)
    above.text(rank + 0.7, s[0] * 0.85, f"cut after j = ⌊ρ r⌋ = {rank}")
    above.set(title=f"2. Block {SHOWN + 1}: σᵢ, and the gradient gᵢ of each", ylabel="σᵢ", xticks=[])

    below = figure.add_subplot(parts[1, 1])
    scored = numbers > len(s) - TAIL
    colours = [RED if last and g < 0 else GREY for last, g in zip(scored, slopes, strict=True)]
    below.bar(numbers, slopes, color=colours)
    below.axhline(0, color="black", linewidth=0.8)
    below.axvspan(len(s) - TAIL + 0.5, len(s) + 0.5, color=RED, alpha=0.08)
    below.set(xlabel=f"i, largest first; the score sums the red ones of the last {TAIL}", ylabel="gᵢ", xticks=[])
    figure.savefig(target, format="svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
