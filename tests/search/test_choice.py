"""The winner is the same with and without exact stop, whatever accuracies and losses come."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cti_edits.harness.evaluation import NLL_STEP, NotFiniteError, StopRule
from cti_edits.search.candidates import Candidate, MatrixId, RankCut
from cti_edits.search.choice import Choice, Evaluate, choose
from cti_edits.search.outcome import Outcome
from cti_edits.search.selectors import BEST, find_selector

Examples = tuple[tuple[bool, float], ...]
"""Right or wrong, and the loss, of each example."""

N = 4


@dataclass(frozen=True)
class Case:
    """What a candidate gives when it is tried, and when it is measured again with the weight that is applied."""

    tried: Examples
    applied: Examples
    added: int


def outcome(candidate: Candidate | None, examples: Examples, added: int) -> Outcome:
    correct = tuple(right for right, _ in examples)
    nll = round(round(sum(loss for _, loss in examples) / N / NLL_STEP) * NLL_STEP, 12)
    return Outcome(candidate, sum(correct) / N, nll, correct, added)


def candidate(number: int) -> RankCut:
    return RankCut(MatrixId(number, "U_in"), 1, 0.5)


def chosen(
    unedited: Examples,
    cases: list[Case],
    order: list[int],
    exact_stop: bool,
    broken: Collection[int] = (),
    late: bool = False,
    only: Collection[int] | None = None,
) -> Choice:
    """Candidates are evaluated in ``order``, an example at a time.

    Args:
        unedited: of the unedited model.
        cases: of the candidates.
        order: in which they are evaluated.
        exact_stop: whether those that cannot win are stopped.
        broken: those that give a loss that is no number.
        late: whether they do so only when they are measured again.
        only: those that there are; all if None.
    """
    numbers: dict[Candidate, int] = {
        candidate(number): number for number in range(len(cases)) if only is None or number in only
    }

    def evaluate(number: int) -> Evaluate:
        def run(stop: StopRule | None) -> Outcome | None:
            examples = cases[number].tried
            for done in range(1, N):
                wrong = sum(not right for right, _ in examples[:done])
                if stop is not None and stop(wrong, sum(loss for _, loss in examples[:done])):
                    return None
            if number in broken and not late:
                raise NotFiniteError(f"candidate {number}")
            return outcome(candidate(number), examples, cases[number].added)

        return run

    def passes(wanted: Collection[Candidate]) -> Iterator[tuple[Candidate, Evaluate]]:
        for number in order:
            if candidate(number) in wanted:
                yield candidate(number), evaluate(number)

    def as_applied(found: Outcome) -> Outcome:
        assert found.candidate is not None
        if numbers[found.candidate] in broken:
            raise NotFiniteError(str(found.candidate))
        case = cases[numbers[found.candidate]]
        return outcome(found.candidate, case.applied, case.added)

    return choose(outcome(None, unedited, 0), list(numbers), passes, as_applied, exact_stop, find_selector(BEST))


# Few values, so that accuracies and losses tie often, and steps about the one that they are rounded to.
losses = st.sampled_from([0.0, 1e-7, 4e-7, 5e-7, 1e-6, 2e-6, 2.5e-6, 0.5])
examples = st.tuples(*[st.tuples(st.booleans(), losses)] * N)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    tried = draw(examples)
    return Case(tried, draw(st.one_of(st.just(tried), examples)), draw(st.sampled_from([-2, -1])))


@given(examples, st.lists(cases(), min_size=1, max_size=6), st.data())
def test_the_winner_is_the_same(unedited: Examples, found: list[Case], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(found))))
    exact, every = (chosen(unedited, found, order, stops) for stops in (True, False))
    assert exact.best == every.best
    assert every.stopped == ()
    assert [one.candidate for one in every.outcomes] == [candidate(number) for number in range(len(found))]
    assert set(exact.outcomes) <= set(every.outcomes)
    assert {*(one.candidate for one in exact.outcomes), *exact.stopped} == {one.candidate for one in every.outcomes}


RIGHT, WRONG = (True, 0.5), (False, 0.5)


def test_what_was_stopped_against_figures_that_do_not_last_is_evaluated_after_all() -> None:
    """The first is ahead as it is tried, and behind as it is applied; the second was stopped in between."""
    unedited = (WRONG,) * N
    first = Case((RIGHT,) * N, (WRONG,) * N, 0)
    second = Case((WRONG, RIGHT, RIGHT, RIGHT), (WRONG, RIGHT, RIGHT, RIGHT), 0)
    third = Case((WRONG, WRONG, RIGHT, WRONG), (RIGHT,) * N, 0)
    for stops in (True, False):
        result = chosen(unedited, [first, second, third], [0, 1, 2], stops)
        assert result.best.candidate == candidate(1)
        assert result.best.accuracy == 0.75


def test_of_equals_the_first_candidate_wins_in_whatever_order_they_are_evaluated() -> None:
    same = Case((RIGHT, WRONG, RIGHT, RIGHT), (RIGHT, WRONG, RIGHT, RIGHT), -1)
    for stops in (True, False):
        assert chosen((WRONG,) * N, [same, same], [1, 0], stops).best.candidate == candidate(0)


@given(examples, st.lists(cases(), min_size=1, max_size=5), st.sets(st.integers(0, 4)), st.data())
def test_what_gives_no_number_never_wins_and_the_others_are_as_without_it(
    unedited: Examples, found: list[Case], broken: set[int], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(found))))
    rest = [number for number in order if number not in broken]
    late = data.draw(st.booleans())
    for stops in (True, False):
        with_it = chosen(unedited, found, order, stops, broken, late)
        without = chosen(unedited, found, rest, stops, only=rest)
        assert with_it.best == without.best
        assert not {one.candidate for one in with_it.outcomes} & set(with_it.failed)
        assert set(with_it.failed) <= {candidate(number) for number in broken}
        assert stops or late or len(with_it.failed) == len(broken & set(order))
        every = [*(one.candidate for one in with_it.outcomes), *with_it.stopped, *with_it.failed]
        assert len(every) == len(found) == len(set(every))
