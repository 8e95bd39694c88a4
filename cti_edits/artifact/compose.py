"""Several edits of one base model as one manifest. Knows manifests and files, and nothing of models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from cti_edits.artifact.manifest import BaseModel, Edit, load
from cti_edits.artifact.matrix_edits import PLACE, DirectionsEdit, Factors, MatrixEdit
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.artifact.records import Provenance
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable
from cti_edits.files import write_atomically
from cti_edits.version import __version__

Given = TypeVar("Given", float, str)

MAX_NAME = 100
MAX_DESCRIPTION = 2000


@dataclass(frozen=True)
class Source:
    """An edit that is composed with others, and the file that it was read from."""

    path: Path
    edit: Edit

    @property
    def shown(self) -> str:
        """The file's name for a message."""
        return printable(self.path, MAX_SHOWN_PATH)


def compose(sources: Sequence[Source], name: str | None = None) -> Edit:
    """One edit that does what all of ``sources`` do. Their order changes nothing in it.

    Two edits of one matrix compose where both are of the method ``directions`` and change different ones of the same
    row blocks; what comes of it has no factors.

    Nobody searched or measured the composition, so that ``search`` and ``results`` are empty; ``task`` stays where all
    have the same. ``metadata.composed_from`` has names and digests. ``provenance.created`` is empty, so that composing
    again gives the same bytes. The factors stay where they are, and the composition can be applied as it is.

    Args:
        sources: two or more edits.
        name: the composition's; made of the sources' names if None.

    Raises:
        EditError: there are fewer than two, their bases differ, or two of them edit the same matrix in ways that do
            not compose; the message names both files.
    """
    if len(sources) < 2:
        raise EditError(f"expected two or more edits to compose, got {len(sources)}")
    first = sources[0]
    for other in sources[1:]:
        _check_same_base(first, other)
    edits = _combined(sources)
    parts = sorted((source.edit.name, source.edit.digest()) for source in sources)
    tasks = [source.edit.task for source in sources]
    return Edit(
        name=name if name is not None else _name(parts),
        description=_description(parts),
        base_model=first.edit.base_model,
        edits=tuple(sorted(edits, key=lambda one: one.id)),
        task=tasks[0] if all(task == tasks[0] for task in tasks) else None,
        provenance=Provenance(created=None, tool=f"cti-edits {__version__}", source=None, versions={}),
        metadata={"composed_from": [{"name": part, "digest": digest} for part, digest in parts]},
        factor_paths=dict(_factor_paths(sources)),
    )


def compose_files(paths: Iterable[Path], target: Path, name: str | None = None) -> Edit:
    """Compose the manifests at ``paths`` into one at ``target``, and put the factor files that they name beside it.

    Raises:
        EditError: see `compose`; a manifest cannot be read or written, ``target`` is one of ``paths``, a factor file is
            missing or is not the one that its manifest names, or another file has its name already.
    """
    sources = [Source(path, load(path)) for path in paths]
    for source in sources:
        if target.exists() and target.samefile(source.path):
            raise EditError(
                f"{printable(target, MAX_SHOWN_PATH)}: is one of the edits to compose; write to another file"
            )
    composed = compose(sources, name)
    named = {one.factors for one in composed.edits}
    for source in sources:
        for one in source.edit.edits:
            if one.factors is not None and one.factors in named:
                bring_factors(source.path, one.factors, target.parent)
    composed.write(target)
    return composed


def _factor_paths(sources: Sequence[Source]) -> Iterator[tuple[Factors, Path]]:
    """Where the factors are that the sources name."""
    for source in sources:
        for one in source.edit.edits:
            if one.factors is not None and (path := source.edit.factor_path(one.factors)) is not None:
                yield one.factors, path


def _check_same_base(one: Source, other: Source) -> None:
    for field in fields(BaseModel):
        mine, theirs = (getattr(source.edit.base_model, field.name) for source in (one, other))
        if mine != theirs:
            raise EditError(
                f"{one.shown} and {other.shown}: base_model.{field.name}: expected edits of one base model, "
                f"got {_shown(mine)} and {_shown(theirs)}"
            )


