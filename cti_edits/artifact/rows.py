"""Which rows of a stored weight a matrix is, where several matrices are fused in one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Rows ``start`` to ``stop`` (which is not one of them), and again every ``step`` rows, ``count`` times in all.

    Attributes:
        start: the first row, from 0.
        stop: the row after the last one of the first run.
        step: from the beginning of a run to that of the next one; 0 where there is one run.
        count: of runs.
    """

    start: int
    stop: int
    step: int = 0
    count: int = 1

    @classmethod
    def repeated(cls, start: int, stop: int, step: int, count: int) -> Rows:
        """So many runs of rows; one run where they follow one another without a gap."""
        if count > 1 and step == stop - start:
            return cls(start, stop + (count - 1) * step)
        return cls(start, stop, step, count) if count > 1 else cls(start, stop)

    @classmethod
    def from_json(cls, entry: Mapping[str, int]) -> Rows:
        """Those of a manifest's object, which the schema allows."""
        return cls(**entry)

    def to_json(self) -> dict[str, int]:
        """The manifest's object."""
        once = {"start": self.start, "stop": self.stop}
        return once if self.count == 1 else {**once, "step": self.step, "count": self.count}

    @property
    def size(self) -> int:
        """Rows in one run."""
        return self.stop - self.start

    @property
    def end(self) -> int:
        """The row after the last one."""
        return self.stop + (self.count - 1) * self.step

    def __len__(self) -> int:
        """How many rows there are."""
        return self.size * self.count

    def __iter__(self) -> Iterator[int]:
        """Every row, ascending."""
        for run in range(self.count):
            yield from range(self.start + run * self.step, self.stop + run * self.step)

    def __str__(self) -> str:
        """As people write it: "rows 0 to 63", "rows 0 to 63 of every 192, 12 times"."""
        several = f" of every {self.step}, {self.count} times" if self.count > 1 else ""
        return f"rows {self.start} to {self.stop - 1}{several}"

    def faults(self, rows: int) -> Iterator[str]:
        """What is wrong with it as the rows of a matrix that has ``rows`` of them."""
        if self.stop <= self.start:
            yield f"stop: expected more than {self.start} (start), got {self.stop}"
        elif (self.step == 0) != (self.count == 1):
            yield "step and count: expected both, where the rows are in several runs, or neither"
        elif self.count > 1 and self.step <= self.size:
            yield f"step: expected more than {self.size} (stop - start), got {self.step}"
        elif len(self) != rows:
            yield f"expected {rows} rows (shape), got {len(self)}"

    def meets(self, other: Rows) -> bool:
        """Whether both have a row in common."""
        few, many = sorted((self, other), key=lambda rows: rows.count)
        return any(
            start < many.stop + number * many.step and many.start + number * many.step < start + few.size
            for start in (few.start + run * few.step for run in range(few.count))
            for number in _near(start, start + few.size, many)
        )


def _near(start: int, stop: int, rows: Rows) -> range:
    """Numbers of the runs of ``rows`` that may meet rows ``start`` to ``stop``."""
    if rows.count == 1:
        return range(1)
    first = max(0, (start - rows.stop) // rows.step)
    return range(first, min(rows.count, (stop - rows.start) // rows.step + 1))
