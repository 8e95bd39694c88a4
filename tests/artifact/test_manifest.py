"""Reading, the digest and writing of manifests. What the schema alone rules is in test_json_schema.py."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.manifest import MAX_BYTES, BaseModel, Edit, load, parse
from cti_edits.artifact.matrix_edits import MEASURED, BlockSvdEdit, DirectionsEdit, Factors, MatrixEdit, PluginEdit
from cti_edits.artifact.ranks import block_ranks, full_ranks
from cti_edits.artifact.records import Measurement, Provenance, Results
from cti_edits.artifact.rows import Rows
from cti_edits.errors import ManifestError, WriteError
from cti_edits.files import check_writable
from cti_edits.paths import folder
from tests.support.edits import cuts, full, full_2

DATA = Path(__file__).parents[1] / "data"
FIXTURES = DATA / "edit-1"
PUBLISHED: dict[str, str] = json.loads((DATA / "published_digests.json").read_text(encoding="utf-8"))

# The fixtures of each version of the format. They and their digests never change.
DIGESTS = {
    "edit-1/empty.json": "25f1ed7cbb5e439f5212d14794b18cfb15e2a23651e53511bfa4b8f9b96b563f",
    "edit-1/one_matrix.json": "0a7d78907f447bf60e6eece8176bfa0e4c503b8dd7ee3301cecefef380c790e7",
    "edit-1/two_matrices.json": "11a67f5e20bec9772a4bf5792e7036dd7651bb9de86551a26aba4a04439d4c70",
    "edit-1/every_field.json": "c7de9245002025bb538263f082c198cc4c25b671c78a95884eae0fc8f6a0f9cf",
    "edit-1/asked.json": "647d808052694f5247c00649bd0ed10fcaf64155ff0b1f5b2e8788ff09c6ecf8",
    "edit-2/every_field.json": "4319318ca59c9b0dcb0496b76d04217b7ce5529f1256caa3491f384e9beb8fcb",
    "edit-2/every_part.json": "e45bfe609b2114fd90628ea3fd73a3bebff4c28614b3603bfd77e42027af7396",
    "edit-2/directions.json": "cf04b642f1f2468ab543363a13576ddae22f57ef728d4ad95119e71394d1a79c",
    "edit-2/row_blocks.json": "e1d43d3e90df36bf6aab3ff901fcf8801f1b9e67200765495f9b806972c77444",
    "edit-2/mixed.json": "72b1267733707d076669f839764fe28ea2e2bc42a4e1748bcca690e51c8afb38",
    "edit-2/plugin.json": "774476db45518f7eb06c51a70fa3f5bc70914591e81a2142c8ee210d5e1f5432",
    "edit-2/search.json": "b4c2593c2d51de687b4f65fbfc246154cb27563a2068fc0cd605335ebb72c9cf",
}


def refusal(content: bytes | str | dict[str, Any]) -> str:
    """The message for ``content``, less the file's name."""
    if isinstance(content, dict):
        content = json.dumps(content)
    with pytest.raises(ManifestError) as caught:
        parse(content if isinstance(content, bytes) else content.encode(), source="some.json")
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("some.json: ")
    return message.removeprefix("some.json: ")


# Fixtures


def test_the_folders_hold_the_pinned_fixtures() -> None:
    assert {f"{file.parent.name}/{file.name}" for file in DATA.glob("edit-*/*")} == set(DIGESTS)


@pytest.mark.parametrize("name", DIGESTS)
def test_a_fixture_reads_and_has_its_digest(name: str) -> None:
    edit = load(DATA / name)
    assert edit.digest() == DIGESTS[name]
    assert edit.to_json() == json.loads((DATA / name).read_text(encoding="utf-8"))


def test_the_published_edits_keep_their_digests_and_bytes(tmp_path: Path) -> None:
    files = {file.stem: file for file in folder("edits").glob("*.json")}
    assert set(files) == set(PUBLISHED)
    assert len(files) == 48
    for name, file in files.items():
        edit = load(file)
        assert edit.digest() == PUBLISHED[name]
        assert edit.schema_version == 1
        assert edit.write(tmp_path / "edit.json").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", ["edit-1/one_matrix.json", "edit-2/row_blocks.json", "edit-2/plugin.json"])
def test_the_digest_is_the_sha256_of_canonical_json(name: str) -> None:
    """Here by other means: these fixtures' keys are ASCII and their numbers short."""
    document = json.loads((DATA / name).read_text(encoding="utf-8"))
    for key in ("provenance", "results", "metadata"):
        del document[key]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == DIGESTS[name]


def test_the_fields_of_a_fixture() -> None:
    edit = load(FIXTURES / "two_matrices.json")
    assert edit.name == "tiny.two-matrices_1"
    assert edit.base_model == BaseModel("example/tiny-llama", "0123456789abcdef", "LlamaForCausalLM", "bfloat16")
    first, second = cuts(edit)
    assert (first.matrix, first.layer, first.shape, first.block_ranks) == ("U_in", 0, (50, 32), (3, 3, 3, 3))
    assert first.factors == Factors("two-matrices.safetensors", first.factors.sha256 if first.factors else "", 4096)
    assert (second.rho, second.clusters, second.frobenius_norm, second.factors) == (1.0, 1, 1e-7, None)


