"""What an architecture file says: where each matrix is in a block, and which part of a parameter it is."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cti_edits.artifact.rows import Rows
from cti_edits.errors import FitError, printable

Kind = Literal["causal", "masked", "seq2seq"]
"""Of language models: those that go on with a text, that fill in masks, and that read one text and write another."""

WeightRows = Literal["outputs", "inputs"]
"""What the rows of a stored weight are: output features (nn.Linear) or input features (GPT-2's Conv1D)."""

Count = int | str
"""A number, or the key of the config that has it."""

ConfigValue = str | int | bool | None


@dataclass(frozen=True)
class RowShares:
    """How the output features of a fused weight are shared out among matrices, and which of them one is.

    Attributes:
        shares: how many parts of all rows each matrix has, in their order.
        part: which of them it is.
        groups: how often all of them follow one another.
    """

    shares: tuple[Count, ...]
    part: int
    groups: Count = 1

    def rows(self, config: object, total: int) -> Rows:
        """The rows of the matrix among ``total`` rows.

        Args:
            config: of the model, which has the counts.
            total: how many rows all the matrices have.

        Raises:
            FitError: the config has no such count, or the rows cannot be shared out so.
        """
        shares = [count_of(config, share) for share in self.shares]
        groups = count_of(config, self.groups)
        # In lowest terms: 4 query heads to 2 and 2 of keys and values are, in each of 2 groups, 2 to 1 and 1.
        lowest = [share // math.gcd(*shares) for share in shares]
        unit, rest = divmod(total, groups * sum(lowest))
        if rest:
            raise FitError(
                f"rows: {total} rows cannot be shared out as {':'.join(map(str, shares))} in {groups} groups, "
                "as the architecture file says"
            )
        start, size = unit * sum(lowest[: self.part]), unit * lowest[self.part]
        return Rows.repeated(start, start + size, step=unit * sum(lowest), count=groups)


@dataclass(frozen=True)
class MatrixPlace:
    """Where a matrix is inside a block.

    Attributes:
        module: the module's name in the block, "mlp.fc_in".
        parameter: the parameter's name in the module.
        weight_rows: what the rows of the parameter are, or of one expert's part of it.
        experts: None for one matrix; True where the parameter has a matrix for each expert along the first of three
            axes; a count where so many follow one another along the first of two.
        rows: which of the output features; None for all.
        when: keys of the config, and what it has to have there.
    """

    module: str
    parameter: str = "weight"
    weight_rows: WeightRows = "outputs"
    experts: Literal[True] | Count | None = None
    rows: RowShares | None = None
    when: tuple[tuple[str, ConfigValue], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole weight of a layer of its own."""
        return self.parameter == "weight" and self.experts is None and self.rows is None

    def fits(self, config: object) -> bool:
        """Whether a model of this config has the matrix here."""
        return all(_config_value(config, key) == value for key, value in self.when)


@dataclass(frozen=True)
class Stack:
    """A list of blocks, and where the matrices are in each.

    Attributes:
        layers: dotted name of the list of blocks, "transformer.h".
        matrices: from each role ("U_in") to where it may be in a block; the first that a block has counts.
    """

    layers: str
    matrices: Mapping[str, tuple[MatrixPlace, ...]]


@dataclass(frozen=True)
class Family:
    """Model families that share their blocks' layout; read from one JSON file.

    Attributes:
        name: the file's name without its ending.
        model_types: transformers ``config.model_type`` values that it covers.
        kind: of language models.
        stacks: the lists of blocks, "encoder" and "decoder"; under None where the file has one without a name.
    """

    name: str
    model_types: tuple[str, ...]
    kind: Kind
    stacks: Mapping[str | None, Stack]

    @property
    def stack_names(self) -> tuple[str | None, ...]:
        """Of the lists of blocks, in the order in which they run."""
        return tuple(sorted(self.stacks, key=lambda name: name != "encoder"))

    @property
    def main_stack(self) -> str | None:
        """Of the blocks that give the answer: the last ones to run."""
        return self.stack_names[-1]

    @property
    def layers(self) -> str:
        """Dotted name of the main stack's list of blocks."""
        return self.stacks[self.main_stack].layers

    @property
    def matrices(self) -> Mapping[str, str]:
        """From each role of the main stack to its module's name inside a block."""
        return {role: places[0].module for role, places in self.stacks[self.main_stack].matrices.items()}

    def stack(self, name: str | None) -> Stack:
        """The list of blocks of that name.

        Raises:
            FitError: there is none.
        """
        if name not in self.stacks:
            known = ", ".join(one for one in self.stack_names if one is not None)
            raise FitError(
                f"stack: the {self.name} family has "
                + (f"the stacks {known}, expected one of them" if known else "one stack, which has no name")
                + (f", got {printable(name)!r}" if name is not None else "")
            )
        return self.stacks[name]

    def places(self, matrix: str, stack: str | None = None) -> tuple[MatrixPlace, ...]:
        """Where ``matrix`` may be inside a block of ``stack``.

        Raises:
            FitError: the family has no such stack or matrix.
        """
        matrices = self.stack(stack).matrices
        if matrix not in matrices:
            raise self._no_role(matrix, matrices, f" in its {stack}" if stack else "")
        return matrices[matrix]

    def check_role(self, matrix: str) -> None:
        """Refuse a role that no stack has.

        Raises:
            FitError: so it is.
        """
        roles = dict.fromkeys(role for stack in self.stacks.values() for role in stack.matrices)
        if matrix not in roles:
            raise self._no_role(matrix, roles, "")

    def _no_role(self, matrix: str, roles: Iterable[str], where: str) -> FitError:
        known = list(roles)
        near = difflib.get_close_matches(matrix, known, 1)
        return FitError(
            f"matrix: the {self.name} family has no matrix {printable(matrix)!r}{where}"
            + (f", perhaps {near[0]!r}" if near else "")
            + f" (it has {', '.join(known)})"
        )

    def module_names(self, matrix: str, layer: int, stack: str | None = None) -> tuple[str, ...]:
        """Dotted names of the modules that may hold ``matrix`` of block ``layer``.

        Raises:
            FitError: the family has no such stack or matrix, or ``layer`` is negative.
        """
        places = self.places(matrix, stack)
        if layer < 0:
            raise FitError(f"layer: expected 0 or more, got {layer}")
        return tuple(f"{self.stack(stack).layers}.{layer}.{place.module}" for place in places)

    def module_name(self, matrix: str, layer: int, stack: str | None = None) -> str:
        """The first of `module_names`."""
        return self.module_names(matrix, layer, stack)[0]

    def layer_count(self, module_names: Iterable[str], stack: str | None = None) -> int:
        """How many blocks a model has whose modules are named so (``dict(model.named_modules())``)."""
        pattern = re.compile(re.escape(self.stack(stack).layers) + r"\.(0|[1-9][0-9]*)")
        return 1 + max((int(m[1]) for one in module_names if (m := pattern.fullmatch(one))), default=-1)


def count_of(config: object, count: Count) -> int:
    """The number that a count of an architecture file is for a model of this config.

    Raises:
        FitError: the config has no such number.
    """
    if isinstance(count, int):
        return count
    found = _config_value(config, count)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise FitError(f"rows: the model's config has no count {count}, which the architecture file names")
    return found


def _config_value(config: object, key: str) -> object:
    """The value of a key of a config, or of its text model's; "ffn_config.hidden_size" for one inside another."""
    inside = getattr(config, "text_config", None)
    found = _value_at(config, key)
    return _value_at(inside, key) if found is None and inside is not None else found


def _value_at(config: object, key: str) -> object:
    found: object = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
    return found
