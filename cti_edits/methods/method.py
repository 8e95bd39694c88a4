"""What a method has to offer, and the one that a matrix edit names."""

from __future__ import annotations

import difflib
import functools
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit, PluginEdit
from cti_edits.errors import EditError, about, printable
from cti_edits.plugins import errors_name_provider, find_part, provided, provider_of

if TYPE_CHECKING:
    import torch

    from cti_edits.artifact.manifest import Edit
    from cti_edits.linalg.factors import Block

    Packed = Sequence[Block | None]

Kind = TypeVar("Kind", bound=MatrixEdit)


@dataclass(frozen=True)
class BlockForm:
    """What a file of factors has of a row block.

    Attributes:
        rows: m_k.
        rank: of two factors; None for a dense block.
        unchanged: whether it has nothing, since the block keeps the base's bits.
    """

    rows: int
    rank: int | None
    unchanged: bool = False


class Method(Protocol):
    """The functions of a method's module, whose arguments are these.

    Args:
        weight: W (m, n), rows = output features, any floating dtype, finite.
        matrix_edit: what the manifest says of this matrix.
        packed: what a file of factors has of every block (see `factor_file.read_factors`), so that nothing is
            decomposed; None for a block that keeps the base's bits.
        layer: the layer that holds W.

    Each raises an EditError where the matrix edit does not fit the weight.

    Attributes:
        NAME: as the manifest writes it.
    """

    NAME: str

    def edited_weight(
        self, weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None
    ) -> torch.Tensor:
        """Ŵ (m, n) in the dtype of ``weight``; of ``packed`` on the CPU."""

    def kept_parameters(self, matrix_edit: MatrixEdit) -> int:
        """Numbers of the layer that `factored_layer` makes, without bias; m n where it would have no fewer."""

    def runs_as_factors(self, matrix_edit: MatrixEdit) -> bool:
        """Whether `factored_layer` takes less memory than W and Ŵ side by side."""

    def block_forms(self, matrix_edit: MatrixEdit) -> Sequence[BlockForm]:
        """What a file of factors has of each row block."""

    def factors(self, weight: torch.Tensor, matrix_edit: MatrixEdit) -> Packed:
        """What goes into a file of factors; see `block_forms`."""

    def factored_layer(
        self, weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
    ) -> torch.nn.Module:
        """A layer that takes the place of ``layer`` and runs factors in the place of Ŵ."""


@dataclass(frozen=True)
class MethodPart:
    """A method as a plugin's hook ``methods`` gives it. It names what has the code, which is imported when it is used.

    Attributes:
        name: as the manifest writes it.
        summary: what it is, in a line.
        module: "package.module", which has the functions of `Method`.
        propose: "package.module:function", from a `search.trials.SearchContext` to `search.trials.Trials`: the edits
            that a search tries. None for a method that no search proposes.
    """

    name: str
    summary: str
    module: str
    propose: str | None = None


METHODS = (
    MethodPart(
        BlockSvdEdit.METHOD,
        "row blocks are cut to ranks",
        "cti_edits.methods.block_svd",
        "cti_edits.search.rank_cuts:propose",
    ),
    MethodPart(
        DirectionsEdit.METHOD,
        "some singular values are multiplied by factors",
        "cti_edits.methods.directions",
        "cti_edits.search.direction_trials:propose",
    ),
)
"""Those that come with cti-edits."""


def find_method(name: str) -> MethodPart:
    """The method ``name``, built in or a plugin's.

    Raises:
        EditError: there is none, or there are two.
    """
    return find_part("methods", MethodPart, name)


def is_known(name: str) -> bool:
    """Whether there is a method of that name here."""
    return any(part.name == name for _, part in provided("methods", MethodPart))


class _PluginMethod:
    """The functions of a plugin's method; what they raise names the method and the plugin."""

    def __init__(self, part: MethodPart) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        with self._named():
            function = getattr(pkgutil.resolve_name(self._part.module), name)
        return functools.partial(self._run, function) if callable(function) else function

    def _run(self, function: Callable[..., object], *arguments: object, **by_name: object) -> object:
        with self._named():
            return function(*arguments, **by_name)

    def _named(self) -> AbstractContextManager[None]:
        return errors_name_provider("methods", MethodPart, self._part.name)


def method_of(matrix_edit: MatrixEdit) -> Method:
    """The method of a matrix edit.

    Raises:
        EditError: it is not known here; the message says which distribution has it. Nothing is installed or imported.
    """
    name = matrix_edit.method
    if is_known(name):
        part = find_method(name)
        built_in = provider_of("methods", MethodPart, name).is_built_in
        return cast("Method", pkgutil.resolve_name(part.module) if built_in else _PluginMethod(part))
    if isinstance(matrix_edit, PluginEdit):
        raise EditError(
            f"method: {printable(name)!r} is not known here: it is a plugin's, of the distribution "
            f"{printable(matrix_edit.distribution)!r}, which is not installed or did not load"
        )
    near = difflib.get_close_matches(name, [part.name for _, part in provided("methods", MethodPart)], 1)
    raise EditError(f"method: {printable(name)!r} is not known here" + (f", perhaps {near[0]!r}" if near else ""))


def methods_of(edit: Edit) -> list[Method]:
    """The method of each matrix edit.

    Raises:
        EditError: one is not known here; see `method_of`.
    """
    found = []
    for index, one in enumerate(edit.edits):
        with about(f"{edit.name}: edits[{index}]"):
            found.append(method_of(one))
    return found


def expected_kind(matrix_edit: MatrixEdit, kind: type[Kind]) -> Kind:
    """``matrix_edit``, which is of ``kind``: `method_of` was asked.

    Raises:
        EditError: it is of another method.
    """
    if not isinstance(matrix_edit, kind):
        raise EditError(f"{matrix_edit.module}: expected a {kind.__name__}, got a {type(matrix_edit).__name__}")
    return matrix_edit
