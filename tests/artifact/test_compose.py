"""One edit of several, in memory and with their files of factors."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.compose import Source, compose, compose_files
from cti_edits.artifact.manifest import BaseModel, Edit, load
from cti_edits.artifact.matrix_edits import Factors, MatrixEdit
from cti_edits.artifact.records import DatasetRecord, Measurement, Results, TaskRecord
from cti_edits.errors import EditError
from cti_edits.models.apply import apply
from tests.support.edits import BASE, edit, edit_of, entry
from tests.support.tiny_models import tiny_model

TASK = TaskRecord("cti_fever", DatasetRecord(id=None, revision=None, split=None), "acc")


def sources(*edits: Edit) -> list[Source]:
    return [Source(Path(f"{one.name}.json"), one) for one in edits]


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
    measured = Results(None, Measurement(n=10, baseline=0.1, edited=0.9, majority_class=0.5))
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
    assert (made.search, made.results) == (None, Results(calibration=None, test=None))
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
