"""What each speed device brings by itself: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.devices``.

Each piece of work is done with a device and without it, in turn, in one process, and has to give the same both times.
Without it means the plainest replacement: another argument, or one function that is replaced from here. Everything else
stays as it is, so that a ratio says what would be lost if that device alone were deleted. Some lines have a second
replacement: a simpler device in its place.

Evaluations are of a candidate in the first, a middle and the last layer, seconds added up; the seconds that it takes to
come to a layer are left out, since all candidates of the layer share them. ``--only`` names devices, joined by commas.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.demo import demo_lm, empty_cache, machine, quiet
from benchmarks.devices import linalg, replay
from benchmarks.devices.work import Comparison, Work, seconds_text

DEVICES = {**replay.DEVICES, **linalg.DEVICES}

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timed:
    """Seconds of one part by each way, run after run."""

    part: str
    seconds: dict[str, list[float]]
    details: dict[str, str]


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", help="devices, joined by commas (all)")
    parser.add_argument("--model", help="checkpoint folder (the demo model)")
    parser.add_argument("--tasks", default="fever,qa_wikidata,counterfact")
    parser.add_argument("--written", default="qa_wikidata,counterfact", help="those whose answers are written")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--rates", default="0.9,0.4,0.1", help="of a search with exact stop")
    parser.add_argument("--rows", type=int, default=4096, help="output features of a big matrix")
    parser.add_argument("--columns", type=int, default=16384, help="its input features")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--processor", action="store_true", help="seconds of the processor: with one thread, where others work, too"
    )
    parser.add_argument("--include-path", help="folder with more tasks")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(DEVICES)
    if unknown := sorted(set(names) - set(DEVICES)):
        sys.exit(f"no device {', '.join(unknown)}; there are {', '.join(DEVICES)}")
    print(machine())
    print(f"{options.samples} examples of each task; medians of {options.repeats}, ratios with the least and the most")
    print()
    print("| device | work | with it | without, or instead of it | | ratio | parts |")
    print("| --- | --- | ---: | --- | ---: | ---: | --- |")
    clock = time.process_time if options.processor else time.perf_counter
    work = Work(options, demo_lm(options.model))
    with empty_cache():
        for name in names:
            print_device(name, DEVICES[name](work), options.repeats, clock)


def print_device(name: str, comparisons: Iterable[Comparison], repeats: int, clock: Clock) -> None:
    """The lines of a device: one for each work and way without it."""
    for work, parts in itertools.groupby(comparisons, key=lambda one: one.work):
        found = [timed_part(name, part, repeats, clock) for part in parts]
        first, *others = found[0].seconds
        for way in others:
            totals = {one: sum(statistics.median(part.seconds[one]) for part in found) for one in (first, way)}
            runs = [
                sum(others) / sum(firsts)
                for firsts, others in zip(
                    zip(*(part.seconds[first] for part in found), strict=True),
                    zip(*(part.seconds[way] for part in found), strict=True),
                    strict=True,
                )
            ]
            ratio = f"{statistics.median(runs):.2f} ({min(runs):.2f} to {max(runs):.2f})"
            each = ", ".join(described(part, first, way) for part in found)
            cells = [name, work, seconds_text(totals[first]), way, seconds_text(totals[way]), ratio, each]
            print(f"| {' | '.join(cells)} |", flush=True)


def described(part: Timed, first: str, way: str) -> str:
    ratio = statistics.median(part.seconds[way]) / statistics.median(part.seconds[first])
    details = [part.details[one] for one in (way, first) if one in part.details]
    return " ".join(filter(None, (part.part, f"{ratio:.2f}", " to ".join(details))))


def timed_part(device: str, comparison: Comparison, repeats: int, clock: Clock) -> Timed:
    """Every way in turn, so many times."""
    seconds: dict[str, list[float]] = {way: [] for way in comparison.ways}
    details: dict[str, str] = {}
    for _ in range(1 if comparison.once else repeats):
        expected: Any = None
        for number, (way, run) in enumerate(comparison.ways.items()):
            begun = clock()
            found = run()
            seconds[way].append(clock() - begun)
            if number == 0:
                expected = found
            elif not comparison.same(expected, found):
                sys.exit(f"{device}, {comparison.work}, {comparison.part}: other results by {way}")
            if comparison.detail is not None:
                details[way] = comparison.detail(found)
    return Timed(comparison.part, seconds, details)


if __name__ == "__main__":
    main()
