"""LAPACK's solver for some eigenpairs of a symmetric matrix, called so that other threads of Python go on meanwhile.

scipy.linalg.eigh calls the same routine, and holds the interpreter's lock until it is done.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import cython_lapack

from cti_edits.errors import EditError

ARGUMENTS = 21
"""Of dsyevr."""

MAX_SIZE = 46_340
"""The largest n whose n·n places, which LAPACK counts, fit into 32 bits; its 26·n of workspace then do, too."""


def some_eigenpairs(lower: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues ``first``..``last`` of a symmetric matrix, and their vectors, by ``dsyevr``.

    Args:
        lower: (n, n) float64 on the CPU, finite, of which only the lower triangle is read.
        first: from 0, in ascending order.
        last: ``first`` ≤ ``last`` < n.

    Returns:
        (count,) ascending and (n, count), float64.

    Raises:
        EditError: LAPACK did not converge, or the matrix is too large for its 32-bit integers.
    """
    size, count = len(lower), last - first + 1
    if size > MAX_SIZE:
        raise EditError(f"expected a matrix of at most {MAX_SIZE:,} rows, which is what LAPACK can index, got {size:,}")
    if not takes_32_bit_integers(_signature()):
        return _by_scipy(lower, first, last)
    # LAPACK overwrites it. What is the lower triangle row by row is the upper one column by column.
    matrix = lower.numpy().copy(order="C")
    values, vectors = np.empty(size), np.empty((count, size))
    support = np.empty(2 * count, dtype=np.int32)
    found, info = ctypes.c_int(), ctypes.c_int()

    def run(work: np.ndarray, work_size: int, whole: np.ndarray, whole_size: int) -> None:
        # Bounds on the values, which are not asked for, and an accuracy of 0 for the best there is.
        none, order = ctypes.c_double(0.0), ctypes.c_int(size)
        arguments = (
            *(ctypes.c_char(letter) for letter in (b"V", b"I", b"U")),
            *(order, matrix, order, none, none, ctypes.c_int(first + 1), ctypes.c_int(last + 1), none),
            *(found, values, vectors, order, support),
            *(work, ctypes.c_int(work_size), whole, ctypes.c_int(whole_size), info),
        )
        _dsyevr()(*(_address(argument) for argument in arguments))
        if info.value:
            raise EditError(f"LAPACK's dsyevr found no eigenpairs of a matrix of {size} (info: {info.value})")

    # How much room it wants.
    work, whole = np.empty(1), np.empty(1, dtype=np.int32)
    run(work, -1, whole, -1)
    work, whole = np.empty(int(work[0])), np.empty(int(whole[0]), dtype=np.int32)
    run(work, len(work), whole, len(whole))
    return torch.from_numpy(values[:count]), torch.from_numpy(vectors).mT


def takes_32_bit_integers(signature: str) -> bool:
    """Whether a routine of this C prototype has integers of 32 bits; SciPy on an ILP64 library has wider ones.

    Args:
        signature: "void (char *, …, int *, …)", as SciPy's capsules have it; the fourth argument is an integer.
    """
    arguments = signature.partition("(")[2].rpartition(")")[0].split(",")
    return len(arguments) == ARGUMENTS and arguments[3].strip() == "int *" and ctypes.sizeof(ctypes.c_int) == 4


def _by_scipy(lower: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by the routine that SciPy itself finds, with the interpreter's lock held."""
    from scipy.linalg import LinAlgError, eigh

    try:
        values, vectors = eigh(lower.numpy(), lower=True, subset_by_index=(first, last), driver="evr")
    except LinAlgError as error:
        raise EditError(f"LAPACK's dsyevr found no eigenpairs of a matrix of {len(lower)} ({error})") from None
    return torch.from_numpy(values), torch.from_numpy(vectors)


def _address(argument: object) -> int:
    return argument.ctypes.data if isinstance(argument, np.ndarray) else ctypes.addressof(argument)  # type: ignore[arg-type]


@functools.cache
def _dsyevr() -> Callable[..., None]:
    """The routine of the LAPACK that SciPy brings, which it offers to compiled code (scipy.linalg.cython_lapack)."""
    capsule = cython_lapack.__pyx_capi__["dsyevr"]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * ARGUMENTS)(pointer(capsule, _signature().encode()))


@functools.cache
def _signature() -> str:
    """The routine's C prototype, which is the name of its capsule."""
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    return str(name(cython_lapack.__pyx_capi__["dsyevr"]).decode())
