"""What was measured of an edit, in lines: held-out rows, what stands beside them, other text, then rows that chose."""

from __future__ import annotations

from collections.abc import Iterator

from cti_edits.artifact.records import Guard, LabelBias, Measurement, RandomControl, Results, SelectionCorrected
from cti_edits.errors import printable
from cti_edits.stats import wilson_interval

Line = tuple[str, object]
"""A key and its value. A key alone is a heading, the keys below it are indented."""

BASE, EDITED = "base model", "edited"

FEW_CHOSEN = "these rows chose the edit among the best few candidates, which flatters it a little"

NOT_MEASURED = "not measured on rows that the search did not see"


def result_lines(results: Results) -> Iterator[Line]:
    """All measurements of a manifest. The figure of the rows that chose an edit never stands alone."""
    for part in (held_out_lines(results), guard_lines(results), confirmation_lines(results)):
        lines = list(part)
        if lines:
            yield "", ""
        yield from lines
    if results.calibration is not None:
        yield "", ""
        yield from measurement_lines("calibration", results.calibration)
        yield "  mind", "these rows chose the edit, and their figures flatter it"
        if results.test is None:
            yield "  test", NOT_MEASURED
        if results.bbc_cv is not None:
            yield "  BBC-CV", bbc_cv_text(results.bbc_cv)


def held_out_lines(results: Results) -> Iterator[Line]:
    """The measurement on the test part, and what stands beside it."""
    if results.test is None:
        return
    yield from measurement_lines("test part", results.test, judged=True)
    if results.control is not None:
        yield "  control", control_text(results.control, results.test)
    if results.label_bias is not None:
        yield "  label bias", label_bias_text(results.label_bias)


def guard_lines(results: Results) -> Iterator[Line]:
    """What the edit does to other text."""
    if results.guard is not None:
        yield "other text", guard_text(results.guard)


def confirmation_lines(results: Results) -> Iterator[Line]:
    """The measurement on the fresh rows by which the winner was chosen among the best."""
    if results.confirmation is not None:
        yield from measurement_lines("confirmation", results.confirmation)
        yield "  mind", FEW_CHOSEN


def measurement_lines(part: str, measured: Measurement, judged: bool = False) -> Iterator[Line]:
    """A measurement of a manifest: both accuracies with intervals, the majority class, the difference.

    Args:
        part: which rows they are.
        measured: the figures.
        judged: whether to give the verdict, which is only for rows that the search did not see.
    """
    n = measured.n
    yield f"{part}: {n} examples; intervals are of 95 %", ""
    verdict = measured.verdict() if judged else None
    if verdict is not None:
        yield "  verdict", f"{verdict.word}: {verdict.reason}"
    for name, accuracy in ((BASE, measured.baseline), (EDITED, measured.edited)):
        low, high = wilson_interval(round(accuracy * n), n)
        yield f"  {name}", f"{100 * accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
    yield "  majority", f"{100 * measured.majority_class:.1f} % by always giving the most frequent answer"
    difference = f"{100 * (measured.edited - measured.baseline):+.1f} points"
    if measured.ci95 is not None:
        difference += " ({:+.1f} to {:+.1f})".format(*(100 * end for end in measured.ci95))
    if measured.p_value is not None:
        difference += f", exact McNemar p = {measured.p_value:.3g}"
    if measured.records is not None:
        difference += f"; the rows are of {measured.records} records"
    yield "  difference", difference
    for name, nll in ((BASE, measured.baseline_nll), (EDITED, measured.edited_nll)):
        if nll is not None:
            yield f"  NLL {name.removesuffix(' model')}", f"{nll:.4f}"
    if measured.labels is not None:
        answers = ((BASE, measured.baseline_answers), (EDITED, measured.edited_answers))
        for name, counts in answers:
            if counts is not None and len(counts) == len(measured.labels):
                total = max(1, sum(counts))
                shares = zip(measured.labels, counts, strict=True)
                text = ", ".join(f"{100 * count / total:.1f} % {printable(label)}" for label, count in shares)
                yield f"  {name.removesuffix(' model')} says", text


def cut_short_text(seconds: float) -> str:
    """Of a search that had no more time."""
    return f"The search was cut short after {seconds:g} s: there were more candidates, which might have won."


def control_text(control: RandomControl, test: Measurement) -> str:
    """The random edits beside the one that was found."""
    draws, low, high = control.edited, min(control.edited), max(control.edited)
    beaten = len([one for one in draws if test.edited > one])
    return (
        f"{len(draws)} random edits of the same size: {100 * low:.1f} to {100 * high:.1f} %, "
        f"on average {100 * sum(draws) / len(draws):.1f} %; the edit is above {beaten} of them"
    )


def bbc_cv_text(found: SelectionCorrected) -> str:
    """The calibration figure without what choosing the best of many adds."""
    low, high = found.ci95
    return (
        f"{100 * found.corrected:.1f} % without what choosing one of {found.candidates} adds, "
        f"{100 * low:+.1f} to {100 * high:+.1f} points beside the base model"
    )


def guard_text(guard: Guard) -> str:
    """What the edit does to text that has nothing to do with its task."""
    return (
        f"KL {guard.kl:.4f} nats a token, perplexity {guard.baseline_perplexity:.2f} without and "
        f"{guard.edited_perplexity:.2f} with the edit ({guard.tokens:,} tokens, {printable(guard.text)})"
    )


def label_bias_text(found: LabelBias) -> str:
    """The correction that needs no edit, and whether it does as well."""
    low, high = found.ci95
    as_well = "use that: the edit is not shown to do more" if found.does_as_well else "the edit does more"
    return (
        f"{100 * found.corrected:.1f} % without an edit, by adding a number to the likelihood of each label; the edit "
        f"minus this {100 * low:+.1f} to {100 * high:+.1f} points; {as_well}"
    )
