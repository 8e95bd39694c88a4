"""What the last singular triplets of all row blocks cost: ``python -m benchmarks.decompositions``.

One random float16 weight of GPT-J's MLP output size with a falling spectrum, at several K:
`cti_edits.linalg.block_tails` for all K together, and torch's float64 singular value decomposition block by block, in
turn. Prints times only if singular values and scores of both agree: values to a share of 1e-9 of the block's first,
scores, for a random gradient G, to 20 millionths of the largest ‖G_k‖₂, which is the bound that `block_tails` states.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import torch

from benchmarks.demo import machine, timed
from cti_edits.linalg.block_tails import TAIL, TOLERANCE, BlockTail, block_tails
from cti_edits.linalg.lowrank import decompose
from cti_edits.linalg.spectrum import matrix_score


def random_weight(rows: int, columns: int) -> torch.Tensor:
    """Normal elements whose columns shrink to a fifth, in a random order of directions."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, columns, generator=generator) * torch.linspace(1.0, 0.2, columns) * 0.02
    # A reflection mixes the columns and costs no decomposition.
    direction = torch.randn(columns, generator=generator)
    direction /= torch.linalg.vector_norm(direction)
    return (weight - 2 * torch.outer(weight @ direction, direction)).half()


def exact_tails(weight: torch.Tensor, clusters: list[int]) -> tuple[dict[int, tuple[BlockTail, ...]], list[float]]:
    """The tails by singular value decomposition, and each block's first singular value."""
    tails, first = {}, []
    for number in clusters:
        found = []
        for block in torch.tensor_split(weight, number):
            (whole,) = decompose(block, 1)
            found.append(BlockTail(whole.U[:, -TAIL:].clone(), whole.S[-TAIL:].clone(), whole.Vh[-TAIL:].mT.clone()))
            first.append(float(whole.S[0]))
        tails[number] = tuple(found)
    return tails, first


def check_same(
    ours: dict[int, tuple[BlockTail, ...]],
    theirs: dict[int, tuple[BlockTail, ...]],
    first: list[float],
    gradient: torch.Tensor,
) -> None:
    largest = iter(first)
    for number in theirs:
        for a, b in zip(ours[number], theirs[number], strict=True):
            if float((a.S - b.S).abs().max()) > 1e-9 * next(largest):
                sys.exit(f"K = {number}: the singular values differ")
        parts = torch.tensor_split(gradient, number)
        norms = [float(torch.linalg.matrix_norm(part.double(), 2)) for part in parts]
        scores = [
            matrix_score([((t.U.mT @ g.double()) * t.V.mT).sum(dim=1) for t, g in zip(tails, parts, strict=True)])
            for tails in (ours[number], theirs[number])
        ]
        if abs(scores[0] - scores[1]) > TAIL * TOLERANCE * max(norms):
            sys.exit(f"K = {number}: the scores differ: {scores[0]} and {scores[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096, help="output features")
    parser.add_argument("--columns", type=int, default=16384, help="input features")
    parser.add_argument("--clusters", default="1,2,4,8,16", help="row blocks, K")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    options = parser.parse_args()
    clusters = [int(number) for number in options.clusters.split(",")]
    weight = random_weight(options.rows, options.columns)
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    fast, slow = [], []
    for repeat in range(options.repeats):
        seconds, ours = timed(lambda: block_tails(weight, clusters))
        fast.append(seconds)
        seconds, (theirs, first) = timed(lambda: exact_tails(weight, clusters))
        slow.append(seconds)
        if repeat == 0:
            check_same(ours, theirs, first, gradient)
    print(machine())
    print(f"{options.rows} x {options.columns} float16, K = {options.clusters}, {options.repeats} repeats")
    print("same singular values and scores")
    print(f"torch.linalg.svd block by block:   {statistics.median(slow):.2f} s (median)")
    print(f"cti_edits.linalg.block_tails.block_tails: {statistics.median(fast):.2f} s (median)")
    print(f"ratio of the medians: {statistics.median(slow) / statistics.median(fast):.1f}")


if __name__ == "__main__":
    main()
