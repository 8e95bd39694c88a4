"""Plugins are found as installed ones are, loaded behind guards, named, and asked for their parts by name."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import cti_edits
from cti_edits import built_in, hookspecs, plugins
from cti_edits.artifact.matrix_edits import PluginEdit
from cti_edits.artifact.ranks import partition_rows
from cti_edits.errors import EditError, FitError
from cti_edits.harness.tasks import load_task
from cti_edits.hookspecs import FOLDERS, HOMES
from cti_edits.models.architectures import families, family_of
from cti_edits.plugins import OFF_SWITCH, find_part
from cti_edits.report.sections import section_lines
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.outcome import Outcome
from cti_edits.search.partitions import find_partition
from cti_edits.search.presets import find_preset
from cti_edits.search.scorers import BlockDirections, MatrixDirections, Scorer, find_scorer
from cti_edits.search.selectors import find_selector
from studies.tiny import TINY
from tests.conftest import ROOT
from tests.support.edits import cuts, edit_of, plugin_edit
from tests.support.installed_plugins import InstalledPlugins, forget
from tests.support.pages import blocks
from tests.support.small_tasks import write_task
from tests.support.tiny_models import byte_tokenizer, tiny_model

PAGE = ROOT / "docs" / "plugins.md"
HOOKS = (*HOMES, *FOLDERS)
FAMILY: dict[str, Any] = {
    "model_types": ["newest"],
    "kind": "causal",
    "layers": "model.blocks",
    "matrices": {"U_in": "up"},
    "weight_rows": "inputs",
}
FAMILIES = """
from pathlib import Path
from cti_edits.hookspecs import hookimpl

@hookimpl
def architecture_folders():
    return str(Path(__file__).with_suffix("")) + "_data"
"""
SCORER = """
from cti_edits.hookspecs import hookimpl
from cti_edits.search.scorers import Scorer

@hookimpl
def scorers():
    return [Scorer("flat", "all alike", lambda matrix: 0.0)]
