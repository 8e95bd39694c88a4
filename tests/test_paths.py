from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cti_edits
from cti_edits.errors import EditError
from cti_edits.paths import folder

FIXTURE = Path(__file__).parent / "data" / "edit-1" / "empty.json"
VALIDATE = "from cti_edits.cli import main; main()"


def test_the_schemas_and_tasks_are_found() -> None:
    assert (folder("schemas") / "edit-1.schema.json").is_file()
    assert list(folder("tasks").glob("*/*.yaml"))


def test_a_folder_that_is_not_there_is_an_error_with_a_remedy() -> None:
    with pytest.raises(EditError, match="no folder 'nowhere': reinstall it"):
        folder("nowhere")


def installed_as_a_wheel(site: Path, schemas: Path | None) -> subprocess.CompletedProcess[str]:
    """Run ``validate`` on a copy of the package as a wheel lays it out: data folders inside the package."""
    package = Path(cti_edits.__file__).parent
    shutil.copytree(package, site / "cti_edits", ignore=shutil.ignore_patterns("__pycache__"))
    if schemas is not None:
        shutil.copytree(schemas, site / "cti_edits" / "schemas")
    where = f"import sys; sys.path.insert(0, {str(site)!r}); import cti_edits; "
    where += f"assert cti_edits.__file__.startswith({str(site)!r}); sys.argv[0] = 'cti-edits'; "
    return subprocess.run(
        [sys.executable, "-c", where + VALIDATE, "validate", str(FIXTURE)], capture_output=True, text=True, cwd=site
    )


def test_a_wheel_finds_its_schemas_inside_the_package(tmp_path: Path) -> None:
    done = installed_as_a_wheel(tmp_path, folder("schemas"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "empty.json: valid" in done.stdout


def test_a_broken_installation_is_one_line(tmp_path: Path) -> None:
    done = installed_as_a_wheel(tmp_path, None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cti-edits: error: the installation of cti-edits has no folder 'schemas'")
    assert done.stderr.count("\n") == 1