def test_the_fields_of_a_fixture_of_version_2() -> None:
    cut, one, of_blocks, unknown = load(DATA / "edit-2" / "every_field.json").edits
    assert isinstance(cut, BlockSvdEdit)
    assert isinstance(one, DirectionsEdit)
    assert (one.clusters, one.block, one.index, one.scale) == (1, None, (0, 3, 4, 31), (1.5, 0.0, -2.25, 1))
    assert (one.sigma, one.dtype, one.frobenius_norm) == ((4.75, 1.5, 1.5, 0), "BF16", 12.5)
    assert isinstance(of_blocks, DirectionsEdit)
    assert of_blocks.directions == ((0, 0), (0, 12), (2, 1), (3, 0))
    assert isinstance(unknown, PluginEdit)
    assert (unknown.method, unknown.distribution) == ("add-rank-one", "cti-edits-example")
    assert unknown.parameters["deep"] == {"anything": [None, True, "x"]}
    assert [edit.method for edit in (cut, one, of_blocks)] == ["block-svd", "directions", "directions"]


# schema_version


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("null", "schema_version: expected an integer, got null"),
        ('"1"', 'schema_version: expected an integer, got a string "1"'),
        ("true", "schema_version: expected an integer, got a boolean true"),
        ("1.0", "schema_version: expected an integer, got a number 1.0"),
        ("[1]", "schema_version: expected an integer, got an array"),
        ("0", "schema_version: expected an integer from 1 to 2, got 0"),
        ("-1", "schema_version: expected an integer from 1 to 2, got -1"),
        ("3", "schema_version: 3 is newer than 2, the newest known here; upgrade cti-edits"),
        ("9007199254740991", "schema_version: 9007199254740991 is newer than 2"),
        ("9007199254740992", "schema_version: 9007199254740992 is too large an integer"),
    ],
)
def test_a_schema_version_that_is_not_known(version: str, expected: str) -> None:
    text = json.dumps(full()).replace('"schema_version": 1', f'"schema_version": {version}')
    assert refusal(text).startswith(expected)


def test_a_missing_schema_version_is_said_to_be_missing() -> None:
    document = full()
    del document["schema_version"]
    assert refusal(document) == "schema_version: missing; expected an integer from 1 to 2"


def test_a_newer_version_is_named_before_its_unknown_keys() -> None:
    assert "upgrade cti-edits" in refusal({**full(), "schema_version": 3, "new_key": 1})


def test_size_is_limited_before_anything_is_parsed() -> None:
    text = json.dumps(full())
    parse((text + " " * (MAX_BYTES - len(text))).encode())
    assert refusal(text + " " * (MAX_BYTES - len(text) + 1)).startswith(f"larger than {MAX_BYTES:,} bytes")
    assert refusal(b"\xff" * (MAX_BYTES + 1)).startswith("larger than")


# What no schema can say


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clusters": 51}, "edits[0].clusters: expected at most 50 (the number of rows), got 51"),
        ({"clusters": 16_777_216}, "edits[0].clusters: expected at most 50 (the number of rows), got 16777216"),
        ({"clusters": 3}, "edits[0].block_ranks: expected 3 ranks, one a row block (clusters), got 4"),
        ({"block_ranks": [3]}, "edits[0].block_ranks: expected 4 ranks, one a row block (clusters), got 1"),
        ({"block_ranks": [3, 3, 3, 3, 3]}, "edits[0].block_ranks: expected 4 ranks"),
        (
            {"block_ranks": [3, 3, 4, 3]},
            "edits[0].block_ranks[2]: expected 3 (rho 0.25 of the block's full rank 12), got 4",
        ),
        (
            {"block_ranks": [14, 3, 3, 3]},
            "edits[0].block_ranks[0]: expected 3 (rho 0.25 of the block's full rank 13), got 14",
        ),
        ({"rho": 0.5}, "edits[0].block_ranks[0]: expected 6"),
        ({"rho": 1.0}, "edits[0].block_ranks[0]: expected 13"),
        ({"shape": [50, 8]}, "edits[0].block_ranks[0]: expected 2"),
        ({"shape": [3, 32]}, "edits[0].clusters: expected at most 3 (the number of rows), got 4"),
    ],
)
def test_ranks_agree_with_shape_clusters_and_rho(changes: dict[str, Any], expected: str) -> None:
    document = full()
    document["edits"][0].update(changes)
    assert refusal(document).startswith(expected)


def test_the_same_matrix_twice() -> None:
    document = full()
    again = copy.deepcopy(document["edits"][0])
    by_role = {**again, "module": "another.module"}
    by_module = {**again, "layer": 7}
    for other in (by_role, by_module):
        assert refusal({**document, "edits": [*document["edits"], other]}) == (
            "edits[2]: edits the same matrix as edits[0]"
        )
    elsewhere = {**again, "layer": 7, "module": "another.module"}
    assert len(parse(json.dumps({**document, "edits": [*document["edits"], elsewhere]}).encode()).edits) == 3


@pytest.mark.parametrize("part", ["calibration", "test"])
def test_an_interval_has_its_lower_end_first(part: str) -> None:
    document = full()
    document["results"][part]["ci95"] = [0.1, -0.1]
    assert refusal(document) == f"results.{part}.ci95: expected the lower end first, got [0.1, -0.1]"
    document["results"][part]["ci95"] = [0.1, 0.1]
    parse(json.dumps(document).encode())


