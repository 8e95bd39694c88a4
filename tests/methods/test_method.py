"""What a method has to offer."""

from __future__ import annotations

import inspect

import pytest

import cti_edits
from cti_edits.errors import EditError
from cti_edits.methods import block_svd
from cti_edits.methods.method import Method, method_of
from cti_edits.paths import folder
from tests.support.edits import plugin_edit


@pytest.fixture(scope="module")
def edit() -> cti_edits.Edit:
    return cti_edits.load(folder("edits") / "gptj_fever.json")


def test_an_edit_s_method_is_found_by_its_name(edit: cti_edits.Edit) -> None:
    assert method_of(edit.edits[0]) is block_svd


def test_a_method_that_is_not_here_is_named(edit: cti_edits.Edit) -> None:
    with pytest.raises(EditError, match=r"method: 'magic' is not known here.* distribution 'cti-edits-magic'"):
        method_of(plugin_edit(edit.edits[0]))


def test_the_method_has_the_functions_that_are_asked_of_one_with_their_arguments() -> None:
    wanted = {name: value for name, value in vars(Method).items() if inspect.isfunction(value) and name[0] != "_"}
    assert len(wanted) == 4
    for name, function in wanted.items():
        expected = list(inspect.signature(function).parameters)[1:]
        assert list(inspect.signature(getattr(block_svd, name)).parameters) == expected
