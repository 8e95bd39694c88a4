"""Whether ``--screen`` predicts anything: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.screening``.

For each task, the rank correlation (Spearman) of the predicted first-order change of the loss with the true one, over
the candidates of a search; and which place the one that wins among all of them has by its prediction.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.demo import demo_lm, machine, quiet


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder (the demo model)")
    parser.add_argument("--tasks", default="fever,truthfulqa,counterfact")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--top-q", type=int, default=3)
    parser.add_argument("--clusters", default="1,4")
    parser.add_argument("--include-path", help="folder with more tasks")
    options = parser.parse_args()
    lm = demo_lm(options.model)
    print(machine())
    for name in options.tasks.split(","):
        print(line(lm, name, options), flush=True)


def line(lm: Any, name: str, options: argparse.Namespace) -> str:
    from scipy.stats import spearmanr

    from cti_edits.harness.calibration import draw, load_task
    from cti_edits.linalg.spectrum_cache import SpectrumCache
    from cti_edits.models.apply import target_matrices
    from cti_edits.progress import Silent
    from cti_edits.replay.evaluator import evaluator_of
    from cti_edits.search.evaluations import EditedWeights, evaluate
    from cti_edits.search.scoring import rank_matrices
    from cti_edits.search.screening import predicted_changes
    from cti_edits.search.space import RATES, MatrixId, Outcome, SearchSettings, candidates

    settings = SearchSettings(clusters=tuple(int(part) for part in options.clusters.split(",")))
    calibration = draw(load_task(name, options.include_path), options.samples, seed=0)
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, settings.matrices)}
    weights = EditedWeights(targets, SpectrumCache())
    kept = rank_matrices(lm, calibration, settings, options.top_q, targets, weights.cache, Silent())
    groups = candidates(kept, RATES)
    predicted = predicted_changes(lm, calibration, weights, groups, 16, Silent())
    evaluator = evaluator_of("replay", lm, calibration, Silent())
    found = evaluate(evaluator, weights, groups, exact_stop=False, progress=Silent())
    tried = [outcome.candidate for outcome in found.outcomes if outcome.candidate is not None]
    true = [outcome.nll - found.unedited.nll for outcome in found.outcomes]
    all_of_them = float(spearmanr([predicted[one] for one in tried], true).statistic)
    mild = [(predicted[one], change) for one, change in zip(tried, true, strict=True) if one.rho >= RATES[2]]
    of_mild = float(spearmanr(*zip(*mild, strict=True)).statistic)
    winner = min(found.outcomes, key=Outcome.order)
    place = sorted(tried, key=lambda one: predicted[one]).index(winner.candidate) + 1  # type: ignore[arg-type]
    return (
        f"{name}: {len(tried)} candidates; rank correlation {all_of_them:+.2f}, of those with rho >= {RATES[2]} "
        f"{of_mild:+.2f}; the best candidate comes {place} by its prediction"
    )


if __name__ == "__main__":
    main()