def test_a_key_from_the_file_is_escaped_where_it_is_part_of_a_field() -> None:
    document = full()
    document["provenance"]["versions"] = {"\x1b[31m\u202e": 5}
    assert refusal(document) == "provenance.versions.\\x1b[31m\\u202e: expected a string, got an integer 5"


# Files that are none


def test_a_missing_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"/gone\.json: expected an edit manifest.*no such file"):
        load(tmp_path / "gone.json")
    with pytest.raises(ManifestError, match="not a regular file"):
        load(tmp_path)
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(ManifestError, match="not a regular file"):
        load(pipe)  # opening it would wait for a writer for ever
    with pytest.raises(ManifestError, match="not a regular file"):
        load("/dev/zero")
    link = tmp_path / "link.json"
    link.symlink_to(link)
    with pytest.raises(ManifestError):
        load(link)


@pytest.mark.parametrize("name", ["nul\0byte", "x" * 5000, "\udcff\udcfe", "line\nfeed", ""])
def test_a_file_name_that_cannot_be(name: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(name)
    assert str(caught.value).isprintable()
    with pytest.raises(ManifestError) as caught:
        parse(b"{}", source=name)
    assert str(caught.value).isprintable()


def test_a_long_path_is_named_whole(tmp_path: Path) -> None:
    file = tmp_path / ("d" * 200) / "edit.json"
    file.parent.mkdir()
    file.write_text("{}")
    with pytest.raises(ManifestError, match=r"d/edit\.json: "):
        load(file)
    with pytest.raises(ManifestError, match=r"d/gone\.json: "):
        load(file.with_name("gone.json"))
    with pytest.raises(ManifestError, match=r"d/new\.json: metadata\.x: nan is not"):
        dataclasses.replace(EMPTY, metadata={"x": float("nan")}).write(file.with_name("new.json"))


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "sparse.json"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ManifestError, match="larger than"):
        load(file)


# Time and memory

HOSTILE = """
import json, resource, sys, time
from cti_edits.errors import ManifestError
from cti_edits.artifact.manifest import MAX_BYTES, parse

document = json.loads(open(sys.argv[1]).read())
parse(json.dumps(document).encode())
N = MAX_BYTES

def metadata(item):
    text = json.dumps({**document, "metadata": {"a": "HERE"}})
    return text.replace('"HERE"', "[" + ",".join([item] * ((N - len(text)) // (len(item) + 1))) + "]")

def edits(count, **changes):
    one = {**document["edits"][0], **changes, "factors": None}
    each = [{**one, "layer": n, "module": f"m{n}"} for n in range(count)]
    return json.dumps({**document, "edits": each}, separators=(",", ":"))

second = json.loads(open(sys.argv[2]).read())
directions = second["edits"][0]

def many(count, changes, edits=1):
    each = [{**directions, **changes, "layer": n, "module": f"m{n}"} for n in range(edits)]
    each = [{**one, **{key: value * count for key, value in changes.items() if key != "index" and type(value) is list
                       and key != "shape"}} for one in each]
    return json.dumps({**second, "edits": each}, separators=(",", ":"))

square = {"shape": [100_000, 100_000], "index": list(range(100_000)), "scale": [0], "sigma": [1]}
blocks = {"shape": [16_777_216, 1], "clusters": 100_000, "block": [0], "index": [0], "scale": [0], "sigma": [1]}

ranks = {"shape": [100_000, 1], "clusters": 100_000, "block_ranks": [1] * 100_000}
shapes = {
    "open brackets": "[" * N,
    "open braces": '{"":' * (N // 4),
    "one string": '"' + "a" * (N - 2) + '"',
    "one open string": '"' + "a" * (N - 1),
    "one wide string": '"' + "\U0001f600" * ((N - 2) // 4) + '"',
    "quotes": '"' * N,
    "digits": "1" * N,
    "decimals": "1." + "1" * (N - 2),
    "exponent": "1e" + "1" * (N - 2),
    "minus signs": "-" * N,
    "blanks": " " * N,
    "backslashes": '"' + "\\\\" * (N - 2) + '"',
    "escaped quotes": '"' + '\\\\"' * (N // 2 - 1) + '"',
    "surrogates": '["' + "\\\\ud800" * ((N - 4) // 6) + '"]',
    "keys": "{" + ",".join(f'"{n}":0' for n in range(90_000)) + "}",
    "the same key": "{" + ",".join(['"":0'] * (N // 5 - 1)) + "}",
    "unknown keys": json.dumps({**document, **{str(n): 0 for n in range(70_000)}}),
    "versions": json.dumps({**document, "provenance": {**document["provenance"], "versions": {
        str(n): "" for n in range(70_000)}}}),
    "arrays": metadata("[]"),
    "objects": metadata("{}"),
    "small objects": metadata('{"":0}'),
    "numbers": metadata("0"),
    "numbers and a NaN": metadata("0").replace("[0,", "[NaN,", 1),
    "numbers and a late NaN": metadata("0").replace(",0]", ",NaN]"),
    "many edits": edits(2_000),
    "too many edits": edits(3_000),
    "edits that are null": json.dumps({**document, "edits": [None] * 150_000}),
    "many ranks": edits(4, rho=1.0, **ranks),
    "a wrong rank at the end": edits(1, rho=1.0, **{**ranks, "block_ranks": [1] * 99_999 + [2]}),
    "a wrong kind at the end": edits(1, rho=1.0, **{**ranks, "block_ranks": [1] * 99_999 + [True]}),
    "too many ranks": edits(1, **{**ranks, "block_ranks": [1] * 500_000}),
    "clusters without ranks": edits(1_000, rho=1.0, **{**ranks, "block_ranks": [1]}),
    "many directions": many(100_000, square),
    "too many directions": many(100_001, {**square, "index": list(range(100_001))}),
    "a wrong factor at the end": many(100_000, square).replace(",0],", ",1e7],", 1),
    "a rising sigma at the end": many(100_000, square).replace(",1],", ",2],", 1),
    "many row blocks of many edits": many(1, blocks, edits=2_000),
    "more directions than a file holds": many(80_000, {**square, "index": list(range(80_000)), "sigma": [1.23456789]}),
    "a long description": json.dumps({**document, "description": "\\x1b" * 150_000}),
    "a long name": json.dumps({**document, "name": "a" * 1_000_000}),
    "a long module": json.dumps({**document, "edits": [{**document["edits"][0], "module": "a." * 500_000}]}),
    "a module that nearly matches": json.dumps(
        {**document, "edits": [{**document["edits"][0], "module": "a" * 499 + "!"}]}),
}

def measured(content):
    start = time.process_time()
    try:
        parse(content).digest()
        end = "read"
    except ManifestError as error:
        assert len(str(error)) < 500
        end = "refused"
    return time.process_time() - start, end

report = {}
for name, text in shapes.items():
    assert len(text.encode()) <= N or name == "more directions than a file holds", name
    report[name] = measured(text.encode())
    # The best of a few, since a busy machine can make any one slow.
    for _ in range(4):
        if report[name][0] > 0.9:
            report[name] = min(report[name], measured(text.encode()))
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")] if sys.platform == "linux" else []
print(json.dumps({"shapes": report, "megabytes": int(peak[0].split()[1]) / 1024 if peak else None}))
"""


