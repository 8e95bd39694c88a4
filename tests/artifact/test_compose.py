from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_edits.artifact.compose import Source, compose, compose_files
from cti_edits.artifact.differences import differences
from cti_edits.artifact.manifest import BaseModel, Edit, Factors, MatrixEdit, load
from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import EditError
from cti_edits.models.apply import apply
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model

COMMAND = [sys.executable, "-c", "from cti_edits.cli import main; main()"]
BASE = BaseModel("tests/tiny", "abc", "LlamaForCausalLM", "float32")
TASK = {"name": "cti_fever", "dataset": {"id": None, "revision": None, "split": None}, "metric": "acc"}


def entry(matrix: str = "U_in", layer: int = 0, **changes: Any) -> MatrixEdit:
    shape, clusters, rho = (48, 32), 2, 0.25
    ranks = block_ranks(shape, clusters, rho)
    made = MatrixEdit(matrix, layer, f"model.layers.{layer}.{matrix}", shape, rho, clusters, ranks)
    return dataclasses.replace(made, **changes)


def edit(name: str, *entries: MatrixEdit, **changes: Any) -> Edit:
    return dataclasses.replace(Edit(name=name, description="d", base_model=BASE, edits=entries), **changes)


def sources(*edits: Edit) -> list[Source]:
    return [Source(Path(f"{one.name}.json"), one) for one in edits]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60)


# compose


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["U_in", "U_out", "W_q"]), st.integers(0, 20)), unique=True, max_size=6),
    st.data(),
)
def test_the_order_of_the_edits_changes_no_byte(places: list[tuple[str, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(places)))
    parts = [
        edit("one", *(entry(*p) for p in places[:cut])),
        edit("two", *(entry(*p) for p in places[cut:])),
        edit("three"),
    ]
    made = [json.dumps(compose(sources(*order)).to_json()) for order in itertools.permutations(parts)]
    assert len(set(made)) == 1
    found = json.loads(made[0])["edits"]
    assert [(one["layer"], one["matrix"]) for one in found] == sorted((layer, matrix) for matrix, layer in places)


def test_a_composition_says_from_what_it_is_made_and_claims_no_measurement() -> None:
    measured = {"calibration": None, "test": {"n": 10, "baseline": 0.1, "edited": 0.9, "majority_class": 0.5}}
    one, two = (
        edit("one", entry(), task=TASK, results=measured),
        edit("two", entry(layer=1), task=TASK, results=measured),
    )
    made = compose(sources(two, one))
    assert (made.name, made.base_model, made.task) == ("one-and-two", BASE, TASK)
    assert made.metadata == {
        "composed_from": [{"name": "one", "digest": one.digest()}, {"name": "two", "digest": two.digest()}]
    }
    assert made.description == f"Composition of one ({one.digest()[:12]}), two ({two.digest()[:12]})"
    assert (made.search, made.results) == (None, {"calibration": None, "test": None})
    assert compose(sources(one, dataclasses.replace(two, task=None))).task is None
    assert compose(sources(one, two), "mine").name == "mine"


def test_applying_a_composition_is_applying_each() -> None:
    model = tiny_model("llama")
    one, two = edit_of(model, ("U_in", 2, 2, 0.25)), edit_of(model, ("W_o", 0, 1, 0.1), ("U_out", 2, 4, 0.5))
    apply(one, model)
    apply(two, model)
    whole = tiny_model("llama")
    apply(compose(sources(one, two)), whole)
    for name, tensor in model.state_dict().items():
        assert bool((whole.state_dict()[name] == tensor).all()), name


@pytest.mark.parametrize(
    "other", [entry(module="x.y"), entry("U_out", 5, module=entry().module)], ids=["role", "module"]
)
def test_the_same_matrix_twice_names_both_files(other: MatrixEdit) -> None:
    with pytest.raises(EditError) as caught:
        compose(sources(edit("one", entry()), edit("two", entry("W_q")), edit("three", entry("W_k"), other)))
    assert str(caught.value).startswith(f"one.json and three.json: both edit {other.matrix} of layer {other.layer} ")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(BaseModel)])
