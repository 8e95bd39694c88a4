"""Which matrices a selector keeps, and what is refused of a plugin's."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.evaluation import StopRule
from cti_edits.search.candidates import Candidate, MatrixId, RankCut
from cti_edits.search.choice import Evaluate, choose
from cti_edits.search.outcome import Outcome, cannot_win
from cti_edits.search.selectors import Selector, find_selector, kept_matrices
from tests.support.installed_plugins import InstalledPlugins

A, B, C = (MatrixId(layer, "U_in") for layer in range(3))
SCORES = {1: {A: -1.0, B: -3.0, C: -2.0}, 2: {A: -5.0, B: 0.0, C: -5.0}}
SELECTOR = """
from cti_edits.hookspecs import hookimpl
from cti_edits.search.candidates import MatrixId
from cti_edits.search.selectors import Selector

@hookimpl
def selectors():
    return [Selector("mine", "mine", {arguments})]
"""


def test_best_keeps_the_lowest_scores_of_each_k() -> None:
    assert kept_matrices(SCORES, 2) == {1: [B, C], 2: [A, C]}
    assert find_selector("best").cannot_win is cannot_win
    assert Selector("other", "").cannot_win is None


def add(folder: InstalledPlugins, arguments: str) -> None:
    folder.add("chooser", SELECTOR.replace("{arguments}", arguments))


def test_a_plugins_selector_keeps_what_it_says(plugin_folder: InstalledPlugins) -> None:
    add(plugin_folder, "keep=lambda scores, top_q: {2: sorted(scores[1], key=scores[1].get)[:top_q]}")
    assert kept_matrices(SCORES, 2, "mine") == {2: [B, C]}


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        ("{1: [MatrixId(7, 'U_in')]}", "ValueError: it keeps a matrix at K = 1 that has no score"),
        ("{3: list(scores[1])}", "ValueError: it keeps a matrix at K = 3 that has no score"),
        ("{1: [], 2: []}", "ValueError: it keeps no matrix"),
        ("{1: list(scores[1]) * 2}", "ValueError: it keeps a matrix twice at K = 1"),
        ("None", "AttributeError: 'NoneType' object"),
        ("scores[99]", "KeyError: 99"),
    ],
)
def test_what_cannot_be_tried_names_the_plugin(plugin_folder: InstalledPlugins, keep: str, reason: str) -> None:
    add(plugin_folder, f"keep=lambda scores, top_q: {keep}")
    with pytest.raises(EditError) as refusal:
        kept_matrices(SCORES, 2, "mine")
    assert str(refusal.value).startswith(f"the selector 'mine' of the plugin 'chooser' (chooser 1.0) failed: {reason}")


def outcome(candidate: Candidate | None, correct: int) -> Outcome:
    return Outcome(candidate, correct / 4, 1.0, (True,) * correct + (False,) * (4 - correct), 0)


@pytest.mark.parametrize("exact_stop", [True, False])
def test_the_winner_is_the_selectors_and_nothing_is_stopped(plugin_folder: InstalledPlugins, exact_stop: bool) -> None:
    add(plugin_folder, "winner=lambda outcomes: sorted(outcomes, key=lambda one: one.accuracy)[1]")
    tried = [RankCut(target, 1, 0.5) for target in (A, B, C)]
    given: dict[Candidate, int] = dict(zip(tried, (4, 2, 3), strict=True))
    asked: list[object] = []

    def evaluate(candidate: Candidate, stop: StopRule | None) -> Outcome:
        asked.append(stop)
        return outcome(candidate, given[candidate])

    def passes(wanted: Collection[Candidate]) -> Iterator[tuple[Candidate, Evaluate]]:
        for candidate in wanted:
            yield candidate, functools.partial(evaluate, candidate)

    found = choose(
        outcome(None, 1),
        tried,
        passes,
        lambda won: won,
        exact_stop,
        find_selector("mine"),
    )
    assert found.best.candidate == tried[1]
    assert (asked, found.stopped) == ([None] * 3, ())


def test_a_winner_that_is_no_outcome_is_refused(plugin_folder: InstalledPlugins) -> None:
    add(plugin_folder, "winner=lambda outcomes: None")
    tried = RankCut(A, 1, 0.5)
    with pytest.raises(EditError, match=r"the selector 'mine' of .* failed: ValueError: expected the winner to be one"):
        choose(
            outcome(None, 1),
            [tried],
            lambda _: iter([(tried, lambda _: outcome(tried, 2))]),
            lambda won: won,
            True,
            find_selector("mine"),
        )
