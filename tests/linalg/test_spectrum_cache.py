"""The spectrum cache: the same bits again, whatever happens to the files."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save_file

from cti_edits.errors import EditError
from cti_edits.linalg import spectrum_cache as module
from cti_edits.linalg import spectrum_files
from cti_edits.linalg.block_spectra import BlockSpectrum, block_spectra, truncate_with
from cti_edits.linalg.block_tails import BlockTail, block_tails
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.linalg.spectrum_files import LIMIT, EntryKey, default_folder, default_limit, entries
from cti_edits.models.identity import tensor_sha256
from tests.support.matrices import random_block


def tensors_of(found: Any) -> list[torch.Tensor]:
    """All tensors of tails or spectra, in order."""
    if isinstance(found, dict):
        return [one for number in sorted(found) for one in tensors_of(found[number])]
    if isinstance(found, tuple):
        return [one for block in found for one in tensors_of(block)]
    if isinstance(found, BlockTail):
        return [found.U, found.S, found.V]
    if isinstance(found, BlockSpectrum):
        exact = [] if found.exact is None else [found.exact.U, found.exact.S, found.exact.Vh]
        return [found.S, found.vectors, *exact]
    raise TypeError(type(found))


def check_same(found: Any, expected: Any, layout: bool = False) -> None:
    ours, theirs = tensors_of(found), tensors_of(expected)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
        assert not layout or a.stride() == b.stride()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was computed: the K of each call."""
    calls: list[object] = []

    def tails(weight: torch.Tensor, clusters: list[int]) -> dict[int, tuple[BlockTail, ...]]:
        calls.append(list(clusters))
        return block_tails(weight, clusters)

    def spectra(weight: torch.Tensor, clusters: int) -> tuple[BlockSpectrum, ...]:
        calls.append(clusters)
        return block_spectra(weight, clusters)

    monkeypatch.setattr(module, "block_tails", tails)
    monkeypatch.setattr(module, "block_spectra", spectra)
    return calls


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(40, 30), (30, 40)])
def test_the_same_bits_from_disk(
    tmp_path: Path, shape: tuple[int, int], dtype: torch.dtype, made: list[object]
) -> None:
    weight = random_block(*shape, dtype)
    sha256 = tensor_sha256(weight)
    first = SpectrumCache(tmp_path / "new" / "folder")
    tails, spectra = first.tails(weight, sha256, (1, 3)), first.spectra(weight, sha256, 3)
    check_same(tails, block_tails(weight, (1, 3)))
    check_same(spectra, block_spectra(weight, 3))
    assert made == [[1, 3], 3]
    second = SpectrumCache(first.folder)
    check_same(second.tails(weight, sha256, (1, 3)), tails, layout=True)
    again = second.spectra(weight, sha256, 3)
    check_same(again, spectra, layout=True)
    assert made == [[1, 3], 3]
    # What is made of them has the same bits, too.
    for rank in (1, 5, 9):
        assert torch.equal(truncate_with(weight, again, [rank] * 3), truncate_with(weight, spectra, [rank] * 3))


def test_only_what_is_missing_is_computed_in_one_pass(tmp_path: Path, made: list[object]) -> None:
    weight = random_block(24, 10, torch.float16)
    cache = SpectrumCache(tmp_path)
    sha256 = tensor_sha256(weight)
    cache.tails(weight, sha256, (1, 2))
    found = cache.tails(weight, sha256, (4, 2, 8))
    assert [len(found[number]) for number in (2, 4, 8)] == [2, 4, 8]
    check_same({4: found[4], 8: found[8]}, block_tails(weight, (4, 8)))
    cache.tails(weight, sha256, (8, 1, 4))
    assert made == [[1, 2], [4, 8]]
    keys = {(entry.key.sha256, entry.key.clusters, entry.key.kind, entry.key.precision) for entry in entries(tmp_path)}
    assert keys == {(sha256, number, "tails20", "float64") for number in (1, 2, 4, 8)}


