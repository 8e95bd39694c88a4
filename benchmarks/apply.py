"""What applying an edit costs: ``python -m benchmarks.apply``.

Truncates one random float16 weight of GPT-J's MLP input size, by `cti_edits.linalg.lowrank.truncate` and by torch's
singular value decomposition block by block, in turn. Prints times only if both ways gave the same matrix.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import torch

from benchmarks.demo import machine, timed
from cti_edits.artifact.ranks import block_ranks
from cti_edits.linalg.lowrank import assemble, decompose, truncate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384, help="output features")
    parser.add_argument("--columns", type=int, default=4096, help="input features")
    parser.add_argument("--clusters", type=int, default=2, help="row blocks, K")
    parser.add_argument("--rho", type=float, default=0.01, help="share of the ranks that is kept")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    options = parser.parse_args()
    shape = (options.rows, options.columns)
    weight = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02).half()
    ranks = block_ranks(shape, options.clusters, options.rho)
    fast, slow = [], []
    for _ in range(options.repeats):
        seconds, edited = timed(lambda: truncate(weight, ranks))
        fast.append(seconds)
        seconds, expected = timed(lambda: assemble(decompose(weight, len(ranks)), ranks, weight.dtype))
        slow.append(seconds)
        off = (edited.double() - expected.double()).abs()
        unit = (
            torch.finfo(weight.dtype).eps * expected.double().abs() + torch.finfo(weight.dtype).smallest_normal * 1e-3
        )
        share = float((off > 0).double().mean())
        if bool((off > unit).any()) or share > 1e-3:
            sys.exit(f"the two differ: by up to {float(off.max()):g}, in a share of {share:g} of the elements")
    print(machine())
    print(f"{shape[0]} x {shape[1]} float16, K = {options.clusters}, rho = {options.rho:g}, {options.repeats} repeats")
    print(f"same matrix; one rounding apart in a share of {share:.1e} of the elements")
    print(f"torch.linalg.svd block by block: {statistics.median(slow):.1f} s (median)")
    print(f"cti_edits.linalg.lowrank.truncate:      {statistics.median(fast):.1f} s (median)")
    print(f"ratio of the medians: {statistics.median(slow) / statistics.median(fast):.1f}")


if __name__ == "__main__":
    main()
