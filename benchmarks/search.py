"""A whole search: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.search``.

The search of preset cl-100g-100e with the reference evaluator, and the same with the replay evaluator, each from an
empty cache of decompositions: they have to find the same edit. Then LASER's own protocol: every matrix at nine rates,
torch.svd_lowrank, one example at a time, on 20 % of the rows; timed on a few candidates and examples, and extrapolated.
At last the peak memory of the search in a process of its own.
"""

from __future__ import annotations

import argparse
import functools
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.demo import demo_lm, empty_cache, machine, quiet, timed

LASER_RATES = 9


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder (the demo model)")
    parser.add_argument("--task", default="fever")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16, help="of the reference evaluator")
    parser.add_argument("--rates", help="shares of the rank, joined by commas (the preset's nine)")
    parser.add_argument("--repeats", type=int, default=3, help="searches with the replay evaluator")
    parser.add_argument("--laser-candidates", type=int, default=10)
    parser.add_argument("--laser-examples", type=int, default=50)
    parser.add_argument("--include-path", help="folder with more tasks")
    parser.add_argument("--memory", action="store_true", help="only search once, and print the peak memory")
    options = parser.parse_args()
    if options.memory:
        print_memory(options)
        return
    lm = demo_lm(options.model, options.batch_size)
    slow, expected = from_empty_cache(lm, options, "reference")
    every, found = from_empty_cache(lm, options, "replay", exact_stop=False)
    check_same(found, expected)
    fast = []
    for _ in range(options.repeats):
        seconds, found = from_empty_cache(lm, options, "replay")
        fast.append(seconds)
        if found.edit.digest() != expected.edit.digest() or found.best.correct != expected.best.correct:
            sys.exit("the two searches found different edits")
    whole = statistics.median(fast)
    print(machine())
    tried = len(found.outcomes) + len(found.stopped)
    print(f"{options.task}, {tried} candidates, {options.samples} examples; same outcomes, same edit")
    print(f"search, replay evaluator: {whole:.0f} s (median of {options.repeats}; without exact stop {every:.0f} s)")
    print(f"search, reference evaluator, batches of {options.batch_size}: {slow:.0f} s; ratio {slow / whole:.1f}")
    print_laser(lm, options, whole)
    command = [sys.executable, "-m", "benchmarks.search", "--memory", *sys.argv[1:]]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="")


def check_same(found: Any, expected: Any) -> None:
    """Every candidate has to have the same predictions, and the same loss but for rounding."""
    for one, other in zip((found.unedited, *found.outcomes), (expected.unedited, *expected.outcomes), strict=True):
        same = (one.candidate, one.correct, one.predicted) == (other.candidate, other.correct, other.predicted)
        if not same or abs(one.nll - other.nll) > 1e-4:
            sys.exit(f"the two evaluators differ on {one.candidate}")


def from_empty_cache(
    lm: Any, options: argparse.Namespace, evaluator: Any, exact_stop: bool = True
) -> tuple[float, Any]:
    with empty_cache():
        return timed(lambda: searched(lm, options, evaluator, exact_stop))


def searched(lm: Any, options: argparse.Namespace, evaluator: Any, exact_stop: bool) -> Any:
    from cti_edits.harness.calibration import draw
    from cti_edits.harness.tasks import load_task
    from cti_edits.search.presets import find_preset, with_overrides
    from cti_edits.search.runner import run_search

    overrides: dict[str, object] = {"samples": options.samples}
    if options.rates:
        overrides["rates"] = tuple(float(rate) for rate in options.rates.split(","))
    settings = with_overrides(find_preset("cl-100g-100e").settings(lm.kind), overrides)
    calibration = draw(load_task(options.task, options.include_path), options.samples, seed=0)
    return run_search(lm, calibration, settings, "timed", "timed", evaluator=evaluator, exact_stop=exact_stop)


def print_laser(lm: Any, options: argparse.Namespace, whole: float) -> None:
    """Time LASER's protocol on a few candidates and examples, and extrapolate to all of them."""
    import torch

    from cti_edits.harness.calibration import draw, validation_part
    from cti_edits.harness.tasks import load_task
    from cti_edits.models.apply import target_matrices
    from cti_edits.replay.session import replaced_weight

    task = load_task(options.task, options.include_path)
    rows = len(validation_part(task).doc_ids)
    examples = draw(task, options.laser_examples, seed=0).gold
    targets = target_matrices(lm.model, ("U_in", "U_out"))
    step = max(1, len(targets) // options.laser_candidates)
    cuts, passes = [], []
    for target in targets[::step][: options.laser_candidates]:
        begun = time.perf_counter()
        rank = max(1, min(target.weight.shape) // 10)
        u, s, v = torch.svd_lowrank(target.weight.float(), q=rank, niter=2)
        edited = ((u * s) @ v.T).to(target.weight.dtype)
        cuts.append(time.perf_counter() - begun)
        with replaced_weight(target, edited), torch.no_grad():
            for request in examples:
                passes.append(timed(functools.partial(lm.answer_losses, [request]))[0])
    candidates = len(targets) * LASER_RATES
    total = candidates * (statistics.median(cuts) + rows * statistics.median(passes))
    print(
        f"LASER's protocol, {len(cuts)} candidates x {len(examples)} examples timed: {statistics.median(passes):.3f} s "
        f"an example; extrapolated to {candidates} candidates x {rows} examples: {total / 3600:.1f} h; "
        f"ratio {total / whole:.0f}"
    )


def print_memory(options: argparse.Namespace) -> None:
    """Search in this process, and print what it and the weights take."""
    lm = demo_lm(options.model, options.batch_size)
    weights = sum(parameter.nbytes for parameter in lm.model.parameters())
    from_empty_cache(lm, options, "replay")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak memory of the whole process: {peak / 2**30:.2f} GiB, weights {weights / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