def test_other_weights_do_not_share_an_entry(tmp_path: Path) -> None:
    cache = SpectrumCache(tmp_path)
    square = torch.nn.Parameter(random_block(12, 12, torch.float32))
    for weight in (square.detach(), square.detach().T, random_block(12, 12, torch.float32, 7)):
        # The stored tensor has the hash; GPT-2's is transposed.
        sha256 = tensor_sha256(weight.T if weight.mT.is_contiguous() else weight)
        check_same(cache.tails(weight, sha256, (1, 2)), block_tails(weight, (1, 2)))
        check_same(cache.spectra(weight, sha256, 2), block_spectra(weight, 2))
    assert len(entries(tmp_path)) == 9


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def rewritten(change: Callable[[dict[str, torch.Tensor], dict[str, str]], object], whole: bool = False) -> Any:
    """Change tensors or metadata of a file, and leave its checksum as it was, or put it right (``whole``)."""

    def damage(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata())
        tensors = load(path.read_bytes())
        change(tensors, metadata)
        if whole:
            metadata["checksum"] = module._checksum(tensors)
        save_file(tensors, path, metadata)

    return damage


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "bad header": lambda path: path.write_bytes(b"\xff" * 100),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(8)),
    "a flipped bit": flipped,
    "another shape": rewritten(lambda tensors, _: tensors.update({"0.S": torch.ones(3, dtype=torch.float64)}), True),
    "a tensor less": rewritten(lambda tensors, _: tensors.pop("0.S"), True),
    "a tensor more": rewritten(lambda tensors, _: tensors.update({"9.S": torch.ones(3, dtype=torch.float64)}), True),
    "another dtype": rewritten(lambda tensors, _: tensors.update({"0.S": tensors["0.S"].float()}), True),
    "NaN": rewritten(lambda tensors, _: tensors["0.S"].fill_(torch.nan), True),
    "infinity": rewritten(lambda tensors, _: tensors["0.S"].fill_(torch.inf), True),
    "another tensor's": rewritten(lambda _, metadata: metadata.update({"sha256": "0" * 64})),
    "another K": rewritten(lambda _, metadata: metadata.update({"clusters": "2"})),
    "another precision": rewritten(lambda _, metadata: metadata.update({"precision": "float32"})),
    "no metadata": rewritten(lambda _, metadata: metadata.clear()),
    "no checksum": rewritten(lambda _, metadata: metadata.pop("checksum")),
}


