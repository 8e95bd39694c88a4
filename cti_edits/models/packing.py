"""Writing the factors of an edit to a file beside its manifest, and dropping that file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.matrix_edits import Factors, MatrixEdit
from cti_edits.errors import EditError, FactorsError, FitError, ManifestError, about, printable
from cti_edits.files import write_atomically
from cti_edits.models.factor_file import factor_bytes
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.models.verify import base_checkpoint, check_tensor, stored_matrix

if TYPE_CHECKING:
    from cti_edits.linalg.factors import Block

logger = logging.getLogger("cti_edits")

MAX_FILE_BYTES = 1_000_000_000
"""Of a file of factors: as much as the schema takes."""


def pack(file: Path, model: str | None = None, revision: str | None = None) -> Edit:
    """Write the factors of an edit to ``NAME.safetensors`` beside its manifest, and the file's name and hash into that.

    Args:
        file: the manifest.
        model: folder or hub id of the base; the manifest's if None.
        revision: of ``model`` on the hub; the manifest's if neither is given.

    Returns:
        The edit as it was written.

    Raises:
        ManifestError: the manifest cannot be read or written.
        FitError: the checkpoint is not the edit's base.
        FactorsError: the edit is empty, another file has the name, or the factors are too large.
        EditError: the checkpoint cannot be read.
    """
    edit = load(file)
    if not edit.edits:
        raise FactorsError(f"{printable(file, 1000)}: has no matrix edits, so there are no factors")
    checkpoint = base_checkpoint(edit, model, revision)
    content = factor_bytes({one.matrix_name: _file_blocks(edit, one, checkpoint) for one in edit.edits})
    if len(content) > MAX_FILE_BYTES:
        raise FactorsError(f"{printable(file, 1000)}: the factors take {len(content):,} bytes; "
                           f"the most is {MAX_FILE_BYTES:,}")  # fmt: skip
    factors = Factors(f"{edit.name}.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    target = file.parent / factors.file
    former = {one.factors.sha256 for one in edit.edits if one.factors}
    if (target.exists() or target.is_symlink()) and _sha256(target) not in {*former, factors.sha256}:
        raise FactorsError(f"{printable(target, 1000)}: is there already and is not of this edit; move it away")
    packed = replace(edit, edits=tuple(replace(one, factors=factors) for one in edit.edits))
    # The factors first, so that the manifest never names a file that is not there.
    write_atomically(target, content)
    packed.write(file)
    return packed


def unpack(file: Path) -> tuple[Path, ...]:
    """Remove the factors from the manifest at ``file``, which is otherwise unchanged, and delete their files.

    A file stays if another manifest in the folder names it, or if its hash is not the one in the manifest.

    Returns:
        The files that were deleted.

    Raises:
        ManifestError: the manifest cannot be read or written.
        FactorsError: a file cannot be deleted.
    """
    edit = load(file)
    replace(edit, edits=tuple(replace(one, factors=None) for one in edit.edits)).write(file)
    deleted = []
    for factors in dict.fromkeys(one.factors for one in edit.edits if one.factors):
        target = file.parent / factors.file
        if _sha256(target) == factors.sha256 and not _named_elsewhere(factors, file):
            try:
                target.unlink()
            except OSError as error:
                raise FactorsError(f"{printable(target, 1000)}: cannot be deleted: {error.strerror}") from None
            deleted.append(target)
    return tuple(deleted)


def _file_blocks(edit: Edit, one: MatrixEdit, checkpoint: AnyCheckpoint) -> Sequence[Block | None]:
    """The blocks of a matrix edit, for the file: made of the base in the dtype that the edit was made in."""
    import torch

    from cti_edits.methods.method import method_of

    finding = check_tensor(edit, one, checkpoint)
    if finding.verdict == "does not fit":
        raise FitError(f"{edit.name}: {one.matrix_name}: {finding.why}")
    if one.sha256 is None:
        logger.warning("%s: has no sha256 for %s: its base was not verified", edit.name, one.matrix_name)
    elif finding.verdict == "cannot tell":
        raise EditError(f"{edit.name}: {one.matrix_name}: {finding.why}")
    stored, transposed = stored_matrix(edit, one, checkpoint)
    tensor = stored.tensor()
    if edit.base_model.dtype is not None:
        tensor = tensor.to(getattr(torch, edit.base_model.dtype))
    with about(f"{edit.name}: {one.matrix_name}"):
        return method_of(one).factors(tensor.T if transposed else tensor, one)


def _sha256(file: Path) -> str | None:
    """The hash of a file; None if it is not a regular file or cannot be read."""
    with contextlib.suppress(OSError):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                digest = hashlib.sha256()
                while part := opened.read(1 << 20):
                    digest.update(part)
                return digest.hexdigest()
    return None


def _named_elsewhere(factors: Factors, file: Path) -> bool:
    for other in file.parent.glob("*.json"):
        with contextlib.suppress(ManifestError, OSError):
            if not other.samefile(file) and any(
                one.factors and one.factors.file == factors.file for one in load(other).edits
            ):
                return True
    return False
