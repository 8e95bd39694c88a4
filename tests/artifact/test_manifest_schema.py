"""The schema file, and the reader's obedience to it: every test document is made by walking the schema."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import rfc8785

from cti_edits.artifact import manifest, records, strict_json
from cti_edits.artifact.asked import PARTS
from cti_edits.artifact.manifest_schema import SCHEMA_VERSION
from cti_edits.errors import ManifestError
from cti_edits.paths import folder

SCHEMA: dict[str, Any] = json.loads((folder("schemas") / "edit-1.schema.json").read_text(encoding="utf-8"))
FIXTURES = Path(__file__).parents[1] / "data" / "edit-1"
FULL: dict[str, Any] = json.loads((FIXTURES / "asked.json").read_text(encoding="utf-8"))

Place = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Node:
    """A place in the full fixture, the part of the schema that rules it, and the value there."""

    path: Place
    rule: dict[str, Any]
    nullable: bool
    value: Any

    @property
    def field(self) -> str:
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")


def resolved(rule: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in rule:
        rule = SCHEMA["$defs"][rule["$ref"].removeprefix("#/$defs/")]
    return rule


def nodes(rule: dict[str, Any] = SCHEMA, value: Any = FULL, path: Place = ()) -> Iterator[Node]:
    """Every place of the full fixture, one item of each array."""
    rule, nullable = resolved(rule), False
    if "anyOf" in rule:
        rule, nullable = resolved(rule["anyOf"][1]), True
    yield Node(path, rule, nullable, value)
    for key, inner in rule.get("properties", {}).items():
        yield from nodes(inner, value[key], (*path, key))
    if isinstance(rule.get("additionalProperties"), dict):
        for key in value:
            yield from nodes(rule["additionalProperties"], value[key], (*path, key))
    if "items" in rule:
        yield from nodes(rule["items"], value[0], (*path, 0))


NODES = list(nodes())
OBJECTS = [node for node in NODES if "properties" in node.rule]


def rules(part: Any = SCHEMA) -> Iterator[dict[str, Any]]:
    """Every object of the schema file itself."""
    if isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from rules(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from rules(inner)


def with_value(path: Place, value: Any) -> dict[str, Any]:
    document: Any = copy.deepcopy(FULL)
    parent = document
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return dict(document)


def refusal(document: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        manifest.parse(json.dumps(document).encode(), source="some.json")
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("some.json: ")
    return message.removeprefix("some.json: ")


def test_the_schema_is_valid_against_its_metaschema() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_full_fixture_reaches_every_object_of_the_schema() -> None:
    """Else the tests below would pass over a new object or a new optional field in silence."""
    declared = {id(rule) for rule in rules() if isinstance(rule.get("properties"), dict)}
    assert declared == {id(node.rule) for node in OBJECTS}


def test_only_metadata_and_versions_take_unknown_keys() -> None:
    open_objects = [
        node.field
        for node in NODES
        if node.rule.get("type") == "object" and node.rule.get("additionalProperties") is not False
    ]
    assert open_objects == ["provenance.versions", "metadata"]


def test_every_choice_is_null_or_one_other_kind() -> None:
    """`manifest_schema.first_error` explains what the other kind finds wrong."""
    choices = [rule["anyOf"] for rule in rules() if "anyOf" in rule]
    assert choices
    assert all(len(one) == 2 and one[0] == {"type": "null"} and one[1] != {"type": "null"} for one in choices)


def test_schema_and_dataclasses_name_the_same_fields_in_the_same_order() -> None:
    properties, matrix_edit = SCHEMA["properties"], SCHEMA["$defs"]["matrix_edit"]["properties"]
    task, results, question = properties["task"]["anyOf"][1], properties["results"], SCHEMA["$defs"]["asked"]
    assert list(manifest.KEYS) == list(properties)
    # Where it was read from is no field of a manifest.
    assert {field.name for field in dataclasses.fields(manifest.Edit)} - {"path", "factor_paths"} == set(properties)
    for kind, rule in (
        (manifest.BaseModel, properties["base_model"]["properties"]),
        (manifest.MatrixEdit, matrix_edit),
        (manifest.Factors, matrix_edit["factors"]["anyOf"][1]["properties"]),
        (records.TaskRecord, task["properties"]),
        (records.DatasetRecord, task["properties"]["dataset"]["properties"]),
        # As the fixtures have them, which are written again byte by byte.
        (records.SearchRecord, FULL["search"]),
        (records.Results, results["properties"]),
        (records.Measurement, SCHEMA["$defs"]["measurement"]["properties"]),
        (records.Reported, results["properties"]["reported"]["properties"]),
        (records.Provenance, properties["provenance"]["properties"]),
        *((kind, question["properties"][part]["properties"]) for part, kind in PARTS.items()),
    ):
        assert [field.name for field in dataclasses.fields(kind)] == list(rule)


@pytest.mark.parametrize("node", OBJECTS, ids=lambda node: node.field or "top")
def test_an_unknown_key_is_refused_at_every_level(node: Node) -> None:
    document = with_value(node.path, {**node.value, "tpyo\x1b": 1}) if node.path else {**FULL, "tpyo\x1b": 1}
    where = f"{node.field}: " if node.field else ""
    assert refusal(document).startswith(
        f'{where}unknown key "tpyo\\\\x1b" (known: {next(iter(node.rule["properties"]))}'
    )


@pytest.mark.parametrize(
    ("node", "key"),
    [(node, key) for node in OBJECTS for key in node.rule.get("required", ())],
    ids=lambda part: part.field or "top" if isinstance(part, Node) else part,
)
def test_a_missing_key_is_named(node: Node, key: str) -> None:
    without = {name: value for name, value in node.value.items() if name != key}
    message = refusal(with_value(node.path, without) if node.path else without)
    if key == "schema_version":
        assert message.startswith("schema_version: missing")
    else:
        assert message == (f"{node.field}: " if node.field else "") + f'the key "{key}" is missing'


@pytest.mark.parametrize(
    ("node", "key"),
    [(node, key) for node in OBJECTS for key in node.rule["properties"] if key not in node.rule.get("required", ())],
    ids=lambda part: part.field or "top" if isinstance(part, Node) else part,
)
def test_an_optional_key_may_be_left_out(node: Node, key: str) -> None:
    without = {name: value for name, value in node.value.items() if name != key}
    manifest.parse(json.dumps(with_value(node.path, without)).encode())


@pytest.mark.parametrize(
    "node", [node for node in NODES if node.nullable and node.field != "edits[0]"], ids=lambda node: node.field
)
def test_null_is_taken_where_the_schema_allows_it(node: Node) -> None:
    manifest.parse(json.dumps(with_value(node.path, None)).encode())


SAMPLES: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 4,
    "number": 4.0,
    "string": "\u202ex",
    "array": [1],
    "object": {"a": 1},
}


def wrong_kinds(node: Node) -> Iterator[tuple[str, Any]]:
    for kind, sample in SAMPLES.items():
        if kind == node.rule.get("type") or (kind, node.rule.get("type")) == ("integer", "number"):
            continue
        if kind == "integer" and node.field == "schema_version":
            continue  # of the right kind; test_manifest has the versions
        if sample is None and (node.nullable or None in node.rule.get("enum", ())):
            continue
        yield kind, sample


@pytest.mark.parametrize(
    ("node", "sample"),
    [
        pytest.param(node, sample, id=f"{node.field}-{kind}")
        for node in NODES
        if node.path
        for kind, sample in wrong_kinds(node)
    ],
)
def test_a_value_of_another_kind_is_refused_by_field(node: Node, sample: Any) -> None:
    """Booleans are no numbers and 4.0 is no integer, whatever Python and jsonschema think of them."""
    message = refusal(with_value(node.path, sample))
    assert message.startswith(f"{node.field}: expected ")
    if "type" in node.rule:
        assert f"{node.rule['type']}{' or null' if node.nullable else ''}, got " in message
        assert message.split(", got ")[1].startswith(("a", "null"))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_document_that_is_no_object_is_refused(sample: Any) -> None:
    wanted = '"schema_version": 1' if isinstance(sample, dict) else "expected a JSON object, got "
    assert wanted in refusal(sample)


def beyond_limits(node: Node) -> Iterator[tuple[str, Any, str]]:
    """A value just past each limit of a node, and what the message says of it."""
    rule, value = node.rule, node.value
    integer = rule.get("type") == "integer"
    if "minimum" in rule:
        yield "minimum", rule["minimum"] - (1 if integer else 1e-9), f"expected at least {rule['minimum']}"
    if "exclusiveMinimum" in rule:
        yield "exclusiveMinimum", rule["exclusiveMinimum"], f"expected above {rule['exclusiveMinimum']}"
    if "maximum" in rule:
        top = rule["maximum"]
        limit = "too large an integer" if top == strict_json.MAX_INTEGER else f"expected at most {top}"
        yield "maximum", top + 1 if integer else top + 1e-9, limit
    if "minLength" in rule:
        yield "minLength", "", f"expected at least {rule['minLength']} characters, got 0"
    if "maxLength" in rule:
        yield "maxLength", "a" * (rule["maxLength"] + 1), f"expected at most {rule['maxLength']} characters, got "
    if "minItems" in rule:
        yield "minItems", value[: rule["minItems"] - 1], f"expected at least {rule['minItems']} items, got "
    if "maxItems" in rule:
        # Short items, so that the size of the file is not the limit that is met.
        item = {} if node.field == "edits" else value[0]
        yield "maxItems", [item] * (rule["maxItems"] + 1), f"expected at most {rule['maxItems']} items, got "
    if "maxProperties" in rule:
        many = {str(number): "x" for number in range(rule["maxProperties"] + 1)}
        yield "maxProperties", many, f"expected at most {rule['maxProperties']} keys, got "
    if "pattern" in rule:
        for name, text in (("line feed at the end", f"{value}\n"), ("line feed before", f"\n{value}")):
            yield name, text, "expected text that matches "
        yield "escape sequence", f"{value}\x1b[31m", "expected text that matches "
        yield "C1 control", f"{value}\x9b", "expected text that matches "


@pytest.mark.parametrize(
    ("node", "value", "expected"),
    [
        pytest.param(node, value, expected, id=f"{node.field}-{limit}")
        for node in NODES
        for limit, value, expected in beyond_limits(node)
    ],
)
def test_a_value_past_a_limit_is_refused_by_field(node: Node, value: Any, expected: str) -> None:
    message = refusal(with_value(node.path, value))
    assert message.startswith(f"{node.field}: ")
    assert expected in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "a" * 100),
        (("description",), "a" * 2000),
        (("description",), ""),
        (("base_model", "id"), "é" * 1000),
        (("edits", 0, "layer"), 100_000),
        (("edits", 0, "frobenius_norm"), 0),
        (("edits", 0, "factors", "file"), "a" * 200 + ".safetensors"),
        (("results", "test", "n"), 1_000_000_000),
        (("results", "test", "ci95"), [-1, 1]),
        (("results", "test", "p_value"), 0),
        (("search", "seed"), 2**53 - 1),
        (("provenance", "versions"), {f"\x1b{number}": "x" for number in range(64)}),
        (("metadata",), {"unknown": {"keys": [None, True, 1.5, "\x1b"]}}),
    ],
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else "",
)
def test_a_value_at_its_limit_is_taken(path: Place, value: Any) -> None:
    document = with_value(path, value)
    edit = manifest.parse(json.dumps(document).encode())
    assert edit.to_json() == document


@pytest.mark.parametrize(
    "file",
    [
        "../up.safetensors",
        "/abs.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        ".hidden.safetensors",
        "a.pkl",
        "C:x.safetensors",
        "..safetensors",
        ".safetensors",
    ],
)
def test_a_factors_file_lies_beside_the_manifest_and_is_safetensors(file: str) -> None:
    assert refusal(with_value(("edits", 0, "factors", "file"), file)).startswith("edits[0].factors.file: ")


# A schema that changes. schemas/README.md says what to do then.

RULES = {1: "15c5f83b25cd8c528901b3876069f100b390a19b9a129dac129186013bb7445b"}
"""For each version, the sha256 of the schema's rules, which are the schema without its texts."""


