"""What is refused of the bytes of a manifest before any field is looked at, and how the refusal names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cti_edits.artifact.manifest import parse
from cti_edits.artifact.strict_json import MAX_DEPTH, MAX_INTEGER, NotStrictError, json_type, plain, strict_json
from tests.support.edits import full


def refusal(content: bytes | str) -> str:
    with pytest.raises(NotStrictError) as caught:
        strict_json(content if isinstance(content, bytes) else content.encode())
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not JSON: the file is empty"),
        ("{}".encode("utf-16-le"), "not JSON: a NUL byte (byte 1), as UTF-16 has; save it as UTF-8"),
        (b"{", "not JSON: "),
        (b"{}x", "not JSON: Extra data (line 1, column 3)"),
        (b"\xef\xbb\xbf{}", "starts with a byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 text (byte 7)"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8 text (byte 7)"),
        ("{}".encode("utf-16"), "not UTF-8 text (byte 0)"),
        (b'{"a": 1, "a": 1}', 'the key "a" is given twice in one object'),
        (b'{"x": {"\\u0061": 1, "a": 1}}', 'the key "a" is given twice in one object'),
        (b'{"\\u001b": 1, "\\u001b": 1}', 'the key "\\\\x1b" is given twice in one object'),
        (b'{"a": "\x01"}', "not JSON: Invalid control character at"),
        (b"{'a': 1}", "not JSON: "),
        (b'{"a": 1,}', "not JSON: "),
        (b'{"a": 01}', "not JSON: "),
        (b'{"a": +1}', "not JSON: "),
        (b"/**/{}", "not JSON: "),
    ],
)
def test_what_is_not_strict_json(content: bytes, expected: str) -> None:
    assert refusal(content).startswith(expected)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("NaN", "NaN is not a JSON number"),
        ("Infinity", "Infinity is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ("1e400", "1e400 is too large a number"),
        ("-1e400", "-1e400 is too large a number"),
        ("9007199254740992", "9007199254740992 is too large an integer"),
        ("-9007199254740992", "-9007199254740992 is too large an integer"),
        ("1" * 5000, "111111111111111111111111111111111111111… is too large an integer"),
    ],
)
@pytest.mark.parametrize(
    ("field", "path"),
    [("edits[1].frobenius_norm", ("edits", 1, "frobenius_norm")), ("metadata.a[2].b", ("metadata", "a", 2, "b"))],
)
def test_a_number_that_is_none_is_refused_by_field(
    number: str, expected: str, field: str, path: tuple[str | int, ...]
) -> None:
    document = full()
    document["metadata"] = {"a": [1, 2, {"b": 3}]}
    parent: Any = document
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = "HERE"
    assert refusal(json.dumps(document).replace('"HERE"', number)).startswith(f"{field}: {expected}")


@pytest.mark.parametrize("number", ["9007199254740991", "-9007199254740991", "1e308", "-0", "1e-400"])
def test_a_number_at_the_limit_is_taken(number: str) -> None:
    text = json.dumps({**full(), "metadata": {"a": "HERE"}}).replace('"HERE"', number)
    assert parse(text.encode()).metadata["a"] == float(number)


@pytest.mark.parametrize("escape", [r"\ud800", r"\uDFFF", r"\ud800\u0041", r"\udc00\ud800"])
def test_half_of_a_surrogate_pair_is_refused_by_field(escape: str) -> None:
    text = json.dumps({**full(), "description": "HERE"})
    assert refusal(text.replace("HERE", escape)).startswith("description: has half of a surrogate pair")
    text = json.dumps({**full(), "metadata": {"x": [{"HERE": 1}]}})
    assert refusal(text.replace("HERE", escape)).startswith("metadata.x[0]: the key ")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    text = json.dumps({**full(), "description": "HERE"}).replace("HERE", r"\ud83d\ude00 \\ud800")
    assert parse(text.encode()).description == "😀 \\ud800"


def nested(levels: int) -> str:
    """The manifest with arrays in its metadata, ``levels`` deep in all, beside strings that hold brackets."""
    document = {**full(), "description": '[[[{{{\\" ]' * 20, "metadata": {"\\": "HERE"}}
    inner = levels - 2
    return json.dumps(document).replace('"HERE"', "[" * inner + "]" * inner)


def test_nesting_is_limited() -> None:
    parse(nested(MAX_DEPTH).encode())
    assert refusal(nested(MAX_DEPTH + 1)) == f"nested more than {MAX_DEPTH} levels deep"


@pytest.mark.parametrize("opening", ['{"a":', "[", '[{"\\"]":', '["\\\\",'])
def test_deep_nesting_never_reaches_the_parser(opening: str) -> None:
    """It recurses: a hundred thousand levels would end in a RecursionError, or worse."""
    assert refusal(opening * 100_000) == f"nested more than {MAX_DEPTH} levels deep"


def test_a_number_of_another_key_is_refused_where_it_stands() -> None:
    """Parsing goes on to where the field is known, and no object in which it stands is taken for it."""
    assert refusal('{"a": {"b": [0, {"c": 1e999}]}}') == "a.b[1].c: 1e999 is too large a number"
    assert refusal("[NaN]") == "[0]: NaN is not a JSON number"
    assert refusal("Infinity") == "Infinity is not a JSON number"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, {2}]}, "a[1]: expected a JSON value, got set"),
        ({"a": MAX_INTEGER + 1}, f"a: expected an integer of at most {MAX_INTEGER}"),
        ({"a": {1: 2}}, "a: the key 1 is not text that UTF-8 can write"),
        (float("inf"), "inf is not a JSON number"),
    ],
)
def test_values_that_json_has_not_are_named(value: object, expected: str) -> None:
    with pytest.raises(NotStrictError) as caught:
        plain(value)
    assert str(caught.value) == expected


def test_plain_values_are_new_lists_and_the_same_numbers() -> None:
    given = {"a": (1, 2.5, True, None), "b": {}}
    assert plain(given) == {"a": [1, 2.5, True, None], "b": {}}
    assert plain(given)["a"][2] is True


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), (True, "a boolean"), (1, "an integer"), (1.0, "a number"), ("1", "a string"), ([], "an array")],
)
def test_the_kinds_of_values_in_words(value: object, name: str) -> None:
    assert json_type(value) == name