def _shown(value: str | None) -> str:
    return "null" if value is None else f'"{printable(value)}"'


def _combined(sources: Sequence[Source]) -> list[MatrixEdit]:
    """All matrix edits, those of one matrix in one."""
    found: list[tuple[Source, MatrixEdit]] = []
    places: dict[MatrixId | tuple[str, str | None], list[int]] = {}
    for source in sources:
        for one in source.edit.edits:
            # The same matrix by its role, or by its parameter.
            keys = (one.id, (one.module, one.parameter))
            near = [number for key in keys for number in places.setdefault(key, [])]
            met = next((number for number in near if one.meets(found[number][1])), None)
            if met is None:
                for key in keys:
                    places[key].append(len(found))
                found.append((source, one))
                continue
            former_source, former = found[met]
            where = f"{former_source.shown} and {source.shown}"
            found[met] = source, _merged(former, one, where)
    return [one for _, one in found]


def _merged(former: MatrixEdit, other: MatrixEdit, where: str) -> DirectionsEdit:
    """Two edits of different directions of one matrix as one."""
    place = f"{other.id} ({other.module})"
    if not isinstance(former, DirectionsEdit) or not isinstance(other, DirectionsEdit):
        raise EditError(f"{where}: both edit {place}; a matrix can be edited once, but for different directions of it")
    for name in (*PLACE, "clusters", "sha256", "dtype"):
        if getattr(former, name) != getattr(other, name):
            raise EditError(
                f"{where}: both edit {place}, with {name} {getattr(former, name)} and {getattr(other, name)}"
            )
    both = sorted(set(former.directions) & set(other.directions))
    if both:
        block = f" of row block {both[0][0]}" if former.clusters > 1 else ""
        raise EditError(f"{where}: both change direction {both[0][1]}{block} of {place}")
    columns = ((one.directions, one.scale, one.sigma) for one in (former, other))
    entries = sorted(entry for parallel in columns for entry in zip(*parallel, strict=True))
    return replace(
        former,
        frobenius_norm=min(_given(former.frobenius_norm, other.frobenius_norm), default=None),
        tensor=min(_given(former.tensor, other.tensor), default=None),
        block=None if former.block is None else tuple(block for (block, _), _, _ in entries),
        index=tuple(index for (_, index), _, _ in entries),
        scale=tuple(scale for _, scale, _ in entries),
        sigma=tuple(sigma for _, _, sigma in entries),
        factors=None,
    )


def _given(*values: Given | None) -> list[Given]:
    return [value for value in values if value is not None]


def _name(parts: Sequence[tuple[str, str]]) -> str:
    """The parts' names, those that several have once; a composition of edits of one name has another."""
    names = list(dict.fromkeys(name for name, _ in parts))
    return ("-and-".join(names) if len(names) > 1 else f"{names[0][: MAX_NAME - 9]}-composed")[:MAX_NAME]


def _description(parts: Sequence[tuple[str, str]]) -> str:
    text = "Composition of " + ", ".join(f"{name} ({digest[:12]})" for name, digest in parts)
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1] + "…"


def bring_factors(manifest: Path, factors: Factors, folder: Path) -> None:
    """Copy a file of factors that ``manifest`` names into ``folder``, unless it is there.

    Raises:
        EditError: it is missing, a link, or another one by size or sha256; or another file is in its place.
    """
    there, wanted = manifest.parent / factors.file, folder / factors.file
    shown = printable(there, MAX_SHOWN_PATH)
    if not _is(there, factors):
        raise EditError(
            f"{shown}: expected the factor file that {printable(manifest, MAX_SHOWN_PATH)} names, "
            "by its size and sha256"
        )
    if wanted.exists() or wanted.is_symlink():
        if not _is(wanted, factors):
            raise EditError(
                f"{printable(wanted, MAX_SHOWN_PATH)}: another file than {shown} is there; write to another folder"
            )
        return
    write_atomically(wanted, there.read_bytes())


def _is(path: Path, factors: Factors) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != factors.size:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == factors.sha256
    except OSError as error:
        raise EditError(f"{printable(path, MAX_SHOWN_PATH)}: cannot be read: {error.strerror or error}") from None
