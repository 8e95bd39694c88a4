"""The schema files, and the reader's obedience to them: every test document is made by walking the schemas."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import rfc8785

from cti_edits.artifact import manifest, matrix_edits, records, strict_json, versions
from cti_edits.artifact.asked import PARTS
from cti_edits.errors import ManifestError
from cti_edits.paths import folder

DATA = Path(__file__).parents[1] / "data"
VERSIONS = tuple(range(versions.OLDEST, versions.NEWEST + 1))
SCHEMAS: dict[int, dict[str, Any]] = {
    version: json.loads((folder("schemas") / f"edit-{version}.schema.json").read_text(encoding="utf-8"))
    for version in VERSIONS
}
FULL: dict[int, dict[str, Any]] = {
    version: json.loads((DATA / f"edit-{version}" / name).read_text(encoding="utf-8"))
    for version, name in ((1, "asked.json"), (2, "every_part.json"))
}

Place = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Node:
    """A place in a version's full fixture, the part of the schema that rules it, and the value there."""

    version: int
    path: Place
    rule: dict[str, Any]
    nullable: bool
    value: Any

    @property
    def field(self) -> str:
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")

    @property
    def name(self) -> str:
        return f"{self.version}-{self.field or 'top'}"

    def changed(self, value: Any) -> dict[str, Any]:
        """The full fixture with another value here."""
        return with_value(self.version, self.path, value) if self.path else dict(value)


METHODS = {"block-svd": "block_svd", "directions": "directions"}


def resolved(version: int, rule: dict[str, Any], value: Any) -> dict[str, Any]:
    """The rule behind references, and of the kinds of matrix edit that of the value's method."""
    while "$ref" in rule:
        rule = SCHEMAS[version]["$defs"][rule["$ref"].removeprefix("#/$defs/")]
    if "if" in rule:
        rule = SCHEMAS[version]["$defs"][METHODS.get(value["method"], "plugin_edit")]
    return rule


def nodes(version: int, rule: dict[str, Any], value: Any, path: Place = ()) -> Iterator[Node]:
    """Every place of the full fixture, one item of each array; of version 2, a matrix edit of each kind."""
    rule, nullable = resolved(version, rule, value), False
    if "anyOf" in rule:
        rule, nullable = resolved(version, rule["anyOf"][1], value), True
    yield Node(version, path, rule, nullable, value)
    for key, inner in rule.get("properties", {}).items():
        # A kind of matrix edit that has no such key: `block` where there is one row block.
        if key in value:
            yield from nodes(version, inner, value[key], (*path, key))
    if isinstance(rule.get("additionalProperties"), dict):
        for key in value:
            yield from nodes(version, rule["additionalProperties"], value[key], (*path, key))
    if "items" in rule:
        for number, item in enumerate(value if path == ("edits",) and version > 1 else value[:1]):
            yield from nodes(version, rule["items"], item, (*path, number))


NODES = [node for version in VERSIONS for node in nodes(version, SCHEMAS[version], FULL[version])]
OBJECTS = [node for node in NODES if "properties" in node.rule]


def of_their_own() -> list[Node]:
    """Every node of version 1; of a newer one those whose rule stands nowhere before, since the rest is walked then."""
    found, known = [], set()
    for node in NODES:
        rule = (node.path[-1:], node.nullable, json.dumps(node.rule))
        if node.path and (node.version == 1 or rule not in known):
            found.append(node)
        known.add(rule)
    return found


OWN = of_their_own()