@pytest.mark.parametrize("kind", ["tails", "spectra"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_anew_with_one_warning(
    tmp_path: Path, kind: str, damage: str, made: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    weight = random_block(14, 9, torch.float16)
    sha256 = tensor_sha256(weight)
    cache = SpectrumCache(tmp_path)

    def result() -> Any:
        return cache.tails(weight, sha256, (1,)) if kind == "tails" else cache.spectra(weight, sha256, 1)

    expected = result()
    (entry,) = entries(tmp_path)
    whole = load(entry.path.read_bytes())
    DAMAGE[damage](entry.path)
    with caplog.at_level(logging.WARNING):
        check_same(result(), expected)
    assert len(made) == 2
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("cti_edits", "WARNING")
    assert record.getMessage().startswith(f"{entry.path}: damaged, made anew: ")
    assert len(record.getMessage().splitlines()) == 1
    again = load(entry.path.read_bytes())
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    check_same(result(), expected)
    assert len(made) == 2


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_noticed_or_harmless(tmp_path: Path, place: float, bit: int) -> None:
    """Harmless: in the blanks that fill the header up, or in the name of a field that nobody reads."""
    weight = random_block(6, 4, torch.float32)
    sha256 = tensor_sha256(weight)
    cache = SpectrumCache(tmp_path)
    cache.tails(weight, sha256, (2,))
    (entry,) = entries(tmp_path)
    content = bytearray(entry.path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    entry.path.write_bytes(content)
    check_same(cache.tails(weight, sha256, (2,)), block_tails(weight, (2,)))


def test_a_damaged_file_that_cannot_be_deleted_is_still_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weight = random_block(6, 4, torch.float32)
    sha256 = tensor_sha256(weight)
    (tmp_path / EntryKey(sha256, "rows", 1, "tails20").file_name / "in the way").mkdir(parents=True)
    check_same(SpectrumCache(tmp_path).tails(weight, sha256, (1,)), block_tails(weight, (1,)))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def used(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds))


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    weights = [random_block(10, 8, torch.float32, seed) for seed in range(4)]
    hashes = [tensor_sha256(weight) for weight in weights]
    cache = SpectrumCache(tmp_path)
    for index in range(3):
        cache.spectra(weights[index], hashes[index], 1)
        used(tmp_path / EntryKey(hashes[index], "rows", 1, "spectra").file_name, 1000.0 + index)
    size = entries(tmp_path)[0].size
    # Use makes the first one the latest.
    cache.spectra(weights[0], hashes[0], 1)
    bounded = SpectrumCache(tmp_path, limit=3 * size)
    bounded.spectra(weights[3], hashes[3], 1)
    assert {entry.key.sha256 for entry in entries(tmp_path)} == {hashes[0], hashes[2], hashes[3]}
    bounded = SpectrumCache(tmp_path, limit=size)
    bounded.spectra(weights[1], hashes[1], 1)
    assert {entry.key.sha256 for entry in entries(tmp_path)} == {hashes[1]}


def test_an_entry_larger_than_the_limit_is_not_stored_and_sends_nothing_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small, large = random_block(4, 4, torch.float32), random_block(60, 50, torch.float32)
    SpectrumCache(tmp_path).tails(small, tensor_sha256(small), (1,))
    cache = SpectrumCache(tmp_path, limit=5000)
    check_same(cache.spectra(large, tensor_sha256(large), 1), block_spectra(large, 1))
    assert [entry.key.sha256 for entry in entries(tmp_path)] == [tensor_sha256(small)]
    nothing = SpectrumCache(tmp_path / "none", limit=0)
    check_same(nothing.tails(small, tensor_sha256(small), (1,)), block_tails(small, (1,)))
    assert not nothing.folder.exists()
    assert caplog.records == []


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    weight = random_block(6, 4, torch.float32)
    cache = SpectrumCache(tmp_path / "file" / "folder")
    for _ in range(2):
        check_same(cache.tails(weight, tensor_sha256(weight), (1, 2)), block_tails(weight, (1, 2)))
    assert [record.getMessage() for record in caplog.records] == [
        f"{cache.folder}: cannot keep decompositions here: Not a directory"
    ]


def test_a_folder_that_may_not_be_read_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Raised by hand: the tests may run as root, who may read everything."""

    def refused(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refused)
    weight = random_block(6, 4, torch.float32)
    cache = SpectrumCache(tmp_path)
    check_same(cache.tails(weight, tensor_sha256(weight), (1, 2)), block_tails(weight, (1, 2)))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: cannot keep decompositions here: Permission denied"
    ]


def test_a_full_disk_is_one_warning_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    weight = random_block(6, 4, torch.float32)
    cache = SpectrumCache(tmp_path)
    for _ in range(2):
        check_same(cache.tails(weight, tensor_sha256(weight), (1, 2)), block_tails(weight, (1, 2)))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: cannot keep decompositions here: No space left on device"
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    left, written = (tmp_path / f".cti-edits-{digit * 16}.tmp" for digit in "ab")
    for path in (left, written):
        path.write_bytes(b"half")
    used(left, time.time() - spectrum_files.STALE - 60)
    weight = random_block(6, 4, torch.float32)
    SpectrumCache(tmp_path).tails(weight, tensor_sha256(weight), (1,))
    assert not left.exists()
    assert written.exists()


WORK = """
import logging, sys, torch
from pathlib import Path
from cti_edits.models.identity import tensor_sha256
from cti_edits.linalg.block_spectra import block_spectra
from cti_edits.linalg.block_tails import block_tails
from cti_edits.linalg.spectrum_cache import SpectrumCache
from tests.support.matrices import random_block
from tests.linalg.test_spectrum_cache import check_same

logging.basicConfig(level=logging.WARNING)
torch.set_num_threads(1)
cache = SpectrumCache(Path(sys.argv[1]), limit=int(sys.argv[2]))
weights = [random_block(24, 16, torch.float32, seed) for seed in range(3)]
# One K at a time: its last bits depend on those that it is computed together with.
expected = [([block_tails(weight, (K,)) for K in (1, 2, 4)], block_spectra(weight, 2)) for weight in weights]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(20):
    for weight, (tails, spectra) in zip(weights, expected):
        for K, tail in zip((1, 2, 4), tails):
            check_same(cache.tails(weight, tensor_sha256(weight), (K,)), tail)
        check_same(cache.spectra(weight, tensor_sha256(weight), 2), spectra)
"""


def test_processes_share_a_folder(commands: Path, tmp_path: Path) -> None:
    """They write, read and evict at the same time: right results, no warning, nothing left over."""
    limit = 25_000
    program, place = tmp_path / "work.py", tmp_path / "cache"
    program.write_text(WORK)
    processes = [
        subprocess.Popen(
            [commands / "run-python-file", program, place, str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    there = entries(place)
    assert {path.name for path in place.iterdir()} == {entry.path.name for entry in there}
    assert 0 < sum(entry.size for entry in there) <= limit
    assert len(there) < 12


def test_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CTI_EDITS_CACHE_LIMIT", raising=False)
    cache = SpectrumCache()
    assert cache.folder == default_folder() == tmp_path / "cti-edits" / "spectra"
    assert cache.limit == default_limit() == LIMIT == 10_000_000_000
    monkeypatch.setenv("CTI_EDITS_CACHE_LIMIT", "0")
    assert SpectrumCache().limit == 0
    monkeypatch.setenv("CTI_EDITS_CACHE_LIMIT", "many")
    with pytest.raises(EditError, match="CTI_EDITS_CACHE_LIMIT: expected a number of bytes, got 'many'"):
        SpectrumCache()


@pytest.mark.parametrize("bad", ["", "../../etc", "0" * 63, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_what_is_no_hash_is_refused(tmp_path: Path, bad: str) -> None:
    weight = random_block(6, 4, torch.float32)
    for asked in (
        lambda: SpectrumCache(tmp_path).tails(weight, bad, (1,)),
        lambda: SpectrumCache(tmp_path).spectra(weight, bad, 1),
    ):
        with pytest.raises(EditError, match="expected a sha256 of 64 hexadecimal digits"):
            asked()


def test_wrong_weights_are_refused_as_without_a_cache(tmp_path: Path) -> None:
    weight = random_block(6, 4, torch.float32)
    with pytest.raises(EditError, match="expected clusters from 1 to 6"):
        SpectrumCache(tmp_path).tails(weight, tensor_sha256(weight), (1, 7))
    with pytest.raises(EditError, match="expected clusters from 1 to 6"):
        SpectrumCache(tmp_path).spectra(weight, tensor_sha256(weight), 7)
    with pytest.raises(EditError, match="expected a matrix"):
        SpectrumCache(tmp_path).tails(weight[0], tensor_sha256(weight[0]), (1,))
    weight[0, 0] = torch.nan
    with pytest.raises(EditError, match="the weight holds NaN"):
        SpectrumCache(tmp_path).tails(weight, tensor_sha256(weight), (1,))
    assert list(tmp_path.iterdir()) == []
