from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cti_edits.cli.json_output import plain, print_json


@dataclass(frozen=True)
class Inner:
    share: float


@dataclass(frozen=True)
class Outer:
    name: str
    parts: tuple[Inner, ...]
    where: Path
    by_name: dict[str, object]


def test_one_object_a_line_with_numbers_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    record = Outer("ρ\n", (Inner(1 / 3), Inner(float("nan"))), Path("a/b"), {"n": 1, "none": None, "on": True})
    print_json(record)
    print_json({"inf": float("inf")})
    first, second = capsys.readouterr().out.splitlines()
    assert first.isascii()
    assert json.loads(first) == {
        "name": "ρ\n",
        "parts": [{"share": 1 / 3}, {"share": None}],
        "where": "a/b",
        "by_name": {"n": 1, "none": None, "on": True},
    }
    assert json.loads(second) == {"inf": None}


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON of object"):
        plain(object())
