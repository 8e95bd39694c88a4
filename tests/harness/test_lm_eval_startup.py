"""The .pth and what it does, each time in an interpreter of its own, or in a fork of one that knows no lm-eval yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run

PTH = (ROOT / "cti_edits" / "harness" / "lm_eval_startup.pth").read_text()

MODELS = """
from lm_eval.api.registry import get_model, model_registry
print(get_model("hf").__name__, get_model("dummy").__name__, "cti" in model_registry, len(model_registry), end=" ")
"""

# Importing torch and what lm-eval imports besides it takes seconds, and is nothing that the .pth could disturb.
FORKING = """
import json, os, sys
import accelerate, datasets, peft, torch, transformers
assert not {name.split(".")[0] for name in sys.modules} & {"cti_edits", "lm_eval"}
assert any(type(finder).__name__ == "CtiEditsFinder" for finder in sys.meta_path)
for program, off in json.loads(sys.argv[1]):
    fork = os.fork()
    if not fork:
        os.environ["CTI_EDITS_NO_STARTUP"] = off
        exec(program, {})
        print(flush=True)
        os._exit(0)
    os.waitpid(fork, 0)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What `MODELS` prints, by what comes before or after it in the program."""
    programs = {
        "alone": (MODELS + "print(get_model('cti').__module__, end='')", "0"),
        "turned off": (MODELS, "1"),
        "looked for": ("import importlib.util; importlib.util.find_spec('lm_eval.models')\n" + MODELS, "0"),
        "after ours": ("import cti_edits.harness.lm\n" + MODELS, "0"),
        "after ours, turned off": ("import cti_edits.harness.lm\n" + MODELS, "1"),
    }
    done = subprocess.run(
        [sys.executable, "-c", FORKING, json.dumps(list(programs.values()))],
        capture_output=True, text=True, cwd=tmp_path_factory.mktemp("here"), check=True,
    )  # fmt: skip
    return dict(zip(programs, [line.split() for line in done.stdout.splitlines()], strict=True))


def test_it_is_one_line_that_imports_no_module_of_ours() -> None:
    assert PTH.startswith("import sys; ")
    assert PTH.count("\n") == 1


def test_nothing_is_imported_at_start(run_python: Run) -> None:
    quiet = run_python("-c", "import sys; print(sorted(sys.modules))")
    assert "cti_edits" not in quiet.stdout
    # In a virtual environment Python reads the .pth twice.
    assert run_python("-c", "import sys; print(sys.meta_path)").stdout.count("CtiEditsFinder") == 1


def test_cti_and_every_other_model_are_there(models: dict[str, list[str]]) -> None:
    hf, dummy, cti, count, module = models["alone"]
    assert (hf, dummy, cti, module) == ("HFLM", "DummyLM", "True", "cti_edits.harness.lm")
    assert models["turned off"] == ["HFLM", "DummyLM", "False", str(int(count) - 1)]


def test_it_leaves_no_finder_and_no_trace_in_lm_eval(run_python: Run) -> None:
    done = run_python("-c", "import lm_eval.models, sys; print(sys.meta_path, lm_eval.models.MODEL_MAPPING['hf'])")
    assert "CtiEditsFinder" not in done.stdout
    assert "huggingface:HFLM" in done.stdout


def test_looking_for_the_spec_uses_nothing_up(models: dict[str, list[str]]) -> None:
    assert models["looked for"][:3] == ["HFLM", "DummyLM", "True"]


def test_importing_our_model_first_hides_no_other(models: dict[str, list[str]]) -> None:
    for name in ("after ours", "after ours, turned off"):
        assert models[name][:3] == ["HFLM", "DummyLM", "True"]


def test_dummy_still_runs_in_the_command(run_command: Run) -> None:
    """The server of the commands starts as every interpreter does."""
    done = run_command(
        "lm_eval", "--model", "dummy", "--tasks", "cti_capitals", "--limit", "4",
        "--include_path", str(ROOT / "tasks"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "|cti_capitals|" in done.stdout


def _stand_in(folder: Path, registry: str) -> str:
    """A package that is called lm_eval and has the parts that the startup module touches."""
    (folder / "lm_eval" / "api").mkdir(parents=True)
    for name, text in (("__init__", ""), ("api/__init__", ""), ("api/registry", registry), ("models", "")):
        (folder / "lm_eval" / f"{name}.py").write_text(text)
    return f"import sys; sys.path.insert(0, {str(folder)!r}); sys.modules.pop('lm_eval', None)\n"


def test_it_steps_aside_where_lm_eval_loads_entry_points(run_python: Run, tmp_path: Path) -> None:
    registry = "class model_registry:\n    register = None\ndef load_plugins(group, components): ...\n"
    done = run_python("-c", _stand_in(tmp_path, registry) + "import lm_eval.models; print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_a_registry_that_refuses_breaks_nothing(run_python: Run, tmp_path: Path) -> None:
    registry = "class R(dict):\n    def register(self, *a, **k): raise ValueError('frozen')\nmodel_registry = R()\n"
    done = run_python("-c", _stand_in(tmp_path, registry) + "import lm_eval.models; print('fine')")
    assert done.stdout == "fine\n"
    assert done.stderr == "cti-edits: could not register the model 'cti' with lm-eval: frozen\n"


def test_a_start_without_the_package_is_silent(run_python: Run, tmp_path: Path) -> None:
    """The .pth outlives the package when a checkout that was installed as editable is deleted."""
    code = f"import sys; sys.path[:] = [p for p in sys.path if p and 'site-packages' not in p and p != {str(ROOT)!r}]\n"
    stand_in = _stand_in(tmp_path, "")
    done = run_python("-S", "-c", code + PTH + stand_in + "import lm_eval.models; print('fine')")
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


def test_the_entry_point_names_the_decorated_class() -> None:
    from importlib.metadata import entry_points

    (entry_point,) = entry_points(group="lm_eval.models", name="cti")
    cls = entry_point.load()
    assert entry_point.value == f"{cls.__module__}:{cls.__qualname__}"
    assert sys.modules["lm_eval.api.registry"].model_registry.get("cti") is cls
