"""What a method has to offer."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil

import pytest

import cti_edits
from cti_edits.artifact.matrix_edits import METHODS, BlockSvdEdit
from cti_edits.errors import EditError
from cti_edits.methods import block_svd, directions
from cti_edits.methods.method import METHODS as PARTS
from cti_edits.methods.method import Method, find_method, method_of, methods_of
from cti_edits.paths import folder
from tests.support.edits import directions as edit_directions
from tests.support.edits import entry, plugin_edit


@pytest.fixture(scope="module")
def edit() -> cti_edits.Edit:
    return cti_edits.load(folder("edits") / "gptj_fever.json")


def test_an_edit_s_method_is_found_by_its_name(edit: cti_edits.Edit) -> None:
    assert method_of(edit.edits[0]) is block_svd


def test_a_method_that_is_not_here_is_named(edit: cti_edits.Edit) -> None:
    with pytest.raises(EditError, match=r"method: 'magic' is not known here.* distribution 'cti-edits-magic'"):
        method_of(plugin_edit(edit.edits[0]))


@pytest.mark.parametrize("method", [block_svd, directions], ids=lambda method: method.NAME)
def test_the_method_has_the_functions_that_are_asked_of_one_with_their_arguments(method: Method) -> None:
    wanted = {name: value for name, value in vars(Method).items() if inspect.isfunction(value) and name[0] != "_"}
    assert len(wanted) == 6
    for name, function in wanted.items():
        expected = list(inspect.signature(function).parameters)[1:]
        assert list(inspect.signature(getattr(method, name)).parameters) == expected


def test_the_methods_are_those_with_fields_of_their_own_in_the_manifest() -> None:
    assert [part.name for part in PARTS] == [kind.METHOD for kind in METHODS]
    for part in PARTS:
        assert find_method(part.name) == part
        assert part.name == pkgutil.resolve_name(part.module).NAME


def test_a_mistyped_method_has_a_near_one(edit: cti_edits.Edit) -> None:
    class Mistyped(BlockSvdEdit):
        METHOD = "block-svt"

    one = Mistyped(**vars(edit.edits[0]))
    with pytest.raises(EditError, match=r"^method: 'block-svt' is not known here, perhaps 'block-svd'$"):
        method_of(one)


def test_the_methods_of_an_edit_name_the_one_that_is_missing(edit: cti_edits.Edit) -> None:
    assert methods_of(edit) == [block_svd]
    mixed = dataclasses.replace(edit, edits=(*edit.edits, edit_directions(layer=9), plugin_edit(edit.edits[0])))
    with pytest.raises(EditError, match=r"^gptj_fever: edits\[2\]: method: 'magic' is not known here"):
        methods_of(mixed)


@pytest.mark.parametrize("method", [block_svd, directions], ids=lambda method: method.NAME)
def test_a_method_refuses_an_edit_of_another(method: Method) -> None:
    other = edit_directions() if method is block_svd else entry()
    for ask in (method.block_forms, method.kept_parameters):
        with pytest.raises(EditError, match=r"^model\.layers\.0\.U_in: expected a \w+Edit, got a \w+Edit$"):
            ask(other)