"""


def add_families(folder: InstalledPlugins, name: str, **files: Any) -> Path:
    """Install a plugin that brings data files of families."""
    data = folder.add(name, FAMILIES)
    for stem, content in files.items():
        (data / f"{stem}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return data


def warning(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    err = capsys.readouterr().err
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("cti-edits: warning: the plugin ")
    assert err.endswith(f"; {OFF_SWITCH}=1 turns plugins off\n")
    return err


def example(hook: str) -> str:
    """The Python block of docs/plugins.md that implements the hook."""
    (found,) = (block.text for block in blocks(PAGE) if block.language == "python" and f"\ndef {hook}(" in block.text)
    return found


# Every hook has an example in the documentation, which a test of its name installs and uses.


def test_every_hook_is_specified_built_in_documented_and_tested() -> None:
    specified = {name for name, one in vars(hookspecs).items() if hasattr(one, "cti_edits_spec")}
    assert specified == set(HOOKS)
    assert specified == {name for name, one in vars(built_in).items() if hasattr(one, "cti_edits_impl")}
    text = PAGE.read_text(encoding="utf-8")
    tested = {
        node.name for node in ast.parse(Path(__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }  # fmt: skip
    for hook in specified:
        assert re.search(rf"^### `{hook}`$", text, flags=re.M), f"docs/plugins.md needs a section on {hook}"
        assert example(hook)
        assert f"test_hook_{hook}" in tested, f"write test_hook_{hook} in tests/test_plugins.py"


def matrix(*blocks: tuple[list[float], list[float]], seed: int = 0) -> MatrixDirections:
    """A matrix with these σ and g."""
    made = tuple(BlockDirections(torch.tensor(S).double(), torch.tensor(g).double()) for S, g in blocks)
    return MatrixDirections(MatrixId(1, "U_in"), (8, 6), made, seed)


def test_hook_methods(plugin_folder: InstalledPlugins, tmp_path: Path) -> None:
    plugin_folder.add("example", example("methods"))
    model, rows = tiny_model("llama"), [{"prompt": f"{word} says", "answer": "moo"} for word in ("cow", "dog", "ox")]
    result = cti_edits.search(
        model, byte_tokenizer(), rows=rows, progress=False, exact_stop=False, method="scaled", matrices=["U_in"]
    )
    assert [str(one.candidate) for one in result.outcomes[:2]] == [
        "0.5 times U_in of layer 0", "2 times U_in of layer 0",
    ]  # fmt: skip
    assert len(result.outcomes) == 6
    edit = cti_edits.load(result.edit.write(tmp_path / "scaled.json"))
    (one,) = edit.edits
    assert isinstance(one, PluginEdit)
    former = model.get_submodule(one.module).weight.clone()
    with cti_edits.applied(edit, model):
        assert torch.equal(model.get_submodule(one.module).weight, former * one.parameters["factor"])
    broken = dataclasses.replace(edit, edits=(dataclasses.replace(one, parameters={"factor": "2"}),))
    with pytest.raises(EditError, match=r"parameters: expected a factor, a number, got '2'$"):
        cti_edits.apply(broken, model)


def test_without_the_plugin_an_edit_by_its_method_says_which_distribution_has_it() -> None:
    model = tiny_model("llama")
    made = edit_of(model, ("U_in", 1, 2, 0.5))
    edit = dataclasses.replace(made, edits=(plugin_edit(made.edits[0]),))
    with pytest.raises(EditError) as refusal:
        cti_edits.apply(edit, model)
    assert str(refusal.value).endswith(
        "edits[0]: method: 'magic' is not known here: it is a plugin's, of the distribution 'cti-edits-magic', which "
        "is not installed or did not load"
    )
    with pytest.raises(EditError, match=r"^method: no method is called 'magic' \(known: block-svd, directions\)$"):
        cti_edits.search(model, byte_tokenizer(), rows=[{"prompt": "a", "answer": "b"}], method="magic")


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("for factor in (0.5, 2.0)", "for factor in None", "TypeError: 'NoneType' object is not iterable"),
        ("yield Trial(one,", "yield Trail(one,", "NameError: name 'Trail' is not defined"),
        ("        return (edit,)", "        return {}[edit]", "TypeError: unhashable type: 'dict'"),
        (
            '"""Those above have the very bits of what is applied."""',
            "raise LookupError(candidate.target)",
            "LookupError: U_in of layer ",
        ),
    ],
)
def test_a_method_that_fails_is_named_with_its_plugin(
    plugin_folder: InstalledPlugins, right: str, wrong: str, reason: str
) -> None:
    source = example("methods")
    assert right in source
    plugin_folder.add("example", source.replace(right, wrong))
    with pytest.raises(EditError) as refusal:
        cti_edits.search(
            tiny_model("llama"), byte_tokenizer(), rows=[{"prompt": "a", "answer": "b"}], method="scaled",
            progress=False,
        )  # fmt: skip
    assert str(refusal.value).startswith(f"the method 'scaled' of the plugin 'example' (example 1.0) failed: {reason}")


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("return weight.detach() * factor", "return wait * factor", "NameError: name 'wait' is not defined"),
        ("def edited_weight(", "def edit_weight(", "AttributeError: module 'example' has no attribute 'edited_weight'"),
        (
            'a number", __name__,',
            "a number\", 'no.such',",
            "ModuleNotFoundError: No module named 'no'",
        ),
    ],
)
def test_a_method_that_fails_when_an_edit_is_applied_is_named_too(
    plugin_folder: InstalledPlugins, right: str, wrong: str, reason: str
) -> None:
    source = example("methods")
    assert right in source
    plugin_folder.add("example", source.replace(right, wrong))
    model = tiny_model("llama")
    made = edit_of(model, ("U_in", 1, 2, 0.5))
    one = dataclasses.replace(plugin_edit(made.edits[0]), name="scaled", parameters={"factor": 0.5})
    with pytest.raises(EditError) as refusal:
        cti_edits.apply(dataclasses.replace(made, edits=(one,)), model)
    assert str(refusal.value).endswith(f"the method 'scaled' of the plugin 'example' (example 1.0) failed: {reason}")


def test_hook_scorers(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("example", example("scorers"))
    assert len(example("scorers").splitlines()) == 15
    assert find_scorer("log-sigma").score(matrix(([3.0, 2.0], [-1.0, 4.0]), ([1.0], [-0.5]))) == -3.5
    assert find_scorer("paper").summary


def test_hook_partitions(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("example", example("partitions"))
    rows = find_partition("norms").assign(torch.tensor([[5.0], [1.0], [4.0], [2.0]]), 2, 0.5, 0)
    assert partition_rows(4, 2, rows) == ((1, 3), (0, 2))


def outcome(layer: int | None, correct: int) -> Outcome:
    candidate = None if layer is None else RankCut(MatrixId(layer, "U_in"), 1, 0.5)
    return Outcome(candidate, correct / 8, 1.0, (True,) * correct + (False,) * (8 - correct), 0)


def test_hook_selectors(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("example", example("selectors"))
    unedited = outcome(None, 2)
    assert find_selector("cautious").winner([unedited, outcome(0, 4), outcome(1, 3)]) == unedited
    assert find_selector("cautious").winner([unedited, outcome(0, 4), outcome(1, 5)]) == outcome(1, 5)
    assert find_selector("best").winner([unedited, outcome(0, 4), outcome(1, 3)]) == outcome(0, 4)


def test_hook_presets(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("example", example("presets"))
    settings = find_preset("outputs").settings("causal")
    assert (settings.preset, settings.top_q, settings.clusters) == ("outputs", 3, (1,))
    assert (settings.scorer, settings.rates, settings.matrices) == ("predicted-change", (0.5, 0.1), ("U_out",))


def test_hook_task_folders(plugin_folder: InstalledPlugins) -> None:
    (plugin_folder.folder / "tasks").mkdir()
    name = write_task(plugin_folder.folder / "tasks", "brought_along")
    plugin_folder.add("example", example("task_folders"))
    assert load_task(name).config.task == name
    assert load_task("capitals").config.task == "cti_capitals"


def test_hook_architecture_folders(plugin_folder: InstalledPlugins) -> None:
    (plugin_folder.folder / "architectures").mkdir()
    (plugin_folder.folder / "architectures" / "newest_family.json").write_text(json.dumps(FAMILY))
    plugin_folder.add("example", example("architecture_folders"))
    assert family_of("newest").module_name("U_in", 7) == "model.blocks.7.up"
    assert set(families()) == {*TINY, "newest"}


def test_hook_report_sections(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("example", example("report_sections"))
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.5))
    assert list(section_lines(edit))[-4:] == [("", ""), ("depth", ""), ("  first layer ", "1"), ("  last layer ", "1")]


def test_a_search_is_made_of_the_parts_that_are_asked_for(
    plugin_folder: InstalledPlugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for hook in ("scorers", "partitions"):
        plugin_folder.add(hook, example(hook))
    last = """