def rules_sha256(version: int) -> str:
    """A description may be put better; anything else changes which manifests are valid, or what they mean."""

    def without_texts(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                key: without_texts(inner)
                for key, inner in part.items()
                if not (key in ("title", "description") and isinstance(inner, str))
            }
        return [without_texts(inner) for inner in part] if isinstance(part, list) else part

    schema = json.loads((folder("schemas") / f"edit-{version}.schema.json").read_text(encoding="utf-8"))
    return hashlib.sha256(rfc8785.dumps(without_texts(schema))).hexdigest()


@pytest.mark.parametrize("version", RULES)
def test_a_schema_s_rules_do_not_change_in_silence(version: int) -> None:
    assert rules_sha256(version) == RULES[version], "read 'Changing the schema' in schemas/README.md"


def test_every_version_has_a_schema_a_way_on_and_fixtures() -> None:
    versions = list(range(1, SCHEMA_VERSION + 1))
    assert list(RULES) == versions
    assert sorted(path.name for path in folder("schemas").glob("edit-*.json")) == [
        f"edit-{version}.schema.json" for version in versions
    ]
    assert sorted(manifest.MIGRATIONS) == versions[:-1]
    for version in versions:
        files = sorted((FIXTURES.parent / f"edit-{version}").glob("*.json"))
        assert files
        for file in files:
            assert json.loads(file.read_text(encoding="utf-8"))["schema_version"] == version
            assert manifest.load(file).schema_version == SCHEMA_VERSION


def test_an_older_manifest_goes_through_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a version 2 will need it: the steps are pure, and run in order."""

    def from_minus_1(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "schema_version": 0, "metadata": {"steps": [-1]}}

    def from_0(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "schema_version": 1, "metadata": {"steps": [*document["metadata"]["steps"], 0]}}

    monkeypatch.setattr(manifest, "MIGRATIONS", {-1: from_minus_1, 0: from_0})
    old = {**FULL, "schema_version": -1}
    edit = manifest.parse(json.dumps(old).encode())
    assert edit.metadata == {"steps": [-1, 0]}
    assert edit.schema_version == 1
    assert old["schema_version"] == -1
