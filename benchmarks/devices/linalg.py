"""The devices of the decompositions, each switched off in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.devices.work import (
    CLUSTERS,
    Comparison,
    Replacement,
    Work,
    nothing,
    ran,
    replaced,
    seconds_text,
    together,
)


def tails(
    works: Iterable[tuple[str, str, torch.Tensor]],
    without: Mapping[str, Callable[[torch.Tensor], Any]],
    clusters: Sequence[int] = CLUSTERS,
) -> Iterator[Comparison]:
    """The last singular triplets of the row blocks, for all K.

    Args:
        works: of each weight, the work and the part that it is.
        without: by the name of the way.
        clusters: the K.
    """
    from cti_edits.linalg.block_tails import block_tails
    from cti_edits.linalg.lowrank import BIG

    for work, part, weight in works:
        ways: dict[str, Callable[[], Any]] = {"with": functools.partial(block_tails, weight, clusters)}
        ways |= {way: functools.partial(run, weight) for way, run in without.items()}
        big = weight.numel() > BIG
        yield Comparison(f"tails, {work}", part, ways, same_tails, once=big)


def tails_replaced(replacement: Replacement, weight: torch.Tensor) -> Any:
    from cti_edits.linalg.block_tails import block_tails

    with replacement():
        return block_tails(weight, CLUSTERS)


def same_tails(one: Any, other: Any) -> bool:
    """Singular values agree to a share of 1e-7 of the largest of the tail; vectors are judged by the scores."""
    return all(
        float((a.S - b.S).abs().max()) <= 1e-7 * float(a.S.max())
        for number in one
        for a, b in zip(one[number], other[number], strict=True)
    )


def demo_and_big(work: Work) -> Iterator[tuple[str, str, torch.Tensor]]:
    for part, weight in work.demo_weights():
        yield "the demo model", part, weight
    yield work.big, "", work.big_weight


def smaller_gram(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module

    def by_svd() -> contextlib.AbstractContextManager[object]:
        return replaced(tails_module, "_tail_by_gram", lambda *_: None)

    # Of a big matrix, benchmarks.decompositions has it.
    works = (("the demo model", part, weight) for part, weight in work.demo_weights())
    yield from tails(works, {"torch.linalg.svd": functools.partial(tails_replaced, by_svd)})
    yield from truncations(work, spectra_of_svd=True)


def truncations(work: Work, spectra_of_svd: bool) -> Iterator[Comparison]:
    """Nine rates from one decomposition; without, from one singular value decomposition, or each from its own."""
    from cti_edits.artifact.ranks import block_ranks
    from cti_edits.linalg.block_spectra import block_spectra, truncate_with
    from cti_edits.linalg.lowrank import assemble, decompose, truncate
    from cti_edits.search.settings import RATES

    def cut(weight: torch.Tensor, clusters: int) -> list[torch.Tensor]:
        spectra = block_spectra(weight, clusters)
        return [truncate_with(weight, spectra, ranks) for ranks in all_ranks(weight, clusters)]

    def by_svd(weight: torch.Tensor, clusters: int) -> list[torch.Tensor]:
        decomposed = decompose(weight, clusters)
        return [assemble(decomposed, ranks, weight.dtype) for ranks in all_ranks(weight, clusters)]

    def each(weight: torch.Tensor, clusters: int) -> list[torch.Tensor]:
        return [truncate(weight, ranks) for ranks in all_ranks(weight, clusters)]

    def all_ranks(weight: torch.Tensor, clusters: int) -> list[tuple[int, ...]]:
        return [block_ranks((weight.shape[0], weight.shape[1]), clusters, rho) for rho in RATES]

    block = torch.tensor_split(work.big_weight.T, 16)[0].contiguous()
    works = [
        ("the demo model", f"{part} K = {clusters}", weight, clusters)
        for (part, weight), clusters in itertools.product(work.demo_weights(), (2, 8))
    ]
    for name, part, weight, clusters in (*works, (f"{len(block)} x {block.shape[1]} float16", "K = 1", block, 1)):
        ways = {"with": functools.partial(cut, weight, clusters)}
        if spectra_of_svd:
            ways["torch.linalg.svd"] = functools.partial(by_svd, weight, clusters)
        else:
            ways["a decomposition for each rate"] = functools.partial(each, weight, clusters)
        yield Comparison(f"nine rates, {name}", part, ways, same_weights)


def same_weights(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    """Within what rounding to the weight's dtype may move it by."""
    return all(
        float(torch.linalg.matrix_norm(a.double() - b.double()))
        <= torch.finfo(a.dtype).eps * float(torch.linalg.matrix_norm(a.double()))
        for a, b in zip(one, other, strict=True)
    )


