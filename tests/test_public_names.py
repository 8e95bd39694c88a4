from __future__ import annotations

import importlib
from pathlib import Path

import cti_edits
from tests.conftest import Run


def test_every_public_name_is_the_object_of_its_home(run_command: Run, tmp_path: Path) -> None:
    """Also after the modules are imported, when a submodule could hide a name."""
    names = [name for name in cti_edits.__all__ if name != "search"]  # A room that is called as the function in it.
    code = "import cti_edits, cti_edits.harness.lm\n" + "".join(
        f"from cti_edits import {name}; assert cti_edits.{name} is {name}; print({name}.__module__)\n" for name in names
    )
    (tmp_path / "program.py").write_text(code)
    homes = run_command("run-python-file", "program.py").stdout.split()
    assert homes == [f"cti_edits.{cti_edits._HOMES[name]}" for name in names]
    assert not any(hasattr(importlib.import_module(home), "__path__") for home in homes)


def test_other_names_are_not_there() -> None:
    assert not hasattr(cti_edits, "no_such_name")
