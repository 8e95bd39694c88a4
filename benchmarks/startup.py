"""What the .pth adds to an interpreter start: ``python benchmarks/startup.py``.

Starts this interpreter with and without it, in turn, and prints the median of the differences.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path


def start_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="how many starts with and without")
    pairs = parser.parse_args().pairs
    path = Path(sysconfig.get_path("purelib")) / "cti_edits_lm_eval.pth"
    away = path.with_suffix(".off")
    differences = []
    for _ in range(pairs):
        with_it = start_seconds()
        path.rename(away)
        try:
            differences.append(with_it - start_seconds())
        finally:
            away.rename(path)
    print(f"{platform.platform()}, Python {platform.python_version()}, {pairs} pairs")
    print(f"the .pth adds {1000 * statistics.median(differences):.2f} ms to an interpreter start (median)")


if __name__ == "__main__":
    main()