def rules(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema file itself."""
    if isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from rules(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from rules(inner)


def with_value(version: int, path: Place, value: Any) -> dict[str, Any]:
    document: Any = copy.deepcopy(FULL[version])
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


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_is_valid_against_its_metaschema(version: int) -> None:
    assert SCHEMAS[version]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMAS[version]["$id"] == f"urn:cti-edits:schema:edit:{version}"
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[version])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_full_fixture_reaches_every_object_and_key_of_the_schema(version: int) -> None:
    """Else the tests below would pass over a new object or a new optional field in silence."""
    # Those without a word on unknown keys only choose among others.
    declared = [
        rule
        for rule in rules(SCHEMAS[version])
        if isinstance(rule.get("properties"), dict) and "additionalProperties" in rule
    ]
    reached = [node for node in OBJECTS if node.version == version]
    assert {id(rule) for rule in declared} == {id(node.rule) for node in reached}
    for rule in declared:
        assert set(rule["properties"]) == {key for node in reached if node.rule is rule for key in node.value}


@pytest.mark.parametrize("version", VERSIONS)
def test_only_metadata_versions_and_a_plugin_s_parameters_take_unknown_keys(version: int) -> None:
    open_objects = [
        node.field
        for node in NODES
        if node.version == version
        and node.rule.get("type") == "object"
        and node.rule.get("additionalProperties") is not False
    ]
    parameters = [
        f"edits[{number}].parameters" for number, one in enumerate(FULL[version]["edits"]) if "parameters" in one
    ]
    assert open_objects == [*parameters, "provenance.versions", "metadata"]
    assert bool(parameters) == (version > 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_choice_is_null_or_one_other_kind(version: int) -> None:
    """`json_schema.first_error` explains what the other kind finds wrong."""
    choices = [rule["anyOf"] for rule in rules(SCHEMAS[version]) if "anyOf" in rule]
    assert choices
    assert all(len(one) == 2 and one[0] == {"type": "null"} and one[1] != {"type": "null"} for one in choices)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_versions_differ_in_nothing_but_what_was_added(version: int) -> None:
    """What a newer version says of the same key is what the older one says."""
    first, newer = SCHEMAS[1], SCHEMAS[version]
    for name in (
        "line",
        "sha256",
        "count",
        "share",
        "rho",
        "matrix",
        "text",
        "asked",
        "measurement",
        "interval",
        "answers",
    ):
        assert newer["$defs"][name] == first["$defs"][name]
    for name in ("name", "description", "base_model", "task", "results", "provenance", "metadata"):
        assert newer["properties"][name] == first["properties"][name]
    if version > 1:
        keys = first["$defs"]["matrix_edit"]["properties"]
        theirs = newer["$defs"]["block_svd"]["properties"]
        assert [key for key in keys if resolved(1, keys[key], None) != resolved(version, theirs[key], None)] == []
    search, found = (one["properties"]["search"]["anyOf"][1] for one in (first, newer))
    assert found["required"] == search["required"]
    added = set(found["properties"]) - set(search["properties"])
    assert added == (set(versions.NEW_IN_2) if version > 1 else set())
    assert [key for key in search["properties"] if found["properties"][key] != search["properties"][key]] == (
        # A method without rates of rank.
        ["rates"] if version > 1 else []
    )


def test_schema_and_dataclasses_name_the_same_fields_in_the_same_order() -> None:
    schema = SCHEMAS[versions.NEWEST]
    properties, kinds = schema["properties"], schema["$defs"]
    task, results, question = properties["task"]["anyOf"][1], properties["results"], kinds["asked"]
    part = properties["search"]["anyOf"][1]["properties"]["parts"]["items"]
    assert list(manifest.KEYS) == list(properties)
    for edit, name in (
        (matrix_edits.BlockSvdEdit, "block_svd"),
        (matrix_edits.DirectionsEdit, "directions"),
        (matrix_edits.PluginEdit, "plugin_edit"),
    ):
        assert list(edit.ORDER) == list(kinds[name]["properties"])
        fields = {field.name for field in dataclasses.fields(edit)}
        assert fields - {"name"} == set(edit.ORDER) - {"method"}
    assert ["method", *SCHEMAS[1]["$defs"]["matrix_edit"]["properties"]] == [
        key for key in kinds["block_svd"]["properties"] if key not in matrix_edits.NOT_IN_1
    ]
    # Where it was read from is no field of a manifest.
    assert {field.name for field in dataclasses.fields(manifest.Edit)} - {"path", "factor_paths"} == set(properties) - {
        "schema_version"
    }
    for kind, rule in (
        (manifest.BaseModel, properties["base_model"]["properties"]),
        (matrix_edits.Factors, kinds["factors"]["anyOf"][1]["properties"]),
        (records.TaskRecord, task["properties"]),
        (records.DatasetRecord, task["properties"]["dataset"]["properties"]),
        # As the fixtures have them, which are written again byte by byte.
        (records.SearchRecord, FULL[versions.NEWEST]["search"]),
        (records.PartRecord, part["properties"]),
        (records.Results, results["properties"]),
        (records.Measurement, kinds["measurement"]["properties"]),
        (records.Reported, results["properties"]["reported"]["properties"]),
        (records.RandomControl, results["properties"]["control"]["properties"]),
        (records.LabelBias, results["properties"]["label_bias"]["properties"]),
        (records.Guard, results["properties"]["guard"]["properties"]),
        (records.SelectionCorrected, results["properties"]["bbc_cv"]["properties"]),
        (records.Provenance, properties["provenance"]["properties"]),
        *((kind, question["properties"][part]["properties"]) for part, kind in PARTS.items()),
    ):
        assert [field.name for field in dataclasses.fields(kind)] == list(rule)


@pytest.mark.parametrize("node", OBJECTS, ids=lambda node: node.name)
def test_an_unknown_key_is_refused_at_every_level(node: Node) -> None:
    document = node.changed({**node.value, "tpyo\x1b": 1})
    where = f"{node.field}: " if node.field else ""
    assert refusal(document).startswith(
        f'{where}unknown key "tpyo\\\\x1b" (known: {next(iter(node.rule["properties"]))}'
    )


@pytest.mark.parametrize(
    ("node", "key"),
    [(node, key) for node in OBJECTS for key in node.rule.get("required", ())],
    ids=lambda part: part.name if isinstance(part, Node) else part,
)
def test_a_missing_key_is_named(node: Node, key: str) -> None:
    without = {name: value for name, value in node.value.items() if name != key}
    message = refusal(node.changed(without))
    if key == "schema_version":
        assert message.startswith("schema_version: missing")
    elif key == "distribution" and node.path[0] == "edits":
        # More often the name of a method is mistyped.
        assert message == f'{node.field}.method: expected "block-svd" or "directions", got "{node.value["method"]}"'
    else:
        assert message == (f"{node.field}: " if node.field else "") + f'the key "{key}" is missing'


@pytest.mark.parametrize(
    ("node", "key"),
    [
        (node, key)
        for node in OBJECTS
        for key in node.rule["properties"]
        # A block has to be named where there are several, and runs of rows have both step and count; see
        # test_matrix_edits and test_rows.
        if key not in node.rule.get("required", ()) and key in node.value and key not in ("block", "step", "count")
    ],
    ids=lambda part: part.name if isinstance(part, Node) else part,
)
def test_an_optional_key_may_be_left_out(node: Node, key: str) -> None:
    without = {name: value for name, value in node.value.items() if name != key}
    manifest.parse(json.dumps(node.changed(without)).encode())


@pytest.mark.parametrize("node", [node for node in OWN if node.nullable], ids=lambda node: node.name)
def test_null_is_taken_where_the_schema_allows_it(node: Node) -> None:
    manifest.parse(json.dumps(node.changed(None)).encode())


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
    [pytest.param(node, sample, id=f"{node.name}-{kind}") for node in OWN for kind, sample in wrong_kinds(node)],
)
def test_a_value_of_another_kind_is_refused_by_field(node: Node, sample: Any) -> None:
    """Booleans are no numbers and 4.0 is no integer, whatever Python and jsonschema think of them."""
    message = refusal(node.changed(sample))
    assert message.startswith(f"{node.field}: expected ")
    if "type" in node.rule:
        assert f"{node.rule['type']}{' or null' if node.nullable else ''}, got " in message
        assert message.split(", got ")[1].startswith(("a", "null"))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_document_that_is_no_object_is_refused(sample: Any) -> None:
    wanted = "schema_version: missing" if isinstance(sample, dict) else "expected a JSON object, got "
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
        pytest.param(node, value, expected, id=f"{node.name}-{limit}")
        for node in OWN
        for limit, value, expected in beyond_limits(node)
    ],
)
def test_a_value_past_a_limit_is_refused_by_field(node: Node, value: Any, expected: str) -> None:
    message = refusal(node.changed(value))
    assert message.startswith(f"{node.field}: ")
    assert expected in message


@pytest.mark.parametrize("version", VERSIONS)
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
def test_a_value_at_its_limit_is_taken(path: Place, value: Any, version: int) -> None:
    document = with_value(version, path, value)
    edit = manifest.parse(json.dumps(document).encode())
    assert edit.to_json() == document


@pytest.mark.parametrize(
    ("key", "value"),
    [("index", [0, 3, 4, 31]), ("scale", [-1_000_000, 0, 1_000_000.0, 1e-300]), ("sigma", [1.7e308, 5e-324, 0, 0])],
)
def test_a_direction_at_its_limit_is_taken(key: str, value: list[float]) -> None:
    document = with_value(2, ("edits", 1, key), value)
    assert manifest.parse(json.dumps(document).encode()).to_json() == document


@pytest.mark.parametrize("version", VERSIONS)
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
def test_a_factors_file_lies_beside_the_manifest_and_is_safetensors(file: str, version: int) -> None:
    for number, one in enumerate(FULL[version]["edits"]):
        if one["factors"]:
            place = ("edits", number, "factors", "file")
            assert refusal(with_value(version, place, file)).startswith(f"edits[{number}].factors.file: ")


# A schema that changes. schemas/README.md says what to do then.

RULES = {
    1: "f23d83569167212bb3b64354e658aeb63417b2064775ba70ad78f35a1c7f4224",
    2: "b059b60229c2f40f6ae6a18bad1650fd70936cadbba074b558dcb27fb22d92bb",
}
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
    assert list(RULES) == list(VERSIONS)
    assert sorted(path.name for path in folder("schemas").glob("edit-*.json")) == [
        f"edit-{version}.schema.json" for version in VERSIONS
    ]
    assert sorted(versions.MIGRATIONS) == list(VERSIONS[:-1])
    for version in VERSIONS:
        files = sorted((DATA / f"edit-{version}").glob("*.json"))
        assert files
        for file in files:
            assert json.loads(file.read_text(encoding="utf-8"))["schema_version"] == version
            # Each is of the oldest version that can say it, and is written in that again.
            assert manifest.load(file).schema_version == version


def test_an_older_manifest_goes_through_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a version 3 will need it: the steps are pure, and run in order."""
    steps = []

    def from_1(document: Mapping[str, Any]) -> dict[str, Any]:
        steps.append(document["schema_version"])
        return versions.to_2(document)

    def from_2(document: Mapping[str, Any]) -> dict[str, Any]:
        steps.append(document["schema_version"])
        return {**document, "schema_version": 3, "metadata": {"before": document["metadata"]}}

    monkeypatch.setattr(versions, "MIGRATIONS", {1: from_1, 2: from_2})
    monkeypatch.setattr(versions, "NEWEST", 3)
    old = copy.deepcopy(FULL[1])
    edit = manifest.parse(json.dumps(old).encode())
    assert steps == [1, 2]
    assert edit.metadata == {"before": old["metadata"]}
    assert edit.newest_json()["schema_version"] == 3
    assert old == FULL[1]
    assert manifest.parse(json.dumps(FULL[2]).encode()).metadata == {"before": FULL[2]["metadata"]}
    assert steps == [1, 2, 2]
