"""Plugins are found as installed ones are: a folder on sys.path with a dist-info that names the entry points."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cti_edits import plugins
from cti_edits.errors import FitError
from cti_edits.models.architectures import families, family_of
from cti_edits.plugins import OFF_SWITCH, plugin_manager
from tests.support.tiny_models import EVERY

FAMILY: dict[str, Any] = {
    "model_types": ["newest"],
    "kind": "causal",
    "layers": "model.blocks",
    "matrices": {"U_in": "up"},
    "weight_rows": "inputs",
}
GOOD = """
from pathlib import Path
from cti_edits.hookspecs import hookimpl

@hookimpl
def architecture_folders():
    return str(Path(__file__).parent / "{name}_data")
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a plugin: its module's source, its data files, and how its entry point is written."""
    monkeypatch.delenv(OFF_SWITCH, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(name: str, source: str = GOOD, target: str | None = None, **files: Any) -> Path:
        (tmp_path / f"{name}.py").write_text(source.format(name=name))
        data = tmp_path / f"{name}_data"
        data.mkdir()
        for stem, content in files.items():
            (data / f"{stem}.json").write_text(content if isinstance(content, str) else json.dumps(content))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cti_edits]\n{name} = {target or name}\n")
        families.cache_clear()
        plugin_manager.cache_clear()
        return data

    families.cache_clear()
    plugin_manager.cache_clear()
    yield put
    families.cache_clear()
    plugin_manager.cache_clear()
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(sys.modules[module].__file__):
            del sys.modules[module]


def warning(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    err = capsys.readouterr().err
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("cti-edits: warning: the plugin ")
    assert err.endswith(f"; {OFF_SWITCH}=1 turns plugins off\n")
    return err


def test_a_plugins_data_file_adds_a_family(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("addition", newest_family=FAMILY)
    family = family_of("newest")
    assert (family.name, family.weight_rows) == ("newest_family", "inputs")
    assert family.module_name("U_in", 7) == "model.blocks.7.up"
    assert set(families()) == {*EVERY, "newest"}
    assert capsys.readouterr().err == ""


def test_two_plugins_both_count(install: Install) -> None:
    install("first_one", a=FAMILY)
    install("second_one", b={**FAMILY, "model_types": ["other"]})
    assert set(families()) == {*EVERY, "newest", "other"}


def test_the_built_in_families_come_through_the_same_hook(install: Install) -> None:
    (folder,) = plugin_manager().hook.architecture_folders()
    assert {path.stem for path in Path(folder).glob("*.json")} == {family.name for family in families().values()}


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_off_switch_leaves_plugins_out(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    install("addition", newest_family=FAMILY)
    install("broken", source="raise RuntimeError('imported all the same')")
    monkeypatch.setenv(OFF_SWITCH, value)
    assert set(families()) == set(EVERY)
    assert capsys.readouterr().err == ""
    assert "addition" not in sys.modules


@pytest.mark.parametrize("value", ["", "0"])
def test_an_off_switch_that_is_off(install: Install, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    install("addition", newest_family=FAMILY)
    monkeypatch.setenv(OFF_SWITCH, value)
    assert "newest" in families()


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("import no_such_module_anywhere", None, "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise ValueError('first line\\nsecond \\x1b[31m line')", None, "ValueError: first line\\nsecond \\x1b[31m"),
        ("def broken(:", None, "SyntaxError: "),
        ("", "broken:absent", "AttributeError: module 'broken' has no attribute 'absent'"),
        (
            "from cti_edits.hookspecs import hookimpl\n@hookimpl\ndef architecture_folders(model): pass",
            None,
            "PluginValidationError: ",
        ),
    ],
)
def test_a_plugin_that_does_not_load_is_named_and_left_out(
    install: Install, capsys: pytest.CaptureFixture[str], source: str, target: str | None, reason: str
) -> None:
    install("addition", newest_family=FAMILY)
    install("broken", source=source, target=target)
    assert set(families()) == {*EVERY, "newest"}
    line = warning(capsys)
    assert f"the plugin 'broken' ({target or 'broken'}) could not be loaded and is left out: {reason}" in line


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise KeyError('its\\nown fault')", "KeyError: 'its\\nown fault'"),
        ("return 3", "TypeError: "),
        ("return '/no/such/folder'", "EditError: /no/such/folder: expected a folder of architecture files"),
    ],
)
def test_a_plugin_whose_hook_fails_is_named_and_left_out(
    install: Install, capsys: pytest.CaptureFixture[str], body: str, reason: str
) -> None:
    install("addition", newest_family=FAMILY)
    install("broken", source=f"from cti_edits.hookspecs import hookimpl\n@hookimpl\ndef architecture_folders(): {body}")
    assert set(families()) == {*EVERY, "newest"}
    line = warning(capsys)
    assert f"the plugin 'broken' gives no architecture files that can be used and is left out: {reason}" in line


def test_a_plugin_with_a_wrong_data_file_is_left_out_whole(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("addition", newest_family=FAMILY)
    data = install("broken", a_good={**FAMILY, "model_types": ["other"]}, b_wrong={**FAMILY, "kind": "neither"})
    assert set(families()) == {*EVERY, "newest"}
    assert f"{data / 'b_wrong.json'}: kind: expected" in warning(capsys)


@pytest.mark.parametrize("claimed", ["gpt2", "other"])
def test_a_model_type_is_claimed_once(install: Install, capsys: pytest.CaptureFixture[str], claimed: str) -> None:
    data = install(
        "greedy",
        a={**FAMILY, "model_types": ["other"]},
        b={**FAMILY, "model_types": ["fresh", claimed]},
    )
    assert set(families()) == set(EVERY)
    assert families()["gpt2"].layers == "transformer.h"
    owner = "gpt2" if claimed == "gpt2" else "a"
    assert f"{data / 'b.json'}: the model type '{claimed}' is claimed by {owner} too" in warning(capsys)


def test_a_plugin_cannot_take_the_built_in_name(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    data = install("impostor", newest_family=FAMILY)
    (data.parent / "impostor-1.0.dist-info" / "entry_points.txt").write_text("[cti_edits]\nbuilt-in = impostor\n")
    assert set(families()) == set(EVERY)
    assert "the plugin 'built-in' (impostor) could not be loaded and is left out: ValueError: " in warning(capsys)


def test_a_built_in_file_that_is_wrong_is_an_error(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "plugins.py"))
    (tmp_path / "models" / "architectures").mkdir(parents=True)
    (tmp_path / "models" / "architectures" / "wrong.json").write_text("{}")
    with pytest.raises(Exception, match=r"wrong\.json: expected an object with the keys"):
        families()


def test_a_family_that_left_with_its_plugin_is_unknown(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("addition", newest_family=FAMILY)
    monkeypatch.setenv(OFF_SWITCH, "1")
    with pytest.raises(FitError, match="no architecture file covers the model type 'newest'"):
        family_of("newest")
