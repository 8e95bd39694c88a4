"""What a layer costs that runs an edit's factors: ``python -m benchmarks.factored_layer``.

Cuts one random float32 weight to its edited rank, and runs the dense edited layer and the layer of its factors in
turn, for one token and for 64. Prints times only if both give the same outputs, and what the edit takes as a file: as a
recipe and with its factors.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.demo import machine
from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, Factors
from cti_edits.artifact.ranks import block_ranks
from cti_edits.linalg.factors import factored_blocks, weight_of_blocks
from cti_edits.methods.factored_linear import FactoredLinear
from cti_edits.models.factor_file import factor_bytes
from cti_edits.models.footprint import TOKENS, layer_size, median_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384, help="output features")
    parser.add_argument("--columns", type=int, default=4096, help="input features")
    parser.add_argument("--clusters", type=int, default=4, help="row blocks, K")
    parser.add_argument("--rho", type=float, default=0.05, help="share of the ranks that is kept")
    parser.add_argument("--seconds", type=float, default=10.0, help="least time that each number of tokens is run for")
    options = parser.parse_args()
    shape = (options.rows, options.columns)
    ranks = block_ranks(shape, options.clusters, options.rho)
    torch.manual_seed(0)
    dense = torch.nn.Linear(options.columns, options.rows)
    blocks = factored_blocks(dense.weight, ranks)
    layer = FactoredLinear(blocks, "row-blocks", dense)
    with torch.no_grad():
        dense.weight.copy_(weight_of_blocks(blocks, options.rows, torch.float32))
    one = BlockSvdEdit(
        matrix="U_in",
        layer=0,
        module="layers.0.fc",
        shape=shape,
        rho=options.rho,
        clusters=options.clusters,
        block_ranks=ranks,
    )
    size = layer_size(one)
    print(machine())
    print(f"{shape[0]} x {shape[1]} float32, K = {options.clusters}, rho = {options.rho:g}, ranks {ranks}")
    print(f"parameters: {size.factored:,} of {size.dense:,}, {100 * size.share:.1f} %")
    with torch.inference_mode():
        for tokens in TOKENS:
            inputs = torch.randn(tokens, options.columns)
            expected, found = dense(inputs), layer(inputs)
            off = float((found - expected).abs().max() / expected.abs().max())
            if off > 1e-5:
                sys.exit(f"the two differ: by up to {off:g} of the largest output")
            fast, slow = median_seconds((lambda x=inputs: layer(x), lambda x=inputs: dense(x)), seconds=options.seconds)  # type: ignore[misc]
            print(
                f"{tokens} token{'s' if tokens > 1 else ''}: dense {1000 * slow:.2f} ms, factors {1000 * fast:.2f} ms "
                f"(medians), ratio {slow / fast:.1f}; outputs differ by {off:.0e} of the largest"
            )
    content = factor_bytes({one.module: blocks})
    file = Factors("benchmark.safetensors", "0" * 64, len(content))
    for what, factors in (("recipe", None), ("packed", file)):
        edit = Edit(
            "benchmark",
            "",
            BaseModel("some/model", "0" * 40, "SomeForCausalLM", "float32"),
            (BlockSvdEdit(**{**vars(one), "sha256": "0" * 64, "frobenius_norm": 1.0, "factors": factors}),),
        )
        with tempfile.TemporaryDirectory() as folder:
            manifest = edit.write(Path(folder) / "edit.json").stat().st_size
        print(f"{what}: manifest {manifest:,} bytes" + (f", factors {len(content):,} bytes" if factors else ""))


if __name__ == "__main__":
    main()