def test_a_megabyte_is_read_or_refused_in_bounded_time_and_memory() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", HOSTILE),
            *(str(DATA / name) for name in ("edit-1/two_matrices.json", "edit-2/directions.json")),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    slow = {name: seconds for name, (seconds, _) in report["shapes"].items() if seconds > 1.0}
    assert not slow
    # All of the shapes lie in this process too, so one file takes less. Only Linux tells the peak of one process alone.
    assert sys.platform != "linux" or report["megabytes"] < 200
    read = {name for name, (_, end) in report["shapes"].items() if end == "read"}
    plain = {"arrays", "objects", "small objects", "numbers"}
    assert read == plain | {"many edits", "many ranks", "many directions", "many row blocks of many edits"}


# Properties

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
HASH = st.binary(min_size=32, max_size=32).map(bytes.hex)
SHARE = st.floats(0, 1)


def ascending(numbers: set[int]) -> tuple[int, ...]:
    return tuple(sorted(numbers))


@st.composite
def matrix_edits(draw: st.DrawFn) -> tuple[MatrixEdit, ...]:
    made: list[MatrixEdit] = []
    for layer in draw(st.lists(st.integers(0, 100_000), max_size=3, unique=True)):
        shape = (draw(st.integers(1, 64)), draw(st.integers(1, 64)))
        clusters = draw(st.integers(1, shape[0]))
        common: dict[str, Any] = {
            "matrix": draw(st.from_regex(r"[UW]_[a-z]{1,20}", fullmatch=True)),
            "layer": layer,
            "module": f"h.{layer}.fc",
            "shape": shape,
            "sha256": draw(st.none() | HASH),
            "frobenius_norm": draw(st.none() | st.floats(0, allow_infinity=False)),
            "factors": draw(st.none() | st.builds(Factors, st.just("f.safetensors"), HASH, st.integers(1, 10**9))),
            "dtype": draw(st.sampled_from([None, "F64", "F32", "F16", "BF16"])),
            "tensor": draw(st.none() | st.just("fc.weight")),
        }
        kind = draw(st.sampled_from(["cut", "cut", "directions", "plugin"]))
        if kind == "cut":
            rho = draw(st.floats(0, 1, exclude_min=True))
            made.append(
                BlockSvdEdit(
                    **common,
                    rho=rho,
                    clusters=clusters,
                    block_ranks=block_ranks(shape, clusters, rho),
                    retained_energy=draw(st.none() | st.tuples(*[SHARE] * clusters)),
                    tied_blocks=draw(st.none() | st.sets(st.integers(0, clusters - 1), min_size=1).map(ascending)),
                )
            )
        elif kind == "directions":
            made.append(DirectionsEdit(**common, clusters=clusters, **draw(directions(shape, clusters))))
        else:
            made.append(
                PluginEdit(**common, name="magic", distribution="a.b", parameters=draw(st.dictionaries(TEXT, JSON)))
            )
    return tuple(made)


