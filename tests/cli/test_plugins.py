"""``cti-edits plugins``. tests/test_plugin_package.py has it with plugins that are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command import run_here
from tests.support.installed_plugins import InstalledPlugins

NOTHING_HEAVY = """
import sys
sys.argv = ["cti-edits", *sys.argv[1:]]
from cti_edits.cli import main
try:
    main()
except SystemExit as ended:
    code = ended.code
heavy = ("torch", "transformers", "lm_eval", "numpy", "scipy", "matplotlib")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def test_every_part_that_comes_along_is_listed_by_its_name(plugin_folder: InstalledPlugins) -> None:
    done = run_here("plugins")
    rows = {line.split()[3]: line for line in done.stdout.splitlines()[1:]}
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith("built-in  cti-edits ") for line in rows.values())
    assert rows["scorers"].endswith("  paper, negated-paper, sum-abs, predicted-change, sigma, random")
    assert rows["partitions"].endswith("  row-blocks, k-subspaces, k-means")
    assert rows["selectors"].endswith("  best, one-standard-error, nll, balanced")
    assert ", cl-100g-100e, " in rows["presets"]
    assert ", gptj, " in rows["architecture_folders"]
    assert ", cti_fever, cti_fever_masked, " in rows["task_folders"]
    assert rows["report_sections"].endswith("  manifest")


def test_a_plugin_without_parts_is_listed_too(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("empty", distribution="nothing-yet")
    assert run_here("plugins").stdout.splitlines()[-1].split() == ["empty", "nothing-yet", "1.0", "none"]


def test_architecture_files_are_checked_before_the_listing(plugin_folder: InstalledPlugins) -> None:
    data = plugin_folder.add(
        "greedy",
        "from pathlib import Path\nfrom cti_edits.hookspecs import hookimpl\n\n@hookimpl\ndef architecture_folders():\n"
        "    return str(Path(__file__).parent / 'greedy_data')\n",
    )
    (data / "own.json").write_text(
        '{"model_types": ["gptj"], "kind": "causal", "layers": "h", "matrices": {"U_in": "a"}, '
        '"weight_rows": "outputs"}'
    )
    done = run_here("plugins")
    last = done.stdout.splitlines()[-1]
    assert last.startswith("left out: the plugin 'greedy' (greedy 1.0): gives no architecture files that can be used: ")
    assert "own" not in [word for line in done.stdout.splitlines()[:-1] for word in line.split()]


def test_what_a_plugin_calls_itself_cannot_write_control_characters(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add(
        "odd",
        "from cti_edits.hookspecs import hookimpl\nfrom cti_edits.search.scorers import Scorer\n\n@hookimpl\n"
        "def scorers():\n    return [Scorer('a\\x1b[31m\\nb', '', len)]\n",
    )
    done = run_here("plugins")
    assert done.stdout.splitlines()[-1].endswith("a\\x1b[31m\\nb")


@pytest.mark.parametrize(
    "words", [["--help"], ["plugins"], ["presets"], ["search", "--help"], ["study", "--help"]], ids=" ".join
)
def test_parts_are_named_without_importing_torch(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_HEAVY, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