from cti_edits.hookspecs import hookimpl
from cti_edits.search.selectors import Selector

@hookimpl
def selectors():
    return [Selector("last", "the last", winner=lambda outcomes: outcomes[-1])]
"""
    plugin_folder.add("last", last)
    rows = [{"prompt": f"{word} says", "choices": ["moo", "woof"], "gold": 0} for word in ("cow", "dog", "ox")]
    result = cti_edits.search(
        tiny_model("llama"), byte_tokenizer(), rows=rows, progress=False, samples=3, top_q=1, clusters=[2],
        rates=[0.9, 0.5], scorer="log-sigma", partition="norms", selector="last",
    )  # fmt: skip
    (edit,) = cuts(result.edit)
    assert (edit.rho, len(result.outcomes), result.stopped) == (0.5, 2, ())
    assert edit.partition.removeprefix("k-subspaces:").count("0") == edit.shape[0] // 2


# What is loaded.


def test_two_plugins_both_count(plugin_folder: InstalledPlugins) -> None:
    add_families(plugin_folder, "first_one", a=FAMILY)
    add_families(plugin_folder, "second_one", b={**FAMILY, "model_types": ["other"]})
    assert set(families()) == {*TINY, "newest", "other"}


def test_what_is_built_in_comes_through_the_same_hooks(plugin_folder: InstalledPlugins) -> None:
    (only,) = plugins.plugins().loaded
    assert str(only.provider) == f"the plugin 'built-in' (cti-edits {cti_edits.__version__})"
    assert all(only.parts[hook] for hook in HOMES)
    (folder,) = only.folders["architecture_folders"]
    assert {path.stem for path in Path(folder).glob("*.json")} == {family.name for family in families().values()}
    assert only.folders["task_folders"] == (str(ROOT / "tasks"),)


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_off_switch_leaves_plugins_out(
    plugin_folder: InstalledPlugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    add_families(plugin_folder, "addition", newest_family=FAMILY)
    plugin_folder.add("broken", "raise RuntimeError('imported all the same')")
    monkeypatch.setenv(OFF_SWITCH, value)
    assert set(families()) == set(TINY)
    assert capsys.readouterr().err == ""
    assert "addition" not in sys.modules
    assert {(one.provider.plugin, one.reason) for one in plugins.plugins().left_out} == {
        ("addition", f"{OFF_SWITCH} is set"),
        ("broken", f"{OFF_SWITCH} is set"),
    }


@pytest.mark.parametrize("value", ["", "0"])
def test_an_off_switch_that_is_off(
    plugin_folder: InstalledPlugins, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    add_families(plugin_folder, "addition", newest_family=FAMILY)
    monkeypatch.setenv(OFF_SWITCH, value)
    assert "newest" in families()


# What is left out.


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("import no_such_module_anywhere", None, "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise ValueError('first line\\nsecond \\x1b[31m line')", None, "ValueError: first line\\nsecond \\x1b[31m"),
        ("def broken(:", None, "SyntaxError: "),
        ("raise SystemExit(3)", None, "SystemExit: 3"),
        ("", "broken:absent", "AttributeError: module 'broken' has no attribute 'absent'"),
        (
            f"{SCORER}\n@hookimpl\ndef architecture_folders(model): pass",
            None,
            "PluginValidationError: ",
        ),
        (f"{SCORER}\n@hookimpl\ndef scorrers(): pass", None, "PluginValidationError: unknown hook 'scorrers'"),
    ],
)
def test_a_plugin_that_does_not_load_is_named_and_left_out_whole(
    plugin_folder: InstalledPlugins,
    capsys: pytest.CaptureFixture[str],
    source: str,
    target: str | None,
    reason: str,
) -> None:
    plugin_folder.add("broken", source, target, distribution="of_a_stranger")
    add_families(plugin_folder, "zz_addition", newest_family=FAMILY)
    assert set(families()) == {*TINY, "newest"}
    line = warning(capsys)
    assert f"the plugin 'broken' (of_a_stranger 1.0) could not be loaded and is left out: {reason}" in line
    with pytest.raises(EditError, match="no scorer is called 'flat'"):
        find_scorer("flat")
    (left_out,) = plugins.plugins().left_out
    assert left_out.reason.startswith(f"could not be loaded: {reason}")


@pytest.mark.parametrize(
    ("hook", "body", "reason"),
    [
        ("partitions", "raise KeyError('its\\nown fault')", "KeyError: 'its\\nown fault'"),
        ("partitions", "import sys; sys.exit('bye')", "SystemExit: bye"),
        ("partitions", "return 3", "TypeError: expected a list of Partition, got int"),
        ("partitions", "return scorers()", "TypeError: expected a list of Partition, got Scorer in it"),
        ("presets", "return ['cl-laser']", "TypeError: expected a list of Preset, got str in it"),
        ("task_folders", "return 3", "TypeError: expected the path of a folder, a str, got int"),
        ("task_folders", "return '/no/such'", "EditError: /no/such: expected a folder of task files"),
        ("architecture_folders", "return 3", "TypeError: expected the path of a folder, a str, got int"),
        ("architecture_folders", "return '/no/such'", "EditError: /no/such: expected a folder of architecture files"),
    ],
)
def test_a_plugin_whose_hook_fails_is_named_and_left_out_whole(
    plugin_folder: InstalledPlugins, capsys: pytest.CaptureFixture[str], hook: str, body: str, reason: str
) -> None:
    plugin_folder.add("broken", f"{SCORER}\n@hookimpl\ndef {hook}(): {body}")
    add_families(plugin_folder, "zz_addition", newest_family=FAMILY)
    assert set(families()) == {*TINY, "newest"}
    line = warning(capsys)
    assert f"the plugin 'broken' (broken 1.0) failed in its hook {hook} and is left out: {reason}" in line
    with pytest.raises(EditError, match="no scorer is called 'flat'"):
        find_scorer("flat")


@pytest.mark.parametrize("name", ["'flat'", "''", "7"])
def test_each_part_of_a_plugin_has_a_name_of_its_own(
    plugin_folder: InstalledPlugins, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    scorer = f"Scorer({name}, 'another', lambda matrix: 0.0)"
    plugin_folder.add("broken", SCORER.replace("return [", f"return [{scorer}, "))
    assert [one.provider.plugin for one in plugins.plugins().loaded] == ["built-in"]
    assert "failed in its hook scorers and is left out: ValueError: expected a name for each Scorer" in warning(capsys)


def test_a_plugin_with_a_wrong_data_file_is_left_out_whole(
    plugin_folder: InstalledPlugins, capsys: pytest.CaptureFixture[str]
) -> None:
    add_families(plugin_folder, "addition", newest_family=FAMILY)
    wrong = {"a_good": {**FAMILY, "model_types": ["other"]}, "b_wrong": {**FAMILY, "kind": "neither"}}
    data = add_families(plugin_folder, "broken", **wrong)
    assert set(families()) == {*TINY, "newest"}
    assert f"{data / 'b_wrong.json'}: kind: expected" in warning(capsys)


@pytest.mark.parametrize("claimed", ["gpt2", "other"])
def test_a_model_type_is_claimed_once(
    plugin_folder: InstalledPlugins, capsys: pytest.CaptureFixture[str], claimed: str
) -> None:
    data = add_families(
        plugin_folder,
        "greedy",
        a={**FAMILY, "model_types": ["other"]},
        b={**FAMILY, "model_types": ["fresh", claimed]},
    )
    assert set(families()) == set(TINY)
    assert families()["gpt2"].layers == "transformer.h"
    owner = "gpt2" if claimed == "gpt2" else "a"
    line = warning(capsys)
    assert "gives no architecture files that can be used" in line
    assert f"{data / 'b.json'}: the model type '{claimed}' is claimed by {owner} too" in line
    assert [one.provider.plugin for one in plugins.plugins().left_out] == ["greedy"]


@pytest.mark.parametrize("name", ["built-in", "addition"])
def test_a_plugin_cannot_take_another_ones_name(
    plugin_folder: InstalledPlugins, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    plugin_folder.add("addition")
    plugin_folder.add("impostor", SCORER)
    entry_points = plugin_folder.folder / "impostor-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(f"[cti_edits]\n{name} = impostor\n")
    forget()
    (left_out,) = plugins.plugins().left_out
    reason = f"ValueError: there is a plugin called '{name}' already"
    assert left_out.reason == f"could not be loaded: {reason}"
    assert f"could not be loaded and is left out: {reason}" in warning(capsys)
    # Which of two is first depends on the order of the folder.
    assert (left_out.provider.distribution == "impostor") or name == "addition"


def test_a_built_in_file_that_is_wrong_is_an_error(
    plugin_folder: InstalledPlugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(built_in, "__file__", str(tmp_path / "built_in.py"))
    (tmp_path / "models" / "architectures").mkdir(parents=True)
    (tmp_path / "models" / "architectures" / "wrong.json").write_text("{}")
    with pytest.raises(Exception, match=r'wrong\.json: the key "model_types" is missing'):
        families()


def test_a_family_that_left_with_its_plugin_is_unknown(
    plugin_folder: InstalledPlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_families(plugin_folder, "addition", newest_family=FAMILY)
    monkeypatch.setenv(OFF_SWITCH, "1")
    with pytest.raises(FitError, match="no architecture file covers the model type 'newest'"):
        family_of("newest")


# What is asked for by name.


def test_two_providers_of_one_name_are_both_named_when_it_is_asked_for(
    plugin_folder: InstalledPlugins, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin_folder.add("one", SCORER, distribution="first_package")
    plugin_folder.add("two", SCORER, distribution="second_package")
    with pytest.raises(EditError) as refusal:
        find_scorer("flat")
    assert str(refusal.value) == (
        "scorer: two plugins give a scorer called 'flat': the plugin 'one' (first_package 1.0) and "
        f"the plugin 'two' (second_package 1.0); uninstall one of them, or set {OFF_SWITCH}=1"
    )
    # Whoever asks for another is not concerned.
    assert find_scorer("paper").name == "paper"
    assert capsys.readouterr().err == ""


def test_a_plugin_that_gives_a_built_in_name_is_named_beside_it(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("one", SCORER.replace("flat", "paper"))
    with pytest.raises(EditError, match=r"'paper': the plugin 'built-in' \(cti-edits .*\) and the plugin 'one' \(one"):
        find_scorer("paper")


def test_an_unknown_part_names_the_known_ones_and_the_nearest(plugin_folder: InstalledPlugins) -> None:
    plugin_folder.add("one", SCORER)
    with pytest.raises(EditError) as refusal:
        find_part("scorers", Scorer, "Flatt")
    assert str(refusal.value) == (
        "scorer: no scorer is called 'Flatt'; did you mean flat? "
        "(known: paper, negated-paper, sum-abs, predicted-change, sigma, random, flat)"
    )
    with pytest.raises(EditError, match=r"^scorer: no scorer is called 'qqq' \(known: paper, "):
        find_scorer("qqq")
