"""A wheel and an editable install, each in a virtual environment of its own, used from outside the project's folder.

The environments are fresh but for their dependencies: these come from the environment that runs the tests, by a path
file, which does not bring that environment's own installation of cti-edits along.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model


def _pip(python: Path | str, *words: str) -> None:
    done = subprocess.run([str(python), "-m", "pip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The interpreter of a fresh environment in which cti-edits is installed."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    what = [str(wheel)] if request.param == "wheel" else ["--editable", str(ROOT)]
    _pip(python, "install", "--no-deps", "--no-build-isolation", *what)
    return python


def run(python: Path, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *words], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300, check=False
    )


def test_lm_eval_runs_an_edit_from_a_plain_shell(python: Path, llama: Path, tmp_path: Path) -> None:
    edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.5), base_id=str(llama)).write(tmp_path / "edit.json")
    script = python.parent / "cti-edits"
    tasks = subprocess.run([str(script), "tasks-path"], capture_output=True, text=True, check=True).stdout.strip()
    done = run(
        python, tmp_path, "-m", "lm_eval", "--model", "cti", "--model_args", "edit=edit.json",
        "--tasks", "cti_capitals", "--include_path", tasks, "--limit", "4", "--output_path", "results",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "results").rglob("results_*.json")
    config = json.loads(results.read_text())["config"]
    assert (config["model"], config["edit"]["name"], config["edit"]["verified"]) == ("cti", "test", True)


def test_the_package_is_this_one_and_carries_its_data(python: Path, tmp_path: Path) -> None:
    code = (
        "import cti_edits, pathlib; print(pathlib.Path(cti_edits.__file__).parent)\n"
        "from cti_edits.paths import folder\n"
        "for name in ('tasks', 'schemas', 'edits'): print(folder(name))"
    )
    done = run(python, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    package, *folders = map(Path, done.stdout.split())
    inside = python.parent.parent in package.parents
    assert inside or package.parent == ROOT
    assert [path.parent for path in folders] == [package if inside else ROOT] * 3


def test_the_entry_point_for_tasks_is_a_folder_that_lm_eval_takes(python: Path, tmp_path: Path) -> None:
    # What a loader of the proposal does with it: lm-eval's release reads no such group.
    code = (
        "from importlib.metadata import entry_points\n"
        "from lm_eval.tasks import TaskManager\n"
        "paths = [one.load() for one in entry_points(group='lm_eval.tasks') if one.name == 'cti']\n"
        "found = TaskManager(include_path=paths, include_defaults=False).all_tasks\n"
        "print(len(paths), type(paths[0]).__name__, *found)"
    )
    done = run(python, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    count, kind, *names = done.stdout.split()
    assert (count, kind) == ("1", "str")
    assert {"cti_fever", "cti_capitals", "cti_eight_masked"} <= set(names)


def test_the_wheel_holds_every_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "tasks", "schemas", "edits", "cti_edits"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert tracked
    inside = {path if path.startswith("cti_edits/") else f"cti_edits/{path}" for path in tracked}
    # The startup file has to lie at the root, where Python looks for it.
    assert inside - names == {"cti_edits/harness/lm_eval_startup.pth"}
    assert "cti_edits_lm_eval.pth" in names
    assert "cti_edits/py.typed" in names
