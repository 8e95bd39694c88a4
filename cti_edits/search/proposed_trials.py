"""What the method of a search gives to try; an error in it names the plugin that the method is from."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import EditError
from cti_edits.methods.method import MethodPart, find_method
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.plugins import errors_name_provider
from cti_edits.search.candidates import Candidate
from cti_edits.search.explanation import Explanation, explanation_of
from cti_edits.search.trials import SearchContext, Trial, Trials


@dataclass(frozen=True)
class _NamedTrials:
    """The trials of a method; what they raise names the method's plugin."""

    made: Trials
    method: str

    @property
    def candidates(self) -> Sequence[Candidate]:
        return self.made.candidates

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        with self._named():
            found = iter(self.made.trials(wanted))
        while True:
            with self._named():
                trial = next(found, None)
            if trial is None:
                return
            yield trial

    def as_applied(self, candidate: Candidate) -> Trial | None:
        with self._named():
            return self.made.as_applied(candidate)

    def matrix_edits(self, candidate: Candidate, checkpoint: AnyCheckpoint | None) -> tuple[MatrixEdit, ...]:
        with self._named():
            return self.made.matrix_edits(candidate, checkpoint)

    def explanation(self, best: Candidate | None) -> Explanation:
        with self._named():
            return explanation_of(self.made, best)

    def _named(self) -> AbstractContextManager[None]:
        return errors_name_provider("methods", MethodPart, self.method)


def proposed(context: SearchContext) -> Trials:
    """What the method of the settings gives to try.

    Raises:
        EditError: no search proposes edits of that method, or a plugin's method fails.
    """
    part = find_method(context.settings.method)
    if part.propose is None:
        raise EditError(f"method: no search proposes edits of {part.name}")
    with errors_name_provider("methods", MethodPart, part.name):
        trials: Trials = pkgutil.resolve_name(part.propose)(context)
    return _NamedTrials(trials, part.name)