@st.composite
def directions(draw: st.DrawFn, shape: tuple[int, int], clusters: int) -> dict[str, Any]:
    """The parallel tuples of a `DirectionsEdit`."""
    every = [(block, index) for block, full in enumerate(full_ranks(shape, clusters)) for index in range(full)]
    chosen = sorted(draw(st.sets(st.sampled_from(every), min_size=1, max_size=8)))
    size = len(chosen)
    falling = draw(st.lists(st.floats(0, allow_infinity=False), min_size=size, max_size=size))
    scale = draw(st.lists(st.floats(-1e6, 1e6) | st.integers(-5, 5), min_size=size, max_size=size))
    return {
        "block": tuple(block for block, _ in chosen) if clusters > 1 else None,
        "index": tuple(index for _, index in chosen),
        "scale": tuple(scale),
        "sigma": tuple(sorted(falling, reverse=True)),
    }


MEASUREMENT = st.builds(
    Measurement,
    st.integers(1, 10**9),
    SHARE,
    SHARE,
    SHARE,
    baseline_nll=st.none() | st.floats(0, allow_infinity=False),
    edited_nll=st.none() | st.floats(0, allow_infinity=False),
    ci95=st.none() | st.tuples(st.floats(-1, 0), st.floats(0, 1)),
    p_value=st.none() | SHARE,
)
EDITS = st.builds(
    Edit,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    description=TEXT,
    base_model=st.builds(
        BaseModel,
        LINE,
        st.none() | LINE,
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
        st.sampled_from(["float32", "float16", "bfloat16", "float64", None]),
    ),
    edits=matrix_edits(),
    results=st.builds(Results, st.none() | MEASUREMENT, st.none() | MEASUREMENT),
    provenance=st.builds(
        Provenance,
        st.none() | st.just("2026-01-31T23:59:59Z"),
        LINE,
        st.none() | LINE,
        st.dictionaries(TEXT, LINE, max_size=3),
    ),
    metadata=st.dictionaries(TEXT, JSON, max_size=4),
)


def reads_or_refuses(content: bytes) -> None:
    try:
        edit = parse(content)
    except ManifestError as error:
        message = str(error)
    else:
        assert parse(json.dumps(edit.to_json()).encode()) == edit
        return
    assert message.isprintable()
    assert len(message) < 1000


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_an_edit_or_a_manifest_error(content: bytes) -> None:
    reads_or_refuses(content)


ODD = JSON | st.floats() | st.integers() | st.text(max_size=20)


@given(st.data())
def test_a_manifest_with_a_part_replaced_is_an_edit_or_a_manifest_error(data: st.DataObject) -> None:
    document: Any = data.draw(st.sampled_from([full, full_2]))()
    parent, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(parent[key], (dict, list)) and parent[key] and data.draw(st.booleans()):
        parent = parent[key]
        key = data.draw(
            st.sampled_from(sorted(parent)) if isinstance(parent, dict) else st.integers(0, len(parent) - 1)
        )
    if isinstance(parent, dict) and data.draw(st.booleans()):
        key = data.draw(st.text(max_size=10))
    parent[key] = data.draw(ODD)
    reads_or_refuses(json.dumps(document).encode())


