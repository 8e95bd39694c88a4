"""The safetensors file of factors beside a manifest: what is in it, and reading one that a stranger wrote.

Block k of the matrix edit of module M (of a part: `MatrixEdit.matrix_name` M) has the tensors ``M.k.left`` (m_k, j_k)
and ``M.k.right`` (j_k, n), or ``M.k.dense`` (m_k, n) where factors would have no fewer numbers (`factors.is_smaller`),
or none where it keeps all of its ranks, and with them the bits of the base.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import Factors, MatrixEdit
from cti_edits.errors import FactorsError, printable
from cti_edits.linalg.finite import all_finite

if TYPE_CHECKING:
    import torch

    from cti_edits.linalg.factors import Block

FILE_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\.safetensors"
"""The schema's pattern, checked here again: the schema is not applied to an edit made in Python."""

DTYPES = {"factors": ("torch.float32", "torch.float64"),
          "dense": ("torch.float32", "torch.float16", "torch.bfloat16", "torch.float64")}  # fmt: skip


def factor_bytes(blocks: Mapping[str, Sequence[Block | None]]) -> bytes:
    """The content of a file of factors; the same blocks give the same bytes.

    Args:
        blocks: from each matrix's name to its row blocks, None for one that keeps all of its ranks.
    """
    from safetensors.torch import save

    from cti_edits.linalg.factors import LowRank

    tensors: dict[str, torch.Tensor] = {}
    for module, ones in blocks.items():
        for number, block in enumerate(ones):
            if isinstance(block, LowRank):
                tensors[f"{module}.{number}.left"] = block.left.cpu().contiguous()
                tensors[f"{module}.{number}.right"] = block.right.cpu().contiguous()
            elif block is not None:
                tensors[f"{module}.{number}.dense"] = block.cpu().contiguous()
    content: bytes = save(tensors, metadata={"format": "pt"})
    return content


def read_factors(edit: Edit) -> dict[str, tuple[Block | None, ...]]:
    """The blocks of each matrix of ``edit`` that has a file of factors, by `MatrixEdit.matrix_name`.

    None stands for a block that keeps all of its ranks.

    Raises:
        FactorsError: the edit was not read from a file; or a file of factors is missing, is a link, has another size or
            sha256 than the manifest says, or does not hold the edit's blocks.
    """
    files: dict[Factors, dict[str, torch.Tensor]] = {}
    found = {}
    for index, one in enumerate(edit.edits):
        if one.factors is None:
            continue
        where = f"{edit.name}: edits[{index}].factors"
        if one.factors not in files:
            files[one.factors] = _tensors(one.factors, edit.factor_path(one.factors), where)
        found[one.matrix_name] = _blocks(one, files[one.factors], where)
    return found


def _tensors(factors: Factors, file: Path | None, where: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if file is None:
        raise FactorsError(f"{where}: the edit was read from no file, so that there is no folder to find them in")
    if not re.fullmatch(FILE_NAME, factors.file):
        raise FactorsError(f"{where}.file: expected text that matches {FILE_NAME}, got {printable(factors.file)!r}")
    content = _content(file, factors, where)
    try:
        tensors: dict[str, torch.Tensor] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise FactorsError(f"{where}: {printable(file, 1000)}: not a safetensors file: {printable(error)}") from None
    return tensors


def _content(file: Path, factors: Factors, where: str) -> bytes:
    """The file's bytes, read once, so that the bytes that are hashed are the bytes that are used."""
    shown = printable(file, 1000)
    try:
        # O_NONBLOCK: opening a pipe would wait for a writer.
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "is a link" if file.is_symlink() else error.strerror or str(error)
        raise FactorsError(f"{where}: {shown}: cannot be read: {why}") from None
    status = os.fstat(opened)
    if not stat.S_ISREG(status.st_mode):
        os.close(opened)
        raise FactorsError(f"{where}: {shown}: expected a regular file")
    with os.fdopen(opened, "rb") as stream:
        if status.st_size != factors.size:
            raise FactorsError(f"{where}.size: {shown}: expected {factors.size:,} bytes, found {status.st_size:,}")
        content = stream.read(factors.size + 1)
    found = hashlib.sha256(content).hexdigest()
    if found != factors.sha256:
        raise FactorsError(f"{where}.sha256: {shown}: expected {factors.sha256}, found {found}")
    return content


def _blocks(one: MatrixEdit, tensors: Mapping[str, torch.Tensor], where: str) -> tuple[Block | None, ...]:
    from cti_edits.linalg.factors import LowRank
    from cti_edits.methods.method import method_of

    columns = one.shape[1]
    blocks: list[Block | None] = []
    expected = set()

    def tensor(name: str, kind: str, shape: tuple[int, int]) -> torch.Tensor:
        expected.add(name)
        if name not in tensors:
            raise FactorsError(f"{where}: the file has no tensor {name}")
        value = tensors[name]
        if tuple(value.shape) != shape or str(value.dtype) not in DTYPES[kind]:
            wanted = " or ".join(dtype.removeprefix("torch.") for dtype in DTYPES[kind])
            raise FactorsError(
                f"{where}: {name}: expected {list(shape)} of {wanted}, "
                f"got {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
            )
        if not all_finite(value):
            raise FactorsError(f"{where}: {name}: holds NaN or infinite values")
        return value

    for number, form in enumerate(method_of(one).block_forms(one)):
        name = f"{one.matrix_name}.{number}"
        if form.unchanged:
            blocks.append(None)
        elif form.rank is not None:
            left, right = (tensor(f"{name}.left", "factors", (form.rows, form.rank)),
                           tensor(f"{name}.right", "factors", (form.rank, columns)))  # fmt: skip
            blocks.append(LowRank(left, right))
        else:
            blocks.append(tensor(f"{name}.dense", "dense", (form.rows, columns)))
    if unknown := {name for name in tensors if name.startswith(f"{one.matrix_name}.")} - expected:
        raise FactorsError(f"{where}: the file has the tensor {printable(min(unknown))}, which the edit has no use for")
    return tuple(blocks)
