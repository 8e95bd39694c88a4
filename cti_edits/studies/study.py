"""What a study is: its question, the units that it measures, and the table and the picture that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from cti_edits.errors import EditError
from cti_edits.search.settings import MATRICES, RATES, SearchSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cti_edits.studies.context import StudyContext

Key = tuple[str | int | float, ...]
"""What tells a unit from the others of a study."""


@dataclass(frozen=True)
class Question:
    """What a study is asked; figures of one question are never mixed with those of another.

    Attributes:
        study: its name.
        task: the lm-eval task.
        model: hub id or checkpoint folder of the model.
        model_args: more arguments of the model, as they were written.
        dtype: that the model is loaded in.
        samples: calibration rows that are drawn.
        seed: of the first draw.
        seeds: how many draws there are, each with the next seed.
        test_rows: held-out rows at most; None where a study measures on none.
        top_q: matrices that a search keeps for each K.
        clusters: the K that are tried.
        rates: the ρ that are tried.
        matrices: roles of the matrices that are tried.

    Raises:
        EditError: a value is out of range.
    """

    study: str
    task: str
    model: str
    model_args: str = ""
    dtype: str = "auto"
    samples: int = 100
    seed: int = 0
    seeds: int = 1
    test_rows: int | None = 1000
    top_q: int = 5
    clusters: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = RATES
    matrices: tuple[str, ...] = MATRICES

    def __post_init__(self) -> None:
        SearchSettings(
            samples=self.samples,
            top_q=self.top_q,
            clusters=self.clusters,
            rates=self.rates,
            matrices=self.matrices,
            seed=self.seed,
        )
        if self.seeds < 1:
            raise EditError(f"seeds: expected 1 or more, got {self.seeds}")
        if self.test_rows is not None and self.test_rows < 1:
            raise EditError(f"test_rows: expected 1 or more, got {self.test_rows}")


@dataclass(frozen=True)
class Defaults:
    """What a study takes where nothing is said; attributes as `Question` has them.

    Attributes:
        matrices: empty for all that the family has.
    """

    samples: int = 100
    seeds: int = 1
    test_rows: int | None = 1000
    top_q: int = 5
    clusters: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = RATES
    matrices: tuple[str, ...] = MATRICES


@dataclass(frozen=True)
class Record:
    """What was measured of one unit, as its line of the file has it. A subclass has the fields, JSON values all."""

    NAME: ClassVar[str] = ""
    """What kind of unit it is, among those of a study."""
    KEY: ClassVar[tuple[str, ...]] = ()
    """The fields that tell it from the others of its kind."""

    @property
    def key(self) -> Key:
        """See `Key`."""
        return (self.NAME, *(getattr(self, name) for name in self.KEY))


@dataclass(frozen=True)
class Unit:
    """One measurement of a study.

    Attributes:
        key: which one it is.
        measure: makes it; the record has this key.
    """

    key: Key
    measure: Callable[[], Record]


@dataclass(frozen=True)
class Table:
    """What a study prints.

    Attributes:
        headings: one a column.
        rows: cells, as many a row as there are headings.
        left: headings of the columns that are aligned on the left; the others are on the right.
        notes: lines below it.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> tuple[str, ...]:
        """Headings of the columns that are aligned on the right."""
        return tuple(heading for heading in self.headings if heading not in self.left)

    def in_words(self) -> str:
        """Every row with the headings of its cells, for who does not see the picture."""
        rows = (
            ", ".join(f"{heading}: {cell}" for heading, cell in zip(self.headings, row, strict=True) if cell)
            for row in self.rows
        )
        return "; ".join(rows)


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: what it is asked for by.
        title: what it answers, in a line; the picture's title.
        records: the kinds of units.
        units: the units, in the order in which they are measured, and nothing measured yet; the same every time.
        table: of all records, in the order of the units.
        draw: likewise; fills an empty figure.
        defaults: what is taken where nothing is said.
    """

    name: str
    title: str
    records: tuple[type[Record], ...]
    units: Callable[[StudyContext], Iterator[Unit]]
    table: Callable[[Sequence[Record]], Table]
    draw: Callable[[Figure, Sequence[Record]], None]
    defaults: Defaults = field(default_factory=Defaults)