def test_another_base_names_both_files_and_the_field(field: str) -> None:
    other = dataclasses.replace(BASE, **{field: "float16"})
    with pytest.raises(EditError) as caught:
        compose(sources(edit("one", entry()), edit("two", entry("W_q"), base_model=other)))
    assert str(caught.value) == (
        f"one.json and two.json: base_model.{field}: expected edits of one base model, "
        f'got "{getattr(BASE, field)}" and "float16"'
    )


def test_a_name_that_several_parts_have_is_in_the_compositions_name_once() -> None:
    same, other = edit("edit", entry()), edit("edit", entry(layer=1))
    assert compose(sources(same, other)).name == "edit-composed"
    assert compose(sources(same, other, edit("third"))).name == "edit-and-third"
    long = [edit(100 * "n", entry()), edit(100 * "n", entry(layer=1))]
    assert compose(sources(*long)).name == 91 * "n" + "-composed"


def test_fewer_than_two_edits() -> None:
    with pytest.raises(EditError, match="expected two or more edits to compose, got 1"):
        compose(sources(edit("one")))


def test_long_names_and_many_sources_stay_a_valid_manifest(tmp_path: Path) -> None:
    parts = [edit("n" * 90 + str(n), entry(layer=n)) for n in range(30)]
    compose(sources(*parts)).write(tmp_path / "edit.json")
    assert len(load(tmp_path / "edit.json").edits) == 30


def with_factors(folder: Path, name: str, file: str, content: bytes, layer: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(content)
    factors = Factors(file, hashlib.sha256(content).hexdigest(), len(content))
    return edit(name, entry(layer=layer, factors=factors)).write(folder / f"{name}.json")


def test_factor_files_come_along(tmp_path: Path) -> None:
    one = with_factors(tmp_path / "a", "one", "one.safetensors", b"1", 0)
    two = with_factors(tmp_path / "b", "two", "two.safetensors", b"22", 1)
    target = tmp_path / "a" / "both.json"
    compose_files([one, two], target)
    assert (tmp_path / "a" / "two.safetensors").read_bytes() == b"22"
    assert [one.factors.file for one in load(target).edits if one.factors] == ["one.safetensors", "two.safetensors"]


def test_a_factor_file_that_is_missing_changed_a_link_or_in_the_way(tmp_path: Path) -> None:
    one = with_factors(tmp_path / "a", "one", "same.safetensors", b"1", 0)
    two = with_factors(tmp_path / "b", "two", "same.safetensors", b"2", 1)
    target = tmp_path / "a" / "both.json"

    def refusal() -> str:
        with pytest.raises(EditError) as caught:
            compose_files([one, two], target)
        assert not target.exists()
        return str(caught.value)

    assert refusal().startswith(f"{tmp_path}/a/same.safetensors: another file than {tmp_path}/b/same.safetensors")
    theirs = tmp_path / "b" / "same.safetensors"
    theirs.write_bytes(b"3")
    expected = f"{theirs}: expected the factor file that {two} names, by its size and sha256"
    assert refusal() == expected
    theirs.rename(tmp_path / "b" / "elsewhere")
    assert refusal() == expected
    (tmp_path / "b" / "elsewhere").write_bytes(b"2")
    theirs.symlink_to("elsewhere")
    assert refusal() == expected


def test_an_edit_is_not_written_over_by_its_composition(tmp_path: Path) -> None:
    one = edit("one", entry()).write(tmp_path / "one.json")
    two = edit("two", entry("W_q")).write(tmp_path / "two.json")
    before = two.read_bytes()
    with pytest.raises(EditError, match=r"two\.json: is one of the edits to compose; write to another file"):
        compose_files([one, two], two)
    assert two.read_bytes() == before


def test_the_command_composes_and_refuses_in_one_line(tmp_path: Path) -> None:
    one = edit("one", entry()).write(tmp_path / "one.json")
    two = edit("two", entry("W_q")).write(tmp_path / "two.json")
    done = run("compose", one, two, "-o", tmp_path / "both.json")
    digest = load(tmp_path / "both.json").digest()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/both.json: one-and-two, 2 matrices, digest {digest}\n"
    again = run("compose", two, one, "-o", tmp_path / "again.json", "--name", "one-and-two")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "both.json").read_bytes(), again
    done = run("compose", one, one, "-o", tmp_path / "twice.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cti-edits: error: {one} and {one}: both edit U_in of layer 0")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "twice.json").exists()


