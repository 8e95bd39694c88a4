"""How the output features of a fused matrix are shared out among roles, as an architecture file says it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from cti_edits.models.detection.columns import Columns

KEYS = {
    "W": ("num_attention_heads", "n_head", "num_heads", "num_key_value_heads"),
    "U": ("intermediate_size", "moe_intermediate_size", "n_inner", "ffn_dim", "hidden_size"),
}
"""For matrices of an attention and of an MLP: keys of a config that may say how often a pattern is repeated."""


@dataclass(frozen=True)
class Shares:
    """Matrices that follow one another in each group of a fused one.

    Attributes:
        sizes: how many parts each has, in lowest terms.
        part: which of them it is.
        groups: how many groups there are.
    """

    sizes: tuple[int, ...]
    part: int
    groups: int

    def to_json(self, role: str, config: object) -> dict[str, object]:
        """The rows of an architecture file, in which a key of the config stands for a number that it has."""
        rows: dict[str, object] = {"shares": _shares(self.sizes, config), "part": self.part}
        if self.groups > 1:
            named = [key for key in KEYS[role[0]] if getattr(config, key, None) == self.groups]
            rows["groups"] = named[0] if named else self.groups
        return rows


def _shares(sizes: tuple[int, ...], config: object) -> list[int | str]:
    """Sizes; of queries, keys and values by the heads that each has."""
    heads, shared = (getattr(config, key, None) for key in ("num_attention_heads", "num_key_value_heads"))
    if len(sizes) == 3 and isinstance(heads, int) and isinstance(shared, int) and 0 < shared < heads:
        common = math.gcd(heads, shared)
        if sizes == (heads // common, shared // common, shared // common):
            return ["num_attention_heads", "num_key_value_heads", "num_key_value_heads"]
    return list(sizes)


def shares_of(parts: Mapping[str, Columns], width: int) -> dict[str, Shares]:
    """For each role that has ``parts`` of a matrix with ``width`` outputs, how that is shared out.

    Roles whose columns are no repeated pattern of one range are left out, and all are if the patterns do not fit.
    """
    groups = max((len(columns) for columns in parts.values()), default=1)
    step, rest = divmod(width, groups)
    if rest:
        return {}
    fitting = {role: columns[0] for role, columns in parts.items() if _repeated(columns, groups, step)}
    bounds = sorted({0, step, *(bound for one in fitting.values() for bound in one)})
    sizes = [stop - start for start, stop in itertools.pairwise(bounds)]
    unit = math.gcd(*sizes)
    return {
        role: Shares(tuple(size // unit for size in sizes), bounds.index(start), groups)
        for role, (start, stop) in fitting.items()
        if bounds.index(stop) == bounds.index(start) + 1
    }


def _repeated(columns: Columns, groups: int, step: int) -> bool:
    start, stop = columns[0]
    return stop <= step and columns == tuple((start + step * index, stop + step * index) for index in range(groups))
