"""A plugin that is a package of its own (tests/plugin_package/), installed as a user does and used on the command line.

The environment is a fresh one that finds cti-edits and what it requires where the tests do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cti_edits.plugins import OFF_SWITCH
from tests.conftest import ROOT, Run
from tests.support.pages import blocks

PAGE = ROOT / "docs" / "plugins.md"
PACKAGE = ROOT / "tests" / "plugin_package"
OTHERS = {
    "cannot-import": "import no_such_module_anywhere",
    "raises": """
from cti_edits.hookspecs import hookimpl
from cti_edits.search.scorers import Scorer

@hookimpl
def scorers():
    return [Scorer("of-raises", "never there", lambda matrix: 0.0)]

@hookimpl
def presets():
    raise LookupError("no presets today")
""",
    "same-name": """
from cti_edits.hookspecs import hookimpl
from cti_edits.search.scorers import Scorer

@hookimpl
def scorers():
    return [Scorer("last-layers", "another", lambda matrix: 0.0)]
""",
}
"""From distribution to the source of its one module."""


class Environment:
    """A virtual environment with plugins in it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder)
        self.python = folder / "bin" / "python"
        paths = {"base": str(folder), "platbase": str(folder)}
        self.site_packages = Path(sysconfig.get_path("purelib", "venv", paths))
        (self.site_packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")

    def install(self, *packages: Path) -> None:
        """``pip install`` packages whose requirements are there, without a network."""
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-deps", "--no-compile",
             "--no-index", "--no-build-isolation", "--disable-pip-version-check", *packages],
            check=True, timeout=120, capture_output=True,
        )  # fmt: skip

    def add(self, distribution: str, source: str) -> None:
        """Put a package of one module there as pip would, without the seconds that pip takes."""
        module = distribution.replace("-", "_")
        (self.site_packages / f"{module}.py").write_text(source)
        info = self.site_packages / f"{module}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[cti_edits]\n{module} = {module}\n")

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """``cti-edits`` with these words."""
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", OFF_SWITCH)}
        return subprocess.run(
            [self.python, "-m", "cti_edits", *words],
            capture_output=True, text=True, timeout=120, check=False,
            cwd=self.python.parent, env={**kept, **variables},
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the package installed, and the one that docs/plugins.md writes.

    The package is copied first, so that building leaves nothing in the project.
    """
    environment = Environment(tmp_path_factory.mktemp("environment"))
    package = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / "package")
    written = tmp_path_factory.mktemp("written")
    for name, language, has in (
        ("cti_edits_log_sigma.py", "python", "def scorers("),
        ("pyproject.toml", "text", "[project]"),
    ):
        (text,) = (one.text for one in blocks(PAGE) if one.language == language and has in one.text)
        (written / name).write_text(text, encoding="utf-8")
    environment.install(package, written)
    return environment


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with plugins that are broken each in its own way, beside one that is good."""
    environment = Environment(tmp_path_factory.mktemp("crowded"))
    environment.add("good", (PACKAGE / "cti_edits_example.py").read_text())
    for distribution, source in OTHERS.items():
        environment.add(distribution, source)
    return environment


def test_its_parts_are_listed_with_where_they_are_from(installed: Environment) -> None:
    done = installed.run("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["example", "cti-edits-example", "2.3", "scorers", "last-layers"] in lines
    assert ["example", "cti-edits-example", "2.3", "methods", "scaled"] in lines
    assert ["example", "cti-edits-example", "2.3", "presets", "example-last,", "example-scaled"] in lines
    assert ["log-sigma", "cti-edits-log-sigma", "1.0", "scorers", "log-sigma"] in lines
    listed = installed.run("presets").stdout.splitlines()
    assert [line for line in listed if line.startswith("example-last ")]
    assert "But example-last: matrices U_out; ρ = 0.5, 0.25; scorer last-layers." in listed
    (scaled,) = (line for line in listed if line.startswith("example-scaled "))
    assert re.split(" {2,}", scaled) == [
        "example-scaled",
        "scaled",
        "what the method proposes",
        "3 drawn",
        "1",
        "3 drawn",
    ]
    assert "But example-scaled: matrices U_out." in listed


# A search in a process of its own would take six seconds, for importing torch and lm_eval.
COMMAND = """
import site, sys
site.addsitedir(sys.argv[1])
sys.argv = ["cti-edits", *sys.argv[2:]]
from cti_edits.cli import main
main()
"""


def test_its_scorer_and_preset_are_used_by_a_search(
    installed: Environment, run_command: Run, llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "command.py").write_text(COMMAND)
    rows = [{"prompt": f"{word} says", "answer": "moo"} for word in ("cow", "dog", "ox")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run_command(
        "run-python-file", str(tmp_path / "command.py"), str(installed.site_packages), "search", "--preset",
        "example-last",
        "--data", "rows.jsonl", "--model", str(llama), "--output", "edit.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    search = json.loads((tmp_path / "edit.json").read_text())["search"]
    assert (search["preset"], search["samples"], search["candidates"]) == ("example-last", 3, 2)
    assert (search["rates"], search["matrices"]) == ([0.5, 0.25], ["U_out"])
    refused = run_command(
        "run-python-file", str(tmp_path / "command.py"), str(installed.site_packages), "search", "--scorer",
        "last-layer",
        "--data", "rows.jsonl", "--model", str(llama),
    )  # fmt: skip
    assert refused.returncode == 2
    assert refused.stderr.startswith("cti-edits: error: --scorer: no scorer is called 'last-layer'; did you mean last-")


def test_its_method_is_searched_with_applied_and_shown(
    installed: Environment, run_command: Run, llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "command.py").write_text(COMMAND)
    rows = [{"prompt": f"{word} says", "answer": "moo"} for word in ("cow", "dog", "ox")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return run_command("run-python-file", str(tmp_path / "command.py"), str(installed.site_packages), *words)

    done = run(
        "search", "--preset", "example-scaled", "--data", "rows.jsonl", "--model", str(llama), "--output", "edit.json"
    )
    assert done.returncode == 0, done.stderr
    assert "6 candidates tried" in done.stdout
    document = json.loads((tmp_path / "edit.json").read_text())
    parts = [{"kind": kind, "name": name, "distribution": "cti-edits-example", "version": "2.3"}
             for kind, name in (("method", "scaled"), ("preset", "example-scaled"))]  # fmt: skip
    assert (document["search"]["method"], document["search"]["parts"]) == ("scaled", parts)
    (one,) = document["edits"]
    assert (one["method"], one["distribution"], one["matrix"]) == ("scaled", "cti-edits-example", "U_out")
    factor = one["parameters"]["factor"]
    assert factor in (0.5, 2.0)
    shown = run("show", "edit.json")
    assert re.search(r"^ +method +scaled$", shown.stdout, flags=re.MULTILINE)
    verified = run("verify", "edit.json", "--model", str(llama))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    exported = run("export", "edit.json", "--out", "out", "--model", str(llama))
    assert exported.returncode == 0, exported.stderr
    name = f"{one['module']}.weight"
    base, edited = (load_file(folder / "model.safetensors")[name] for folder in (llama, tmp_path / "out"))
    assert torch.equal(edited, base * factor)
    # Without the plugin, the manifest can be read, and what applies it says what is missing.
    assert "scaled" in run_command("cti-edits", "show", "edit.json").stdout
    refused = run_command("cti-edits", "export", "edit.json", "--out", "again", "--model", str(llama))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "'scaled' is not known here: it is a plugin's, of the distribution 'cti-edits-example'" in refused.stderr
    assert not (tmp_path / "again").exists()


def test_its_preset_has_a_cost(installed: Environment) -> None:
    done = installed.run("cost", "--preset", "example-last", "--dataset-size", "100", "--layers", "4")
    assert (done.returncode, done.stderr) == (0, "")
    # Two candidates and the unedited model on three rows each.
    rows = {line.split("  ")[0]: line.split()[-1] for line in done.stdout.splitlines()}
    assert (rows["candidates"], rows["unedited model"]) == ("6", "3")
    refused = installed.run("cost", "--preset", "example-scaled", "--dataset-size", "100", "--layers", "4")
    assert refused.returncode == 2
    assert refused.stderr == (
        "cti-edits: error: example-scaled: only the plugin of the method scaled knows what it tries\n"
    )


def test_those_that_are_broken_are_named_and_the_others_work(crowded: Environment) -> None:
    done = crowded.run("plugins")
    assert done.returncode == 0
    cannot, raises = (line for line in done.stdout.splitlines() if line.startswith("left out: "))
    assert cannot == (
        "left out: the plugin 'cannot_import' (cannot-import 0.1): could not be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    )
    assert raises == (
        "left out: the plugin 'raises' (raises 0.1): failed in its hook presets: LookupError: no presets today"
    )
    assert "of-raises" not in done.stdout
    assert [line.split(" (")[0] for line in done.stderr.splitlines()] == [
        "cti-edits: warning: the plugin 'cannot_import'",
        "cti-edits: warning: the plugin 'raises'",
    ]
    assert "example-last" in done.stdout


def test_a_name_that_two_give_is_refused_in_one_line_that_names_both(crowded: Environment) -> None:
    done = crowded.run("search", "--task", "capitals", "--scorer", "last-layers")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("cti-edits: error: --scorer: two plugins give a scorer called 'last-layers': ")
    assert "(good 0.1)" in line
    assert "(same-name 0.1)" in line


def test_disabled_ones_are_not_imported(crowded: Environment) -> None:
    done = crowded.run("plugins", CTI_EDITS_DISABLE_PLUGINS="1")
    assert (done.returncode, done.stderr) == (0, "")
    left_out = [line for line in done.stdout.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == 4
    assert all(line.endswith(": CTI_EDITS_DISABLE_PLUGINS is set") for line in left_out)
    assert "last-layers" not in done.stdout
