"""What the project's own files say of it: workflows, hooks, forms, citation and changes name what is there."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cti_edits import __version__
from tests.conftest import ROOT

# Python 3.10 has it not; there pytest brings tomli.
_TOML: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT: dict[str, Any] = _TOML.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.M))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]
OWN_FILES = [*WORKFLOWS, *FORMS, *(ROOT / name for name in ("CITATION.cff", ".pre-commit-config.yaml", "mkdocs.yml"))]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 9 * 1024


@pytest.mark.parametrize("path", OWN_FILES, ids=name_of)
def test_no_host_of_a_package_registry_is_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"pypi\.org|pythonhosted|index-url|anaconda|--index", text)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_workflow_has_jobs_whose_targets_are_in_the_makefile(path: Path) -> None:
    workflow = read(path)
    # YAML 1.1 reads the key `on` as true.
    assert {"name", True, "permissions", "jobs"} == set(workflow)
    for job in workflow["jobs"].values():
        assert {"runs-on", "steps"} <= set(job)
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v4"))
            for target in re.findall(r"^make ([a-z-]+)", step.get("run", ""), flags=re.M):
                assert target in TARGETS
            for file in re.findall(r"(?<!\S)((?:tests|docs|benchmarks)/\S+)", step.get("run", "")):
                assert (ROOT / file).exists()


def test_the_workflows_are_those_of_tests_lint_docs_and_the_wheel() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "lint", "test", "wheel"]


def test_tests_run_on_every_python_that_the_project_names() -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_hooks_are_local_and_run_tools_that_development_installs() -> None:
    tools = {re.split(r"[<>=\[]", one)[0] for one in PROJECT["optional-dependencies"]["dev"]}
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "system"
        command, *_ = hook["entry"].split()
        assert command.removeprefix(".venv/bin/") in tools


def test_the_profile_alone_says_how_many_examples_a_property_draws() -> None:
    assert re.findall(r"-m pytest .*--hypothesis-profile=(\w+)", MAKEFILE) == ["thorough"]
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in ("conftest.py", Path(__file__).name)]
    assert [path.name for path in files if "max_examples" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("path", FORMS, ids=name_of)
def test_an_issue_form_is_one(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    inputs = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["type"] in ("input", "textarea", "dropdown", "checkboxes") for part in inputs)
    assert len({part["id"] for part in inputs}) == len(inputs) > 0
    assert all(part["attributes"]["label"] for part in inputs)
    assert any(part.get("validations", {}).get("required") for part in inputs)
    for file in re.findall(r"(?:docs/)?[\w-]+\.md", path.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file()


def test_the_citation_is_valid_and_of_this_version() -> None:
    schema = json.loads((ROOT / "tests" / "data" / "citation-file-format-1.2.0.schema.json").read_text("utf-8"))
    citation = read(ROOT / "CITATION.cff")
    jsonschema.Draft7Validator(schema).validate(citation)
    assert citation["version"] == __version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2510.20800"


def test_the_changes_have_this_version_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"^## \[(.+?)\]", text, flags=re.M)
    assert first in (__version__, "Unreleased")
    kinds = re.findall(r"^### (.+)$", text, flags=re.M)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md", "docs/getting-started.md", ".ci/run"])
def test_every_make_target_that_is_named_is_there(name: str) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), flags=re.M))
    assert named
    assert named <= TARGETS


def test_every_script_that_contributing_and_the_pages_name_is_there() -> None:
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for module in re.findall(r"python -m (benchmarks\.\w+|docs\.\w+\.\w+)", text):
            file = ROOT / module.replace(".", "/")
            assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), f"{page}: {module}"
        for path in re.findall(r"`((?:tests|docs|benchmarks|cti_edits|schemas|tasks|edits|\.github)/[\w./-]*)`", text):
            # Words in capitals stand for a name.
            assert re.search(r"[A-Z]{3}", Path(path).stem) or (ROOT / path).exists(), f"{page}: {path}"
