"""How the time of a search grows: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.growth --picture growth.svg``.

With the number of samples, with the number of candidates, and, for one evaluation, with the depth of the edited layer.
Prints a table, and draws it with matplotlib if it is told where.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from pathlib import Path
from typing import Any

from benchmarks.demo import demo_lm, empty_cache, machine, quiet, timed

Curve = list[tuple[int, float]]


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder (the demo model)")
    parser.add_argument("--task", default="fever")
    parser.add_argument("--samples", default="50,100,200,400")
    parser.add_argument("--rates", default="1,3,9", help="how many rates are tried, four matrices each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--picture", type=Path, help="an .svg or .png file")
    parser.add_argument("--include-path", help="folder with more tasks")
    options = parser.parse_args()
    lm = demo_lm(options.model)
    by_samples = [(count, searched(lm, options, count, 3)[0]) for count in numbers(options.samples)]
    by_candidates = []
    for rates in numbers(options.rates):
        seconds, tried = searched(lm, options, numbers(options.samples)[0], rates)
        by_candidates.append((tried, seconds))
    by_layer = evaluated(lm, options)
    curves = {"samples": by_samples, "candidates": by_candidates, "layer": by_layer}
    print(machine())
    for what, curve in curves.items():
        print(f"{what:>10}: " + ", ".join(f"{x}: {seconds:.2f} s" for x, seconds in curve))
    if options.picture:
        draw_curves(curves, options.picture)
        print(f"wrote {options.picture}")


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def searched(lm: Any, options: argparse.Namespace, samples: int, rates: int) -> tuple[float, int]:
    """Median seconds of a whole search, with no decomposition cached, and how many candidates it tried."""
    from cti_edits.harness.calibration import draw
    from cti_edits.harness.tasks import load_task
    from cti_edits.search.runner import run_search
    from cti_edits.search.settings import RATES, SearchSettings

    settings = SearchSettings(samples=samples, top_q=2, clusters=(2, 8), rates=RATES[:rates])
    calibration = draw(load_task(options.task, options.include_path), samples, seed=0)
    search = functools.partial(run_search, lm, calibration, settings, "timed", "timed", exact_stop=False)
    seconds = []
    for _ in range(options.repeats):
        with empty_cache():
            taken, found = timed(search)
        seconds.append(taken)
    return statistics.median(seconds), len(found.outcomes)


def evaluated(lm: Any, options: argparse.Namespace) -> Curve:
    """Median seconds of one evaluation from each layer on, the states that enter it being there."""
    from cti_edits.harness.calibration import draw
    from cti_edits.harness.tasks import load_task
    from cti_edits.replay.replay_evaluator import ReplayEvaluator

    calibration = draw(load_task(options.task, options.include_path), numbers(options.samples)[0], seed=0)
    evaluator = ReplayEvaluator(lm, calibration)
    evaluator.evaluate()
    curve = []
    for layer in range(lm.model.config.num_hidden_layers):
        evaluator.evaluate(layer)
        measure = functools.partial(evaluator.evaluate, layer)
        curve.append((layer, statistics.median(timed(measure)[0] for _ in range(options.repeats))))
    return curve


def draw_curves(curves: dict[str, Curve], target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(10, 3), layout="constrained")
    whats = {"samples": "a search", "candidates": "a search", "layer": "one evaluation"}
    for axis, (what, curve) in zip(axes, curves.items(), strict=True):
        axis.plot([x for x, _ in curve], [seconds for _, seconds in curve], marker="o", markersize=3)
        axis.set_xlabel(what if what != "layer" else "edited layer")
        axis.set_ylabel(f"seconds of {whats[what]}")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
