"""The sdist, the wheel that is built from it, and an editable install, used from outside the project's folder.

The wheel's environment has what ``pip install`` of it brings and nothing else: its requirements, theirs, and so on.
They are links to what the environment that runs the tests has of them, since to install torch takes minutes.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import Parser
from fnmatch import fnmatch
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model

# setuptools is not among them: torch asks for it when it runs.
BUILD_TOOLS = {"build", "cmake", "flit-core", "hatchling", "meson", "ninja", "pip", "poetry-core", "twine", "wheel"}
# Modules whose distribution has another name.
DISTRIBUTIONS = {"yaml": "pyyaml"}


def run(*words: str | Path, folder: Path = ROOT) -> str:
    """What a command writes; without the project's folder on Python's path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from what the sdist holds."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist unpacks to."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(folder := tmp_path_factory.mktemp("sdist"), filter="data")
    return folder / path.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def required(metadata: Message) -> dict[str, Distribution]:
    """What ``pip install`` of the wheel brings."""
    return requirements(metadata.get_all("Requires-Dist", []))


def requirements(asked: Sequence[str]) -> dict[str, Distribution]:
    """The distributions that are asked for, with those that they ask for, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in asked]
    while waiting:
        one, extra = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        found[name] = distribution(name)
        for wanted in {"", *one.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(text), wanted) for text in found[name].requires or []]
    return found


def site_packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)}))


@pytest.fixture(scope="module")
def from_wheel(required: dict[str, Distribution], wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, what the wheel requires, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder)
    for one in required.values():
        for name in {path.parts[0] for path in one.files or []} - {"..", "__pycache__"}:
            link = site_packages(folder) / name
            # Two distributions may share a folder.
            if not link.is_symlink():
                link.symlink_to(Path(str(one.locate_file(name))))
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel)
    return python


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with an editable install, for which it needs the tools of development, too."""
    folder = tmp_path_factory.mktemp("editable")
    venv.create(folder)
    # A path file does not bring along that environment's own installation of cti-edits.
    (site_packages(folder) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation", "-e", ROOT)
    return python


def test_the_sdist_holds_the_project_and_nothing_else(unpacked: Path) -> None:
    assert files_of(unpacked) - {"PKG-INFO"} == tracked()


def test_the_tests_run_from_the_sdist(unpacked: Path) -> None:
    # Of all tests, those that read the most of the project's files.
    found = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_project_files.py",
                "tests/test_paths.py", folder=unpacked)  # fmt: skip
    assert " passed" in found


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def tracked() -> set[str]:
    """The project's files: those that git knows, or, in an unpacked sdist, those that it would not ignore."""
    if (ROOT / ".git").exists():
        return set(run("git", "ls-files").splitlines())
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    found = files_of(ROOT) - {"PKG-INFO"}
    return {name for name in found if not any(fnmatch(part, one) for part in Path(name).parts for one in ignored)}


def test_the_wheel_holds_every_data_file(wheel: Path, unpacked: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {
        name if name.startswith("cti_edits/") else f"cti_edits/{name}"
        for name in files_of(unpacked)
        if name.startswith(("tasks/", "schemas/", "edits/", "cti_edits/"))
    }
    # The startup file has to lie at the root, where Python looks for it.
    assert inside - names == {"cti_edits/harness/lm_eval_startup.pth"}
    assert "cti_edits_lm_eval.pth" in names
    assert "cti_edits/py.typed" in names
    assert {name for name in names if not name.startswith(("cti_edits/", "cti_edits-"))} == {"cti_edits_lm_eval.pth"}


def test_the_metadata_name_each_package_that_is_imported(metadata: Message, unpacked: Path) -> None:
    asked = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    without_extras = {canonicalize_name(one.name) for one in asked if one.marker is None}
    imported = {
        module.split(".")[0]
        for folder in ("cti_edits", "tasks")
        for path in (unpacked / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in imported_by(node)
    }
    ours = imported - sys.stdlib_module_names - {"cti_edits"}
    assert {"torch", "transformers", "lm_eval"} <= ours
    distributions = {canonicalize_name(DISTRIBUTIONS.get(module, module)) for module in ours}
    # Read only where a GGUF file is; without it, such a file is refused with the command that brings it.
    assert distributions - without_extras == {"gguf"} <= {canonicalize_name(one.name) for one in asked if one.marker}
    assert without_extras <= distributions


def imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


def test_installing_the_wheel_brings_no_build_tools(required: dict[str, Distribution]) -> None:
    assert {"torch", "lm-eval", "peft"} <= set(required)
    assert not set(required) & BUILD_TOOLS


def test_nothing_that_the_wheel_requires_is_missing(from_wheel: Path) -> None:
    assert "No broken requirements" in run(sys.executable, "-m", "pip", "--python", from_wheel, "check")


def test_lm_eval_runs_an_edit_from_a_plain_shell(from_wheel: Path, llama: Path, tmp_path: Path) -> None:
    edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.5), base_id=str(llama)).write(tmp_path / "edit.json")
    tasks = run(from_wheel.parent / "cti-edits", "tasks-path", folder=tmp_path).strip()
    run(
        from_wheel, "-m", "lm_eval", "--model", "cti", "--model_args", "edit=edit.json", "--tasks", "cti_capitals",
        "--include_path", tasks, "--limit", "4", "--output_path", "results", folder=tmp_path,
    )  # fmt: skip
    (results,) = (tmp_path / "results").rglob("results_*.json")
    config = json.loads(results.read_text())["config"]
    assert (config["model"], config["edit"]["name"], config["edit"]["verified"]) == ("cti", "test", True)


def test_a_published_edit_is_read_from_the_wheel(from_wheel: Path, tmp_path: Path) -> None:
    edits = Path(run(from_wheel.parent / "cti-edits", "tasks-path", folder=tmp_path).strip()).parent / "edits"
    assert "gptj_fever" in run(from_wheel.parent / "cti-edits", "show", edits / "gptj_fever.json", folder=tmp_path)


# What a loader of the proposal does with the entry point: lm-eval's release reads no such group.
ASKED = """
import json, pathlib
import cti_edits
from cti_edits.paths import folder
from importlib.metadata import entry_points
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager
import lm_eval.models
paths = [one.load() for one in entry_points(group='lm_eval.tasks') if one.name == 'cti']
print(json.dumps({
    "package": str(pathlib.Path(cti_edits.__file__).parent),
    "folders": [str(folder(name).parent) for name in ("tasks", "schemas", "edits")],
    "paths": [type(path).__name__ for path in paths],
    "tasks": list(TaskManager(include_path=paths, include_defaults=False).all_tasks),
    "model": get_model("cti").__module__,
}))
"""


@pytest.mark.parametrize("installed", ["from_wheel", "editable"])
def test_the_package_is_the_installed_one_with_its_data_and_lm_eval_finds_it(
    installed: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python: Path = request.getfixturevalue(installed)
    found = json.loads(run(python, "-c", ASKED, folder=tmp_path).splitlines()[-1])
    package = site_packages(python.parent.parent) / "cti_edits"
    where = (package, package) if installed == "from_wheel" else (ROOT / "cti_edits", ROOT)
    assert (found["package"], found["folders"]) == (str(where[0]), [str(where[1])] * 3)
    assert found["paths"] == ["str"]
    assert {"cti_fever", "cti_capitals", "cti_eight_masked"} <= set(found["tasks"])
    assert found["model"] == "cti_edits.harness.lm"