@given(st.data())
def test_a_manifest_with_bytes_replaced_is_an_edit_or_a_manifest_error(data: st.DataObject) -> None:
    content = bytearray(
        (DATA / data.draw(st.sampled_from(["edit-1/two_matrices.json", "edit-2/mixed.json"]))).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    reads_or_refuses(bytes(content))


@given(edit=EDITS)
def test_a_valid_edit_survives_writing_and_reading(edit: Edit, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "edit.json"
    assert edit.write(path) == path
    assert load(path) == edit
    assert load(path).digest() == edit.digest()
    assert parse(json.dumps(edit.to_json()).encode()) == edit


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@given(EDITS, st.randoms(use_true_random=False), st.sampled_from([None, 0, 7, "\t"]), st.booleans())
def test_the_digest_does_not_depend_on_order_blanks_or_escapes(
    edit: Edit, order: random.Random, indent: int | str | None, escapes: bool
) -> None:
    text = json.dumps(shuffled(edit.to_json(), order), indent=indent, ensure_ascii=escapes)
    assert parse(text.encode()).digest() == edit.digest()


@pytest.mark.parametrize(
    ("field", "spellings"),
    [
        ("rho", ["0.25", "2.5e-1", "25E-2", "0.250", "0.25000000000000000001"]),
        ("frobenius_norm", ["12", "12.0", "1.2e1", "120e-1"]),
    ],
)
def test_the_digest_does_not_depend_on_the_spelling_of_a_number(field: str, spellings: list[str]) -> None:
    document = full()
    document["edits"][0][field] = "HERE"
    text = json.dumps(document)
    assert len({parse(text.replace('"HERE"', number).encode()).digest() for number in spellings}) == 1


@given(EDITS, EDITS)
def test_the_digest_does_not_depend_on_results_provenance_or_metadata(edit: Edit, other: Edit) -> None:
    same = dataclasses.replace(edit, results=other.results, provenance=other.provenance, metadata=other.metadata)
    assert same.digest() == edit.digest()


TWO = load(FIXTURES / "every_field.json")
KINDS = load(DATA / "edit-2" / "every_part.json")


def changed(one: MatrixEdit, **changes: Any) -> MatrixEdit:
    """Of whatever kind it is: which fields it has is not known of a `MatrixEdit`."""
    return dataclasses.replace(one, **changes)


PART = {"stack": "encoder", "expert": 1, "parameter": "another", "rows": Rows(0, 50), "gguf_sha256": "0" * 64}

CHANGED: dict[str, dict[str, Any]] = {
    "edit": {
        "name": "another",
        "description": "another",
        "edits": TWO.edits[:1],
        "task": None,
        "search": None,
    },
    "base_model": {"id": "another", "revision": None, "architecture": "Another", "dtype": None},
    "matrix_edit": {
        "matrix": "W_q",
        "layer": 1,
        "module": "another",
        "shape": (51, 32),
        "rho": 0.26,
        "clusters": 5,
        "block_ranks": (3, 3, 3, 2),
        "partition": "another",
        "sha256": None,
        "frobenius_norm": 12.6,
        "factors": None,
        "dtype": None,
        "tensor": None,
        **PART,
    },
    "factors": {"file": "another.safetensors", "sha256": "0" * 64, "size": 4097},
    "directions": {
        "matrix": "W_q",
        "layer": 4,
        "module": "another",
        "shape": (51, 32),
        "clusters": 5,
        "block": (0, 0, 2, 2),
        "index": (0, 11, 1, 0),
        "scale": (0.5, 1.25, 3, 1.5e-3),
        "sigma": (2, 0.5, 0.76, 2.5),
        "sha256": "0" * 64,
        "frobenius_norm": 12.6,
        "factors": None,
        "dtype": None,
        "tensor": None,
        **PART,
    },
    "plugin": {
        "name": "another",
        "distribution": "another",
        "matrix": "W_q",
        "layer": 2,
        "module": "another",
        "shape": (51, 32),
        "parameters": {"seed": 8},
        "sha256": None,
        "frobenius_norm": 12.6,
        "factors": None,
        "dtype": None,
        "tensor": None,
        **PART,
    },
    "search": {
        "method": None,
        "scorer": None,
        "selector": "another",
        "directions": (64,),
        "drops": None,
        "epochs": None,
        "confirm": None,
        "max_kl": 0.2,
        "partition": None,
        "compose": None,
        "parts": None,
    },
}
PLACES = {"directions": 2, "plugin": 3}


@pytest.mark.parametrize(("part", "field"), [(part, field) for part, fields in CHANGED.items() for field in fields])
def test_every_field_that_says_what_is_applied_changes_the_digest(part: str, field: str) -> None:
    change: dict[str, Any] = {field: CHANGED[part][field]}
    if part in ("search", *PLACES):
        assert KINDS.search is not None
        if part == "search":
            newer = dataclasses.replace(KINDS, search=dataclasses.replace(KINDS.search, **change))
        else:
            edits = list(KINDS.edits)
            edits[PLACES[part]] = dataclasses.replace(edits[PLACES[part]], **change)
            newer = dataclasses.replace(KINDS, edits=tuple(edits))
        assert newer.digest() != KINDS.digest()
        return
    first = TWO.edits[0]
    assert first.factors is not None
    if part == "edit":
        other = dataclasses.replace(TWO, **change)
    elif part == "base_model":
        other = dataclasses.replace(TWO, base_model=dataclasses.replace(TWO.base_model, **change))
    else:
        if part == "factors":
            change = {"factors": dataclasses.replace(first.factors, **change)}
        other = dataclasses.replace(TWO, edits=(dataclasses.replace(first, **change), *TWO.edits[1:]))
    assert other.digest() != TWO.digest()


def test_no_field_is_left_out_of_the_test_above() -> None:
    unhashed = {"results", "provenance", "metadata", "path", "factor_paths"}
    for part, kind, beyond in (
        ("edit", Edit, unhashed | {"base_model"}),
        ("base_model", BaseModel, set()),
        ("matrix_edit", BlockSvdEdit, set(MEASURED)),
        ("directions", DirectionsEdit, set()),
        ("plugin", PluginEdit, set()),
        ("factors", Factors, set()),
    ):
        assert set(CHANGED[part]) | beyond == {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("field", MEASURED)
def test_what_was_measured_of_a_matrix_edit_does_not_change_the_digest(field: str) -> None:
    """Another machine measures other last digits of the same edit."""
    first = TWO.edits[0]
    assert getattr(first, field) is not None
    changes: dict[str, Any] = {field: None}
    other = dataclasses.replace(TWO, edits=(dataclasses.replace(first, **changes), *TWO.edits[1:]))
    assert other.to_json() != TWO.to_json()
    assert other.digest() == TWO.digest()


def test_the_folder_that_an_edit_was_read_from_is_none_of_its_identity(tmp_path: Path) -> None:
    moved = load(TWO.write(tmp_path / "edit.json"))
    assert (moved, moved.digest()) == (TWO, TWO.digest())
    assert (moved.path, parse(json.dumps(full()).encode()).path) == (tmp_path / "edit.json", None)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("retained_energy", [0.5], "edits[0].retained_energy: expected 4 numbers, one a row block, got 1"),
        ("tied_blocks", [4], "edits[0].tied_blocks: expected ascending block numbers from 0 to 3, got [4]"),
        ("tied_blocks", [1, 0], "edits[0].tied_blocks: expected ascending block numbers from 0 to 3, got [1, 0]"),
        ("tied_blocks", [1, 1], "edits[0].tied_blocks: expected ascending block numbers from 0 to 3, got [1, 1]"),
    ],
)
def test_what_is_said_of_blocks_has_to_agree_with_their_number(key: str, value: list[Any], expected: str) -> None:
    document = full()
    document["edits"][0][key] = value
    assert refusal(document) == expected


def test_the_order_of_matrix_edits_is_part_of_the_digest() -> None:
    assert dataclasses.replace(TWO, edits=TWO.edits[::-1]).digest() != TWO.digest()


# Writing

EMPTY = load(FIXTURES / "empty.json")


def test_writing_gives_back_a_fixture_byte_by_byte(tmp_path: Path) -> None:
    for name in DIGESTS:
        load(DATA / name).write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()


def test_the_arrays_of_directions_take_a_line_each_and_nothing_else_does(tmp_path: Path) -> None:
    """A thousand directions are some tens of kilobytes then; version 1 is written as it always was."""
    count = 1000
    one = changed(
        load(DATA / "edit-2" / "directions.json").edits[0],
        shape=(count, count),
        index=tuple(range(count)),
        scale=tuple(1 + 1 / (3 + n) for n in range(count)),
        sigma=tuple(10 / (3 + n) for n in range(count)),
    )
    text = dataclasses.replace(EMPTY, edits=(one,)).write(tmp_path / "edit.json").read_text()
    assert [line.split(":")[0].strip(' "') for line in text.splitlines() if line.count(",") > 1] == [
        *("index", "scale", "sigma")
    ]
    assert len(text) < 50_000
    metadata = {"index": [1, 2], "text": ' "scale": [\n1, 2]'}
    for edits in ((), (one,)):
        edit = dataclasses.replace(EMPTY, edits=edits, metadata=metadata)
        assert load(edit.write(tmp_path / "edit.json")) == edit
    older = dataclasses.replace(EMPTY, metadata=metadata)
    expected = json.dumps(older.to_json(), indent=2, ensure_ascii=False) + "\n"
    assert older.write(tmp_path / "edit.json").read_text() == expected


def test_writing_makes_the_folders_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "edit.json"
    EMPTY.write(path)
    assert load(path) == EMPTY
    assert [file.name for file in path.parent.iterdir()] == ["edit.json"]


class Odd:
    pass


CIRCULAR: dict[str, Any] = {}
CIRCULAR["again"] = CIRCULAR


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "no blanks"}, "name: expected text that matches "),
        ({"description": "x" * 2001}, "description: expected at most 2000 characters, got 2001"),
        ({"description": "\ud800"}, "description: has half of a surrogate pair"),
        ({"metadata": {"\ud800": 1}}, "metadata: the key "),
        ({"metadata": {1: 1}}, "metadata: the key 1 is not text"),
        ({"metadata": {"x": float("nan")}}, "metadata.x: nan is not a JSON number"),
        ({"metadata": {"x": [1, float("-inf")]}}, "metadata.x[1]: -inf is not a JSON number"),
        ({"metadata": {"x": 2**53}}, "metadata.x: expected an integer of at most"),
        ({"metadata": {"x": Odd()}}, "metadata.x: expected a JSON value, got Odd"),
        ({"metadata": {"x": b""}}, "metadata.x: expected a JSON value, got bytes"),
        ({"metadata": CIRCULAR}, "metadata" + ".again" * 28),
        ({"metadata": {"x": "y" * MAX_BYTES}}, "larger than 1,048,576 bytes"),
        (
            {"edits": (changed(KINDS.edits[1], scale=(1, 2, 3, float("nan"))),)},
            "edits[0].scale[3]: nan is not a JSON number",
        ),
        (
            {"edits": (changed(KINDS.edits[1], index=(0, 3, 3, 4)),)},
            "edits[0].index[2]: expected directions in ascending order, each once, got 3",
        ),
        (
            {"edits": (changed(KINDS.edits[1], index=(0, 1, 2)),)},
            "edits[0].scale: expected 3 values, one for each index, got 4",
        ),
        (
            {"edits": (changed(KINDS.edits[3], parameters={"x": {1}}),)},
            "edits[0].parameters.x: expected a JSON",
        ),
        ({"edits": (dataclasses.replace(cuts(TWO)[0], rho=float("nan")),)}, "edits[0].rho: nan is not a JSON number"),
        ({"edits": (dataclasses.replace(cuts(TWO)[0], clusters=5),)}, "edits[0].block_ranks: expected 5 ranks"),
        ({"edits": (TWO.edits[0], TWO.edits[0])}, "edits[1]: edits the same matrix as edits[0]"),
    ],
    ids=lambda part: "" if isinstance(part, dict) else part[:30],
)
def test_an_invalid_edit_is_not_written(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "edit.json"
    EMPTY.write(path)
    with pytest.raises(ManifestError) as caught:
        dataclasses.replace(EMPTY, **changes).write(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert str(caught.value).isprintable()
    assert load(path) == EMPTY
    assert [file.name for file in tmp_path.iterdir()] == ["edit.json"]


def test_a_digest_of_what_json_has_not_is_a_manifest_error() -> None:
    with pytest.raises(ManifestError, match=r"^empty: edits\[0\]\.rho: inf is not a JSON number"):
        dataclasses.replace(EMPTY, edits=(dataclasses.replace(cuts(TWO)[0], rho=float("inf")),)).digest()
    with pytest.raises(ManifestError, match=r"^\\x1b\[31m: description: has half of a surrogate pair"):
        dataclasses.replace(EMPTY, name="\x1b[31m", description="\ud800").digest()


def test_mappings_and_tuples_are_written_as_objects_and_arrays(tmp_path: Path) -> None:
    edit = dataclasses.replace(EMPTY, metadata=MappingProxyType({"x": (1, MappingProxyType({"y": 2}))}))
    assert load(edit.write(tmp_path / "edit.json")).metadata == {"x": [1, {"y": 2}]}


def test_what_is_in_the_way_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("")
    for path in (tmp_path / "file" / "edit.json", tmp_path / "folder", Path("/dev/null/edit.json"), Path()):
        for attempt in (EMPTY.write, check_writable):
            with pytest.raises(WriteError, match=r"cannot write here: |no regular file") as caught:
                attempt(path)
            assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(WriteError, match=r"nul\\x00byte: cannot write here: "):
        EMPTY.write(tmp_path / "nul\0byte")
    with pytest.raises(WriteError, match="cannot write here: "):
        EMPTY.write(tmp_path / ("x" * 5000))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["file", "folder", "folder/kept"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(WriteError, match="expected the name of a file to write, got something that is no regular"):
        EMPTY.write(pipe)
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_asking_whether_one_can_write_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "deep" / "edit.json")
    assert list((tmp_path / "deep").iterdir()) == []
    kept = EMPTY.write(tmp_path / "edit.json").read_bytes()
    check_writable(tmp_path / "edit.json")
    assert (tmp_path / "edit.json").read_bytes() == kept


def test_a_folder_that_takes_no_new_file_is_a_write_error() -> None:
    """/proc takes none from anyone, root included; where there is no /proc, none can be made."""
    with pytest.raises(WriteError, match=r"^/proc/self/edit\.json: cannot write here: "):
        EMPTY.write("/proc/self/edit.json")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_mode_of_the_file_follows_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "edit.json"
    path.touch(mode=0o777)
    before = os.umask(umask)
    try:
        EMPTY.write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("mine")
    link = tmp_path / "link.json"
    for target in ("target.json", "gone.json"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        EMPTY.write(link)
        assert not link.is_symlink()
        assert load(link) == EMPTY
    assert (tmp_path / "target.json").read_text() == "mine"
    assert not (tmp_path / "gone.json").exists()


CUT_SHORT = """
import resource, signal, sys
from cti_edits.errors import WriteError
from cti_edits.artifact.manifest import load
edit = load(sys.argv[1])
signal.signal(signal.SIGXFSZ, getattr(signal, sys.argv[3]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    edit.write(sys.argv[2])
except WriteError as error:
    print(error)
"""


def cut_short(path: Path, on_limit: str) -> subprocess.CompletedProcess[str]:
    """Write a longer edit to ``path`` where the kernel lets no file grow past 100 bytes."""
    words = [sys.executable, "-c", CUT_SHORT, str(FIXTURES / "two_matrices.json"), str(path), on_limit]
    return subprocess.run(words, capture_output=True, text=True)


def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "edit.json"
    EMPTY.write(path)
    done = cut_short(path, "SIG_IGN")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: cannot write here: File too large\n"
    assert load(path) == EMPTY
    assert [file.name for file in tmp_path.iterdir()] == ["edit.json"]


def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel kills it at the hundredth byte."""
    path = tmp_path / "edit.json"
    EMPTY.write(path)
    assert cut_short(path, "SIG_DFL").returncode == -signal.SIGXFSZ
    assert load(path) == EMPTY


AT_EVERY_LINE = """
import os, signal, sys
from pathlib import Path
from cti_edits.artifact import manifest

old, new = (manifest.load(file) for file in sys.argv[1:3])
path = Path(sys.argv[3])
new.write(path)  # imports what is imported late

def writes_until(line):
    lines = 0
    def trace(frame, event, _):
        nonlocal lines
        if event in ("line", "return") and frame.f_code.co_filename == manifest.__file__:
            lines += 1
            if lines == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    new.write(path)
    os._exit(0)

line = 0
while True:
    line += 1
    old.write(path)
    child = os.fork()
    if child == 0:
        writes_until(line)
    _, status = os.waitpid(child, 0)
    found = manifest.load(path)
    assert found in (old, new), line
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    print("old" if found == old else "new")
"""


def test_a_process_killed_at_any_line_of_the_write_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-c",
        AT_EVERY_LINE,
        *(str(FIXTURES / f"{name}.json") for name in ("empty", "two_matrices")),
    ]
    done = subprocess.run([*words, str(tmp_path / "edit.json")], capture_output=True, text=True, check=True)
    ends = done.stdout.split()
    changed = ends.index("new")
    assert changed > 20
    assert set(ends[:changed]) == {"old"}
    assert set(ends[changed:]) == {"new"}


FOR_EVER = """
import sys
from cti_edits.artifact.manifest import load
edits = [load(file) for file in sys.argv[1:3]]
while True:
    for edit in edits:
        edit.write(sys.argv[3])
        print(flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "edit.json"
    words = [sys.executable, "-c", FOR_EVER, *(str(FIXTURES / f"{name}.json") for name in ("empty", "every_field"))]
    for _ in range(4):
        with subprocess.Popen([*words, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            time.sleep(random.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert load(path) in (EMPTY, TWO)
