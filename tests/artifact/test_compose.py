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
from cti_edits.artifact.matrix_edits import DirectionsEdit, Factors, MatrixEdit
from cti_edits.artifact.records import DatasetRecord, Measurement, Results, TaskRecord
from cti_edits.errors import EditError
from cti_edits.models.apply import apply
from tests.support.edits import BASE, directions, edit, edit_of, entry, plugin_edit
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


def test_different_directions_of_one_matrix_compose_in_any_order() -> None:
    parts = [
        edit("one", directions(index=(0, 7), scale=(1.5, 0), sigma=(4, 1)), entry("W_q")),
        edit("two", directions(index=(3,), scale=(2.5,), sigma=(2,), frobenius_norm=5.0)),
        edit("three", directions(index=(1, 31), scale=(-1, 1), sigma=(3, 0.5), tensor="u.weight")),
    ]
    made = [compose(sources(*order)) for order in itertools.permutations(parts)]
    assert len({json.dumps(one.to_json()) for one in made}) == 1
    assert made[0].edits == (
        directions(
            index=(0, 1, 3, 7, 31),
            scale=(1.5, -1, 2.5, 0, 1),
            sigma=(4, 3, 2, 1, 0.5),
            frobenius_norm=5.0,
            tensor="u.weight",
        ),
        entry("W_q"),
    )
    assert made[0].metadata["composed_from"][0] == {"name": "one", "digest": parts[0].digest()}


def test_directions_of_row_blocks_compose_block_by_block(tmp_path: Path) -> None:
    one = directions(clusters=3, block=(0, 2), index=(5, 0), scale=(2, 3), sigma=(1, 2))
    two = directions(clusters=3, block=(0, 1, 2), index=(0, 0, 5), scale=(4, 5, 6), sigma=(3, 2, 1))
    made = compose(sources(edit("two", two), edit("one", one)))
    (found,) = made.edits
    assert isinstance(found, DirectionsEdit)
    assert found.directions == ((0, 0), (0, 5), (1, 0), (2, 0), (2, 5))
    assert (found.scale, found.sigma) == ((4, 2, 5, 3, 6), (3, 1, 2, 2, 1))
    assert load(made.write(tmp_path / "edit.json")).edits == made.edits


PLACE = "U_in of layer 0 (model.layers.0.U_in)"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (directions(index=(3, 4)), f"both change direction 3 of {PLACE}"),
        (entry(), f"both edit {PLACE}; a matrix can be edited once, but for different directions of it"),
        (plugin_edit(entry()), f"both edit {PLACE}; a matrix can be edited once, but"),
        (directions(clusters=2, block=(1, 1)),
         f"both edit {PLACE}, with clusters 1 and 2"),
        (directions(index=(1, 2), sha256="1" * 64),
         f"both edit {PLACE}, with sha256 None and {'1' * 64}"),
        (directions(index=(1, 2), module="x.y"),
         "both edit U_in of layer 0 (x.y), with module model.layers.0.U_in and x.y"),
        (directions(index=(1, 2), shape=(48, 33)),
         f"both edit {PLACE}, with shape (48, 32) and (48, 33)"),
        (directions("U_up", index=(1, 2), module="model.layers.0.U_in"),
         "both edit U_up of layer 0 (model.layers.0.U_in), with matrix U_in and U_up"),
    ],
    ids=["direction", "cut", "plugin", "K", "base", "module", "shape", "role"],
)  # fmt: skip
def test_edits_of_one_matrix_that_do_not_compose_name_both_files(other: MatrixEdit, said: str) -> None:
    for first, second in ((directions(), other), (other, directions())):
        with pytest.raises(EditError) as caught:
            compose(sources(edit("one", first), edit("two", entry("W_q")), edit("three", second)))
        message = str(caught.value)
        assert message.startswith("one.json and three.json: both ")
        if first == directions():
            assert message.startswith(f"one.json and three.json: {said}")


def test_the_row_block_of_a_direction_that_both_change_is_named() -> None:
    one = directions(clusters=3, block=(0, 2), index=(5, 0), scale=(2, 3), sigma=(1, 2))
    with pytest.raises(EditError, match=r"both change direction 0 of row block 2 of U_in of layer 0"):
        compose(sources(edit("one", one), edit("two", dataclasses.replace(one, block=(1, 2)))))


def test_factors_of_directions_that_became_others_stay_where_they_are(tmp_path: Path) -> None:
    """The composition has no use for them: it names none."""
    paths = []
    for number, index in enumerate(((0, 3), (1, 4))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "f.safetensors").write_bytes(b"%d" % number)
        factors = Factors("f.safetensors", hashlib.sha256(b"%d" % number).hexdigest(), 1)
        made = edit(f"part-{number}", directions(index=index, factors=factors))
        paths.append(made.write(folder / "edit.json"))
    target = tmp_path / "both" / "edit.json"
    composed = compose_files(paths, target)
    assert [one.factors for one in composed.edits] == [None]
    assert [file.name for file in target.parent.iterdir()] == ["edit.json"]


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