# differences


def found(left: Edit, right: Edit) -> list[tuple[str, str, str, bool]]:
    return [dataclasses.astuple(one) for one in differences(left, right)]


def test_equal_edits_have_no_differences() -> None:
    both = edit("one", entry(), entry("W_q"))
    assert differences(both, both) == []


def test_what_is_applied_comes_first() -> None:
    left = edit("one", entry(sha256="0" * 64), task=TASK)
    right = edit("two", entry(sha256="1" * 64, rho=0.26), base_model=dataclasses.replace(BASE, revision=None))
    assert found(left, right) == [
        ("base_model.revision", '"abc"', "null", True),
        ("edits[U_in 0].sha256", '"' + "0" * 58 + "…", '"' + "1" * 58 + "…", True),
        ("edits[U_in 0].rho", "0.25", "0.26", False),
        ("name", '"one"', '"two"', False),
        ("task", found(left, right)[4][1], "null", False),
    ]


def test_matrices_are_paired_by_matrix_and_layer_in_any_order() -> None:
    left, right = edit("one", entry(), entry("W_q", 1)), edit("one", entry("W_q", 1), entry())
    assert differences(left, right) == []
    assert found(edit("one", entry()), edit("one", entry(layer=3))) == [
        ("edits[U_in 0]", "model.layers.0.U_in, rho 0.25, K 2", "not there", True),
        ("edits[U_in 3]", "not there", "model.layers.3.U_in, rho 0.25, K 2", True),
    ]


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({"block_ranks": (5, 7)}, True),
        ({"partition": "k-subspaces:" + "01" * 24}, True),
        ({"module": "other"}, True),
        ({"shape": (47, 32)}, True),
        ({"clusters": 3}, True),
        ({"factors": Factors("f.safetensors", "0" * 64, 9)}, True),
        ({"rho": 0.3}, False),
        ({"frobenius_norm": 3.0}, False),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_which_fields_say_what_is_applied(changes: dict[str, Any], applied: bool) -> None:
    left, right = edit("one", entry()), edit("one", entry(**changes))
    assert [one.applied for one in differences(left, right)] == [applied]


def test_factors_of_the_same_content_apply_the_same() -> None:
    left = edit("one", entry(factors=Factors("f.safetensors", "0" * 64, 9)))
    right = edit("one", entry(factors=Factors("g.safetensors", "0" * 64, 9)))
    assert found(left, right) == [("edits[U_in 0].factors.file", '"f.safetensors"', '"g.safetensors"', False)]


def test_long_values_are_cut_around_where_they_differ() -> None:
    left, right = (edit("one", entry(partition="k-subspaces:" + "0" * 5000 + end)) for end in "01")
    ((_, one, other, _),) = found(left, right)
    assert (one, other) == ("…" + "0" * 20 + '0"', "…" + "0" * 20 + '1"')


@pytest.mark.parametrize(("changes", "code"), [({"name": "other"}, 0), ({"edits": ()}, 1)])
def test_the_command_ends_with_1_when_another_edit_is_applied(
    changes: dict[str, Any], code: int, tmp_path: Path
) -> None:
    left = edit("one", entry())
    one, two = left.write(tmp_path / "a.json"), dataclasses.replace(left, **changes).write(tmp_path / "b.json")
    done = run("diff", one, two)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("what is applied: the same\n" if code == 0 else "what is applied  A ")
    same = run("diff", one, one)
    assert (same.returncode, same.stdout) == (0, "the same in every field\n")
    assert run("diff", one, tmp_path / "gone.json").returncode == 2


def test_nothing_from_a_manifest_reaches_the_terminal_unescaped_by_diff(tmp_path: Path) -> None:
    hostile = {"description": "\x1b[31m\u202e\n", "metadata": {"\x1b]0;t\x07": "\x1b"}}
    one = edit("one").write(tmp_path / "a.json")
    two = edit("one", **hostile).write(tmp_path / "b.json")
    done = run("diff", one, two)
    assert done.returncode == 0
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "\\u202e" in done.stdout
