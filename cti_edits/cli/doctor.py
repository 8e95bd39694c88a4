"""``cti-edits doctor``."""

from __future__ import annotations

import typer

from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.errors import printable


def doctor(
    as_json: AsJson = False,
) -> None:
    """Say what this installation has and what is missing, with the command that brings it.

    Versions, devices, memory, whether plain lm_eval finds us, plugins, benchmark rows, hub, caches. Ends with exit
    code 1 if something is broken.
    """
    from cti_edits.doctor import findings

    broken = False
    for finding in findings():
        broken |= finding.state == "broken"
        if as_json:
            print_json(finding)
            continue
        mark = {"ok": " ", "note": "-", "broken": "!"}[finding.state]
        print(f"{mark} {finding.what}: {printable(finding.found, 500)}", flush=True)
        if finding.remedy:
            print(f"    {finding.remedy}", flush=True)
    raise typer.Exit(1 if broken else 0)
