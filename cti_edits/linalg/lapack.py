"""LAPACK's solver for some eigenpairs of a symmetric matrix, called without Python's global lock (GIL).

scipy.linalg.eigh calls the same routine, but holds the lock, so that other threads wait.
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
"""Number of arguments of LAPACK's dsyevr."""

MAX_SIZE = 46_340
"""The largest n for which n² fits into LAPACK's 32-bit integers; the 26 n places of its workspace then do, too."""


def some_eigenpairs(lower: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some eigenvalues of a symmetric matrix, and their eigenvectors, by ``dsyevr``.

    Args:
        lower: (n, n) float64 on the CPU, finite, of which only the lower triangle is read.
        first: index of the first eigenvalue, from 0 in ascending order.
        last: index of the last one, ``first`` ≤ ``last`` < n.

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
    # A copy, which LAPACK overwrites. The lower triangle in row-major order is the upper one in column-major order.
    matrix = lower.numpy().copy(order="C")
    values, vectors = np.empty(size), np.empty((count, size))
    support = np.empty(2 * count, dtype=np.int32)
    found, info = ctypes.c_int(), ctypes.c_int()

    def run(work: np.ndarray, work_size: int, integer_work: np.ndarray, integer_size: int) -> None:
        # ``none`` stands for bounds on the values, which range "I" ignores, and for the best accuracy.
        none, order = ctypes.c_double(0.0), ctypes.c_int(size)
        arguments = (
            *(ctypes.c_char(letter) for letter in (b"V", b"I", b"U")),
            *(order, matrix, order, none, none, ctypes.c_int(first + 1), ctypes.c_int(last + 1), none),
            *(found, values, vectors, order, support),
            *(work, ctypes.c_int(work_size), integer_work, ctypes.c_int(integer_size), info),
        )
        _dsyevr()(*(_address(argument) for argument in arguments))
        if info.value:
            raise EditError(f"LAPACK's dsyevr found no eigenpairs of a matrix of {size} (info: {info.value})")

    # The first call asks for the sizes of the workspaces.
    work, integer_work = np.empty(1), np.empty(1, dtype=np.int32)
    run(work, -1, integer_work, -1)
    work, integer_work = np.empty(int(work[0])), np.empty(int(integer_work[0]), dtype=np.int32)
    run(work, len(work), integer_work, len(integer_work))
    return torch.from_numpy(values[:count]), torch.from_numpy(vectors).mT


def takes_32_bit_integers(signature: str) -> bool:
    """Whether dsyevr, by its C prototype, takes integers of 32 bits; that of an ILP64 library takes wider ones.

    Args:
        signature: "void (char *, …, int *, …)", the name of SciPy's capsule; the fourth argument is an integer.
    """
    arguments = signature.partition("(")[2].rpartition(")")[0].split(",")
    return len(arguments) == ARGUMENTS and arguments[3].strip() == "int *" and ctypes.sizeof(ctypes.c_int) == 4


def _by_scipy(lower: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`some_eigenpairs` by SciPy's own call, which holds Python's global lock."""
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
    """The routine in SciPy's LAPACK, by the pointer that SciPy offers to compiled code (scipy.linalg.cython_lapack)."""
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
