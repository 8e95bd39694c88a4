"""The outcomes of candidates that a search log has, and those that come to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NotFiniteError, StopRule
from cti_edits.search.candidates import Candidate
from cti_edits.search.log_values import fields_of, outcome_from, outcome_json
from cti_edits.search.outcome import Outcome
from cti_edits.search.search_log import Steps
from cti_edits.search.settings import SearchSettings


def meaning(settings: SearchSettings) -> dict[str, Any]:
    """What a candidate's own fields leave open and a wider search may change; so that both are not taken for one.

    A rank cut says all of itself. Which N directions are changed depends on the matrices that they were chosen from. Of
    a plugin's candidate nothing is known.
    """
    if settings.cuts_ranks:
        return {}
    if settings.method == DirectionsEdit.METHOD:
        return {"matrices": list(settings.matrices), "stack": settings.stack, "clusters": list(settings.clusters)}
    return {"settings": {name: list(v) if isinstance(v, tuple) else v for name, v in vars(settings).items()}}


class LoggedOutcomes:
    """Outcomes on some rows, in batches of one size, since the last bits depend on that."""

    def __init__(self, steps: Steps, batch_tokens: int | None) -> None:
        """Look at those in a log.

        Args:
            steps: of the search, on these rows, with the `meaning` of its candidates.
            batch_tokens: tokens of a batch, at most.
        """
        self._steps = steps.under(batch_tokens=batch_tokens)
        self._outdated: set[Candidate] = set()

    def check_unedited(self, unedited: Outcome) -> None:
        """The unedited model gives what it gave when the log was begun, or the log is of no use.

        Raises:
            EditError: it does not.
        """
        known = self._steps.get("unedited", {}, lambda value: outcome_from(None, value))
        if known is None:
            self._steps.put("unedited", ({}, outcome_json(unedited)))
        elif known != unedited:
            raise EditError(
                "the unedited model gives other figures here than where this search was begun, accuracy "
                f"{unedited.accuracy:.4g} and NLL {unedited.nll:.7g}, not {known.accuracy:.4g} and {known.nll:.7g}: "
                "another machine, or another number of threads; begin anew (fresh)"
            )

    def has(self, candidate: Candidate) -> bool:
        """Whether a candidate need not be evaluated, as far as is known."""
        return self._known(candidate, False) is not None

    def recalled(self, candidate: Candidate, stop: StopRule | None) -> Outcome | None:
        """The outcome of a candidate that `has` is true of; None where it was stopped.

        It was stopped against the leader of that time. Where that is no reason to stop any more, `has` is false of it
        from now on.

        Raises:
            NotFiniteError: a loss is not finite with it.
        """
        known = self._known(candidate, False)
        if isinstance(known, _Stopped) and not (stop is not None and stop(known.wrong, known.loss)):
            self._outdated.add(candidate)
        return _outcome(known)

    def evaluated(
        self,
        candidate: Candidate,
        evaluate: Callable[[StopRule | None], Outcome | None],
        stop: StopRule | None = None,
    ) -> Outcome | None:
        """What ``evaluate`` gives, which is None where ``stop`` stopped it. It is in the log when this returns.

        Raises:
            NotFiniteError: a loss is not finite with it.
        """
        return self._kept(candidate, False, evaluate, stop)

    def as_applied(self, candidate: Candidate, evaluate: Callable[[StopRule | None], Outcome | None]) -> Outcome | None:
        """What ``evaluate`` gives with the very weights that `apply.apply` computes, or what the log has of that.

        Raises:
            NotFiniteError: a loss is not finite with it.
        """
        known = self._known(candidate, True)
        return self._kept(candidate, True, evaluate, None) if known is None else _outcome(known)

    def _known(self, candidate: Candidate, as_applied: bool) -> Outcome | _Stopped | _Failed | None:
        def read(value: Any) -> Outcome | _Stopped | _Failed:
            if "stopped" in value:
                wrong, loss = value["stopped"]
                return _Stopped(int(wrong), float(loss))
            return _Failed(str(value["failed"])) if "failed" in value else outcome_from(candidate, value)

        return None if candidate in self._outdated else self._steps.get("evaluation", _of(candidate, as_applied), read)

    def _kept(
        self,
        candidate: Candidate,
        as_applied: bool,
        evaluate: Callable[[StopRule | None], Outcome | None],
        stop: StopRule | None,
    ) -> Outcome | None:
        reached = 0, 0.0

        def noted(wrong: int, loss: float) -> bool:
            nonlocal reached
            reached = wrong, loss
            return stop is not None and stop(wrong, loss)

        of = _of(candidate, as_applied)
        try:
            found = evaluate(None if stop is None else noted)
        except NotFiniteError as error:
            self._steps.put("evaluation", (of, {"failed": str(error)}))
            raise
        self._steps.put("evaluation", (of, {"stopped": list(reached)} if found is None else outcome_json(found)))
        return found


@dataclass(frozen=True)
class _Stopped:
    """A candidate that could not win any more, and how far it came."""

    wrong: int
    loss: float


@dataclass(frozen=True)
class _Failed:
    """One with which a loss is not finite."""

    why: str


def _of(candidate: Candidate, as_applied: bool) -> dict[str, Any]:
    return {"candidate": fields_of(candidate), "as_applied": as_applied}


def _outcome(known: Outcome | _Stopped | _Failed | None) -> Outcome | None:
    if isinstance(known, _Failed):
        raise NotFiniteError(known.why)
    return known if isinstance(known, Outcome) else None
