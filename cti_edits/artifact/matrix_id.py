"""Which matrix of a model: by stack, layer, role and expert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering
from typing import Literal

StackName = Literal["encoder", "decoder"]
"""Of a list of blocks, in models that have several."""


@total_ordering
@dataclass(frozen=True)
class MatrixId:
    """A matrix of a model by layer and role.

    Attributes:
        layer: 0-based index of its block.
        matrix: its role, "U_in".
        stack: of the block, where a model has several lists of blocks.
        expert: 0-based, where the block has such a matrix for each of several experts.
    """

    layer: int
    matrix: str
    stack: StackName | None = None
    expert: int | None = None

    def __str__(self) -> str:
        """As people write it: "U_in of layer 3", "U_in of encoder layer 3", "U_in of layer 3, expert 5"."""
        stack = f"{self.stack} " if self.stack else ""
        return f"{self.matrix} of {stack}layer {self.layer}" + self._of_expert

    @property
    def short(self) -> str:
        """In fewer words: "U_in 3", "U_in encoder 3", "U_in 3, expert 5"."""
        return f"{self.matrix} {self.place}"

    @property
    def place(self) -> str:
        """Where it is, for a column of layers: "3", "encoder 3", "3, expert 5"."""
        stack = f"{self.stack} " if self.stack else ""
        return f"{stack}{self.layer}{self._of_expert}"

    @property
    def _of_expert(self) -> str:
        return "" if self.expert is None else f", expert {self.expert}"

    def _key(self) -> tuple[bool, int, str, int]:
        return self.stack == "decoder", self.layer, self.matrix, -1 if self.expert is None else self.expert

    def __lt__(self, other: MatrixId) -> bool:
        """Whether it comes before ``other``: blocks in the order in which they run."""
        return self._key() < other._key()
