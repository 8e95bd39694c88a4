"""The records of ``--json``; each command's own tests have what it prints."""

from __future__ import annotations

import dataclasses
import json

from cti_edits.cli.json_output import plain
from cti_edits.cli.json_records import Reproduced
from cti_edits.search.reproduction import Changed, Reproduction


def test_a_reproduction_that_ran_nothing() -> None:
    found = Reproduced.of("d" * 64, Reproduction("not reproduced", (Changed("rows", "a", None),)))
    assert json.loads(json.dumps(plain(found))) == {
        "grade": "not reproduced",
        "recorded_digest": "d" * 64,
        "found_digest": None,
        "changed": [{"what": "rows", "recorded": "a", "now": None}],
        "figures": [],
    }
    assert {one.name for one in dataclasses.fields(found)} == set(plain(found))
