"""How often a search finds an edit where there is none: searches among candidates that are exactly as good as the base.

python -m studies.null_searches [--searches 2000]

Every candidate answers as the unedited model does on some of the rows, and like a coin of the same bias on the others.
The whole procedure runs on them: the best on the calibration rows wins (with --confirm M, the best of M on as many
fresh rows), is measured on held-out rows, and gets its verdict. Prints the share of each verdict with its interval, and
beside it how much the calibration figure, that of the fresh rows and BBC-CV are off.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cti_edits.search.candidates import Candidate
from cti_edits.search.confirmation import shortlist
from cti_edits.search.outcome import Outcome
from cti_edits.search.selection_bias import selection_corrected
from cti_edits.search.selectors import find_selector
from cti_edits.stats import mcnemar_p_value, paired_interval, verdict, wilson_interval

Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class NullSettings:
    """What is simulated.

    Attributes:
        searches: how many.
        candidates: of each.
        rows: that choose.
        test_rows: that are held out.
        accuracy: of the base and of every candidate.
        same: share of the rows on which a candidate answers as the base does.
        selector: what chooses.
        corrected: whether BBC-CV is taken, too.
        confirm: so many of the best are compared again on fresh rows, which choose; 0: none.
    """

    searches: int = 2000
    candidates: int = 180
    rows: int = 100
    test_rows: int = 1000
    accuracy: float = 0.5
    same: float = 0.5
    selector: str = "best"
    corrected: bool = True
    confirm: int = 0


@dataclass(frozen=True)
class NullSearch:
    """One of them.

    Attributes:
        calibration_gain: of the winner on the rows that chose it, or chose the few, points of accuracy from 0 to 1.
        confirmation_gain: of the winner on the fresh rows, if there were any.
        corrected_gain: the same by BBC-CV, if it was taken.
        word: the verdict on the held-out rows; "empty" where the unedited model won.
    """

    calibration_gain: float
    corrected_gain: float | None
    word: str
    confirmation_gain: float | None = None


@dataclass(frozen=True)
class Numbered(Candidate):
    """A candidate without a model, that changes the more, the larger its number."""

    number: int

    def __str__(self) -> str:
        return f"candidate {self.number}"


def null_searches(settings: NullSettings, seed: int = 0) -> list[NullSearch]:
    """Simulate searches among candidates none of which is better."""
    generator = np.random.default_rng(seed)
    return [_null_search(settings, generator) for _ in range(settings.searches)]


def _null_search(settings: NullSettings, generator: np.random.Generator) -> NullSearch:
    base, answers = _answers(settings, settings.rows, settings.candidates, generator)
    unedited = _outcome(None, base, generator)
    outcomes = [_outcome(Numbered(number), row, generator) for number, row in enumerate(answers)]
    selector, confirmation_gain = find_selector(settings.selector), None
    best = selector.winner([unedited, *outcomes])
    if settings.confirm and best.candidate is not None:
        few = shortlist(selector, unedited, outcomes, settings.confirm)
        base, answers = _answers(settings, settings.rows, len(few), generator)
        base_again = _outcome(None, base, generator)
        again = [_outcome(one.candidate, row, generator) for one, row in zip(few, answers, strict=True)]
        chosen = selector.winner([base_again, *again])
        confirmation_gain = chosen.accuracy - base_again.accuracy
        best = next((one for one in few if one.candidate == chosen.candidate), unedited)
    corrected = selection_corrected(unedited, outcomes) if settings.corrected else None
    gains = best.accuracy - unedited.accuracy, None if corrected is None else corrected.corrected - unedited.accuracy
    if best.candidate is None:
        return NullSearch(*gains, "empty", confirmation_gain)
    before, (after,) = _answers(settings, settings.test_rows, 1, generator)
    pair = before.tolist(), after.tolist()
    # The most frequent answer is right on far fewer rows, so that no gain is put down to it.
    majority = settings.accuracy / 4
    found = verdict(paired_interval(*pair), mcnemar_p_value(*pair), int(after.sum()), len(after), majority)
    return NullSearch(*gains, found.word, confirmation_gain)


def _answers(
    settings: NullSettings, rows: int, candidates: int, generator: np.random.Generator
) -> tuple[Booleans, Booleans]:
    """Right or wrong of the base, (rows,), and of candidates, (candidates, rows)."""
    base = generator.random(rows) < settings.accuracy
    own = generator.random((candidates, rows)) < settings.accuracy
    return base, np.where(generator.random((candidates, rows)) < settings.same, base, own)


def _outcome(candidate: Candidate | None, right: Booleans, generator: np.random.Generator) -> Outcome:
    changes = 1 + candidate.number if isinstance(candidate, Numbered) else 0
    return Outcome(candidate, float(right.mean()), float(generator.random()), tuple(right.tolist()), changes)


def summary(found: Sequence[NullSearch]) -> list[str]:
    """Lines for a person."""
    lines, counts = [], Counter(one.word for one in found)
    for word in ("better", "no evidence", "worse", "collapsed", "empty"):
        low, high = wilson_interval(counts[word], len(found))
        lines.append(
            f"{word}: {100 * counts[word] / len(found):.2f} % of {len(found)} searches "
            f"({100 * low:.2f} to {100 * high:.2f} %)"
        )
    gain = float(np.mean([one.calibration_gain for one in found]))
    lines.append(f"the calibration figure of the winner is off by {100 * gain:+.1f} points on average")
    again = [one.confirmation_gain for one in found if one.confirmation_gain is not None]
    if again:
        lines.append(f"that of the fresh rows by {100 * float(np.mean(again)):+.1f} points")
    corrected = [one.corrected_gain for one in found if one.corrected_gain is not None]
    if corrected:
        lines.append(f"that of BBC-CV by {100 * float(np.mean(corrected)):+.1f} points")
    return lines


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = NullSettings()
    for name in ("searches", "candidates", "rows", "test_rows", "confirm"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(default, name))
    for name in ("accuracy", "same"):
        parser.add_argument(f"--{name}", type=float, default=getattr(default, name))
    parser.add_argument("--corrected", action=argparse.BooleanOptionalAction, default=default.corrected)
    parser.add_argument("--selector", default=default.selector)
    parser.add_argument("--seed", type=int, default=0)
    chosen = vars(parser.parse_args())
    seed = chosen.pop("seed")
    print("\n".join(summary(null_searches(NullSettings(**chosen), seed))))


if __name__ == "__main__":
    main()