def one_decomposition(work: Work) -> Iterator[Comparison]:
    return truncations(work, spectra_of_svd=False)


def one_pass(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg.block_tails import block_tails

    def one_by_one(weight: torch.Tensor) -> Any:
        return {number: block_tails(weight, [number])[number] for number in CLUSTERS}

    return tails(demo_and_big(work), {"a pass for each K": one_by_one})


def subset_solver(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module

    def all_pairs() -> contextlib.AbstractContextManager[object]:
        return replaced(tails_module, "_last_eigenpairs", lambda gram, _: torch.linalg.eigh(gram))

    def subset_always() -> contextlib.AbstractContextManager[object]:
        return replaced(tails_module, "ALL_PAIRS", 0)

    ways = {
        "torch.linalg.eigh": functools.partial(tails_replaced, all_pairs),
        "the subset solver for the smallest, too": functools.partial(tails_replaced, subset_always),
    }
    return tails(demo_and_big(work), ways)


def half_of_the_gram(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import gram

    def whole(tall: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(tall.shape[1], tall.shape[1], dtype=torch.float64)
        for part in torch.split(tall, gram.ROWS):
            rows = part.double()
            total.addmm_(rows.T, rows)
        return total

    way = functools.partial(tails_replaced, lambda: replaced(gram, "gram_matrix", whole))
    return tails(demo_and_big(work), {"both halves": way})


def one_thread_for_the_small(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module

    def all_threads() -> contextlib.AbstractContextManager[object]:
        return together(replaced(tails_module, "ONE_THREAD", 0), replaced(tails_module, "one_torch_thread", nothing))

    return tails(demo_and_big(work), {"all threads": functools.partial(tails_replaced, all_threads)})


def all_tails(work: Work, without: Mapping[str, Replacement]) -> Iterator[Comparison]:
    """The tails of every matrix of the model, nothing cached."""

    def found(replacement: Replacement) -> Any:
        with replacement(), tempfile.TemporaryDirectory() as folder:
            return work.tail_directions(Path(folder))

    ways: dict[str, Replacement] = {"with": contextlib.nullcontext, **without}
    runs = {way: functools.partial(found, replacement) for way, replacement in ways.items()}
    yield Comparison("tails, all of the demo model", f"{len(work.targets)} matrices", runs, same_directions)


def same_directions(one: Any, other: Any) -> bool:
    """As many of the same shapes; that vectors are right is `same_gradients`' matter."""
    shapes = [[[[block.U.shape for block in blocks] for blocks in ways] for ways in found] for found in (one, other)]
    return shapes[0] == shapes[1]


def threads_beside_lapack(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module
    from cti_edits.linalg import gram, lapack

    ways: dict[str, Replacement] = {
        "scipy.linalg.eigh": lambda: replaced(gram, "some_eigenpairs", lapack._by_scipy),
        "torch.linalg.eigh": lambda: replaced(
            tails_module, "_last_eigenpairs", lambda matrix, _: torch.linalg.eigh(matrix)
        ),
    }
    return all_tails(work, ways)


def matrices_side_by_side(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg import block_tails as tails_module
    from cti_edits.search import gradients as module

    @contextlib.contextmanager
    def one_by_one(_: int | None = None) -> Iterator[Any]:
        yield map

    ways: dict[str, Replacement] = {
        "one after the other": lambda: replaced(module, "matrix_threads", one_by_one),
        "one after the other, all threads": lambda: together(
            replaced(module, "matrix_threads", one_by_one),
            replaced(tails_module, "ONE_THREAD", 0),
            replaced(tails_module, "one_torch_thread", nothing),
        ),
    }
    return all_tails(work, ways)


def blocks_side_by_side(work: Work) -> Iterator[Comparison]:
    from cti_edits.artifact.ranks import block_ranks
    from cti_edits.linalg import lowrank

    @contextlib.contextmanager
    def one_by_one(_: int | None = None) -> Iterator[Any]:
        yield map

    weight = work.big_weight.T.contiguous()
    shape = weight.shape[0], weight.shape[1]
    for clusters, rho in ((2, 0.01), (8, 0.1)):
        run = functools.partial(lowrank.truncate, weight, block_ranks(shape, clusters, rho))
        ways = {
            "with": lambda run=run: [run()],
            "one after the other": lambda run=run: [ran(lambda: replaced(lowrank, "matrix_threads", one_by_one), run)],
        }
        name = f"truncation, {shape[0]} x {shape[1]} float16"
        yield Comparison(f"{name}, K = {clusters}, rho = {rho:g}", "", ways, same_weights, once=True)


def decompositions_on_disk(work: Work) -> Iterator[Comparison]:
    from cti_edits.linalg.spectrum_cache import SpectrumCache
    from cti_edits.models.identity import tensor_sha256

    def spectra(folder: Path | None) -> Any:
        cache = SpectrumCache(folder)
        found: list[Any] = []
        for one in work.chosen():
            target = work.targets[one]
            found += cache.spectra(target.weight, tensor_sha256(target.parameter), 4)
        return found

    def anew(run: Callable[[Path], Any]) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return run(Path(folder))

    def same_spectra(one: Any, other: Any) -> bool:
        return all(torch.equal(a.vectors, b.vectors) for a, b in zip(one, other, strict=True))

    spectra(None)
    _ = work.directions
    ways = {
        "with": functools.partial(work.tail_directions, None),
        "computed": functools.partial(anew, work.tail_directions),
    }
    yield Comparison("tails, all of the demo model", f"{len(work.targets)} matrices", ways, same_directions)
    ways = {"with": functools.partial(spectra, None), "computed": functools.partial(anew, spectra)}
    yield Comparison("spectra, the demo model", "3 matrices, K = 4", ways, same_spectra)


def few_ranks(work: Work) -> Iterator[Comparison]:
    """The leading eigenvectors of the Gram matrix of a block, as accurate as a truncation wants them, and the proof.

    The work is truncating the big matrix at a few ranks, at several K; of each only the first block. Every way ends
    with the residual, computed from the matrix, and the Cholesky factorisation that shows that no eigenvector was
    missed, whose seconds are told; LAPACK is taken without Lanczos today, and proves nothing. At K = 4 a block has the
    same Gram matrix's size and as many ranks as at K = 2.
    """
    from cti_edits.artifact.ranks import block_ranks
    from cti_edits.linalg.gram import LARGE, gram_matrix

    weight = work.big_weight.T
    weights = [(f"{len(weight)} x {weight.shape[1]}", weight), ("the demo model", work.demo_weights()[0][1])]
    for (name, matrix), rho in itertools.product(weights, (0.05, 0.01, 0.005)):
        for clusters in (2, 8, 16):
            block = torch.tensor_split(matrix, clusters)[0]
            tall = block if len(block) >= block.shape[1] else block.T
            rank = block_ranks((matrix.shape[0], matrix.shape[1]), clusters, rho)[0]
            if len(block) // 4 <= rank:
                continue
            lower = gram_matrix(tall)
            title = f"eigenvectors, {name}, K = {clusters}, rho = {rho:g}"
            part, ways = f"{rank} of {len(lower)}", eigenvector_ways(lower, rank, block)
            yield Comparison(title, part, ways, same_span, lambda found: found[1], once=len(lower) >= LARGE)


def eigenvector_ways(lower: torch.Tensor, rank: int, block: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """The ways of `few_ranks`; each gives (n, rank) orthonormal columns, and what more there is to say."""
    from scipy.sparse.linalg import eigsh

    from cti_edits.linalg.gram import accurate_cut, eigenpairs
    from cti_edits.linalg.lanczos import _mirrored, cut_by, leading_eigenvectors, none_missed

    accurate = functools.partial(accurate_cut, shape=block.shape, dtype=block.dtype)
    size = len(lower)

    def by_lapack() -> tuple[torch.Tensor, torch.Tensor]:
        return eigenpairs(lower, size - rank - 1, size - 1)

    def proved(values: torch.Tensor, vectors: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, str]:
        begun = time.perf_counter()
        rows = vectors[:, 1:].mT.contiguous()
        projected, cut = cut_by(matrix, rows, float(values[0]))
        if not accurate(cut):
            return vectors[:, 1:], "not accurate enough"
        found = none_missed(matrix, rows, projected, cut)
        return vectors[:, 1:], f"({'' if found else 'not '}proved in {seconds_text(time.perf_counter() - begun)})"

    def arpack() -> tuple[torch.Tensor, str]:
        matrix = _mirrored(lower.clone())
        values, vectors = eigsh(matrix.numpy(), rank + 1, which="LA", tol=tolerance, v0=start, ncv=basis)
        return proved(torch.from_numpy(values), torch.from_numpy(vectors), matrix)

    def lanczos() -> tuple[torch.Tensor, str]:
        found = leading_eigenvectors(lower.clone(), rank, accurate)
        return (by_lapack()[1][:, 1:], "refused") if found is None else (found, "proved")

    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    basis = min(size - 1, max(3 * rank, rank + 30))
    matrix = _mirrored(lower.clone())
    values, vectors = by_lapack()
    _, cut = cut_by(matrix, vectors[:, 1:].mT.contiguous(), float(values[0]))
    # The residual that is just accurate enough, shared by the vectors, as a share of the largest eigenvalue.
    most = allowed_error(cut, accurate)
    tolerance = most / (rank + 1) ** 0.5 / cut.largest / 2
    return {
        "with": lanczos,
        "scipy.sparse.linalg.eigsh": arpack,
        "LAPACK's subset solver": lambda: proved(*by_lapack(), _mirrored(lower.clone())),
    }


def allowed_error(cut: Any, accurate: Callable[[Any], bool]) -> float:
    """The largest residual with which a cut is accurate enough, by bisection."""
    least, most = 0.0, cut.largest
    if not accurate(dataclasses.replace(cut, error=least)):
        return 0.0
    for _ in range(60):
        middle = (least + most) / 2
        if accurate(dataclasses.replace(cut, error=middle)):
            least = middle
        else:
            most = middle
    return least


def same_span(one: tuple[torch.Tensor, str], other: tuple[torch.Tensor, str]) -> bool:
    """The sines of the angles between the two spans are small."""
    a, b = one[0], other[0]
    return float(torch.linalg.matrix_norm(b - a @ (a.mT @ b))) < 1e-4


DEVICES: dict[str, Callable[[Work], Iterator[Comparison]]] = {
    "gram": smaller_gram,
    "half-gram": half_of_the_gram,
    "one-pass": one_pass,
    "subset": subset_solver,
    "lanczos": few_ranks,
    "one-decomposition": one_decomposition,
    "one-thread": one_thread_for_the_small,
    "beside-lapack": threads_beside_lapack,
    "side-by-side": matrices_side_by_side,
    "blocks-side-by-side": blocks_side_by_side,
    "disk": decompositions_on_disk,
}
