"""Which examples to ask an edited model first, so that one that cannot win is found out soon."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

MODELS_COMPARED = 16
"""So many models are compared. On the 180 edits of a search on FEVER, 4 left 62 % of the work, 16 to 200 left 60 %, and
asking first what the last model had wrong, without comparing, 64 %."""


class ExampleOrder:
    """What the models before had right and wrong, as a guess at what the next one has."""

    def __init__(self) -> None:
        self._latest: dict[int, bool] = {}
        self._models: deque[Mapping[int, bool]] = deque(maxlen=MODELS_COMPARED)

    def add(self, right: Mapping[int, bool]) -> None:
        """Remember of a model which of the examples that it was asked it had right."""
        self._latest |= right
        self._models.append(right)

    def next(self, batches: Sequence[Sequence[int]], known: Mapping[int, bool]) -> int:
        """The number of the batch that is expected to have the largest share of wrong examples; of equals the first.

        What is expected is what the model had that agrees with the most of ``known``, of equals the latest one; and of
        examples that it was not asked, what the last model had that was.

        Args:
            batches: the examples of each.
            known: what the model in question has right and wrong, as far as it was asked.
        """

        def agreement(model: Mapping[int, bool]) -> int:
            return sum(model.get(example) == right for example, right in known.items())

        alike = max(reversed(self._models), key=agreement, default={})
        expected = {**self._latest, **alike}

        def share_right(number: int) -> float:
            return sum(expected.get(example, False) for example in batches[number]) / len(batches[number])

        return min(range(len(batches)), key=share_right)
