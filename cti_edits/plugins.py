"""Finds plugins, loads each behind a guard, and finds the parts that they give by name.

A plugin that does not load, or one of whose hooks raises or gives something else than its specification says, is named
and left out whole: none of its parts is there.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

import pluggy

from cti_edits import hookspecs
from cti_edits.errors import EditError, printable
from cti_edits.hookspecs import FOLDERS, HOMES
from cti_edits.version import __version__

GROUP = "cti_edits"
BUILT_IN = "built-in"
BUILT_IN_MODULE = "cti_edits.built_in"
"""By name, as entry points are: it is above every room that has parts."""
OFF_SWITCH = "CTI_EDITS_DISABLE_PLUGINS"


class Named(Protocol):
    """What every part has."""

    @property
    def name(self) -> str:
        """What a person asks for it by."""


Part = TypeVar("Part", bound=Named)


@dataclass(frozen=True)
class Provider:
    """Who gives a part: a plugin, and the distribution that it is in."""

    plugin: str
    distribution: str
    version: str

    @property
    def is_built_in(self) -> bool:
        """Whether it is cti-edits itself."""
        return self.plugin == BUILT_IN

    def __str__(self) -> str:
        return f"the plugin {printable(self.plugin)!r} ({printable(self.distribution)} {printable(self.version)})"


@dataclass(frozen=True)
class Plugin:
    """A plugin that is loaded.

    Attributes:
        provider: who it is.
        parts: from hook to the parts that it gives.
        folders: from hook to the folders that it gives.
    """

    provider: Provider
    parts: Mapping[str, tuple[Named, ...]]
    folders: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class LeftOut:
    """A plugin that is left out, and why."""

    provider: Provider
    reason: str


@dataclass
class Plugins:
    """Every plugin that was found: the built-in one first, and the others in the order of their entry points."""

    loaded: list[Plugin] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, provider: Provider, what: str, error: BaseException) -> None:
        """Leave a plugin out from now on, and say so on stderr, on one line."""
        self.loaded = [plugin for plugin in self.loaded if plugin.provider != provider]
        reason = printable(f"{type(error).__name__}: {error}", 500)
        self.left_out.append(LeftOut(provider, f"{what}: {reason}"))
        print(
            f"cti-edits: warning: {provider} {what} and is left out: {reason}; {OFF_SWITCH}=1 turns plugins off",
            file=sys.stderr,
        )


@cache
def plugins() -> Plugins:
    """The built-in plugin and every installed one.

    ``CTI_EDITS_DISABLE_PLUGINS=1`` leaves the installed ones out; none of them is imported then.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    found = Plugins()
    built_in = Provider(BUILT_IN, "cti-edits", __version__)
    manager.register(importlib.import_module(BUILT_IN_MODULE), name=BUILT_IN)
    found.loaded.append(_parts_of(manager, built_in))
    off = os.environ.get(OFF_SWITCH, "") not in ("", "0")
    for entry_point in entry_points(group=GROUP):
        provider = _provider(entry_point)
        if off:
            found.left_out.append(LeftOut(provider, f"{OFF_SWITCH} is set"))
            continue
        try:
            _register(manager, entry_point)
        # A module that exits when it is imported must not end the command.
        except (Exception, SystemExit) as error:
            found.leave_out(provider, "could not be loaded", error)
            continue
        try:
            found.loaded.append(_parts_of(manager, provider))
        except HookError as error:
            manager.unregister(name=entry_point.name)
            found.leave_out(provider, f"failed in its hook {error.hook}", error.raised)
    return found


class HookError(Exception):
    """A plugin's hook raised, or gave something that is wrong.

    Attributes:
        hook: its name.
        raised: what is wrong.
    """

    def __init__(self, hook: str, raised: BaseException) -> None:
        super().__init__(hook)
        self.hook = hook
        self.raised = raised


def _provider(entry_point: EntryPoint) -> Provider:
    distribution = entry_point.dist
    if distribution is None:
        return Provider(entry_point.name, "unknown distribution", "")
    return Provider(entry_point.name, distribution.name, distribution.version)


def _register(manager: pluggy.PluginManager, entry_point: EntryPoint) -> None:
    """Import a plugin and register all of its hooks, or none."""
    plugin = entry_point.load()
    if manager.has_plugin(entry_point.name):
        raise ValueError(f"there is a plugin called {entry_point.name!r} already")
    try:
        manager.register(plugin, name=entry_point.name)
        # Refuses a hook that there is not; what was registered before has been checked.
        manager.check_pending()
    except Exception:
        if manager.has_plugin(entry_point.name):
            manager.unregister(name=entry_point.name)
        raise


def _parts_of(manager: pluggy.PluginManager, provider: Provider) -> Plugin:
    """Call every hook of one plugin, and check what it gives.

    Raises:
        HookError: one raises, or gives something else than its specification says; from what is wrong.
    """
    others = [plugin for name, plugin in manager.list_name_plugin() if name != provider.plugin]
    given: dict[str, list[Any]] = {}
    for hook in (*HOMES, *FOLDERS):
        try:
            given[hook] = manager.subset_hook_caller(hook, others)()
            _check(hook, given[hook], trusted=provider.is_built_in)
        except (Exception, SystemExit) as error:
            if provider.is_built_in:
                raise
            raise HookError(hook, error) from error
    return Plugin(
        provider,
        {hook: tuple(part for parts in given[hook] for part in parts) for hook in HOMES},
        {hook: tuple(given[hook]) for hook in FOLDERS},
    )


def _check(hook: str, given: Sequence[Any], trusted: bool) -> None:
    """Refuse what is not of the class that the hook is for, a name given twice, or a folder that is wrong."""
    if hook in FOLDERS:
        for path in given:
            if not isinstance(path, str):
                raise TypeError(f"expected the path of a folder, a str, got {type(path).__name__}")
            if not trusted:
                pkgutil.resolve_name(FOLDERS[hook])(path)
        return
    home = pkgutil.resolve_name(HOMES[hook])
    names = set()
    for parts in given:
        if not isinstance(parts, list | tuple):
            raise TypeError(f"expected a list of {home.__name__}, got {type(parts).__name__}")
        for part in parts:
            if not isinstance(part, home):
                raise TypeError(f"expected a list of {home.__name__}, got {type(part).__name__} in it")
            if not isinstance(part.name, str) or not part.name or part.name in names:
                raise ValueError(f"expected a name for each {home.__name__}, and each name once, got {part.name!r}")
            names.add(part.name)


def provided(hook: str, kind: type[Part]) -> list[tuple[Provider, Part]]:
    """Every part that the hook gives, with who gives it: built-in ones first."""
    return [
        (plugin.provider, part) for plugin in plugins().loaded for part in plugin.parts[hook] if isinstance(part, kind)
    ]


def find_part(hook: str, kind: type[Part], name: str) -> Part:
    """The part ``name`` of the kind that the hook gives: ``find_part("scorers", Scorer, "paper")``.

    Raises:
        EditError: there is none, and the known ones are named; or two plugins give one, and both are named.
    """
    return _found(hook, kind, name)[1]


def provider_of(hook: str, kind: type[Part], name: str) -> Provider:
    """Who gives the part ``name``; see `find_part`."""
    return _found(hook, kind, name)[0]


def _found(hook: str, kind: type[Part], name: str) -> tuple[Provider, Part]:
    word = _word(hook)
    every = provided(hook, kind)
    found = [(provider, part) for provider, part in every if part.name == name]
    if not found:
        known = list(dict.fromkeys(part.name for _, part in every))
        near = difflib.get_close_matches(str(name).lower(), known, 3, 0.5)
        raise EditError(
            f"{word}: no {word} is called {printable(name)!r}"
            + (f"; did you mean {printable(', '.join(near))}?" if near else "")
            + f" (known: {printable(', '.join(known), 1000)})"
        )
    if len(found) > 1:
        (one, _), (other, _) = found[:2]
        raise EditError(
            f"{word}: two plugins give a {word} called {printable(name)!r}: {one} and {other}; "
            f"uninstall one of them, or set {OFF_SWITCH}=1"
        )
    return found[0]


def _word(hook: str) -> str:
    return hook.removesuffix("s").replace("_", " ")


def folders(hook: str) -> list[str]:
    """Every folder that the hook gives: built-in ones first."""
    return [path for plugin in plugins().loaded for path in plugin.folders[hook]]


@contextlib.contextmanager
def errors_name_provider(hook: str, kind: type[Part], name: str) -> Iterator[None]:
    """Inside, what a part of an installed plugin raises is an `EditError` that names the part and who gives it."""
    try:
        yield
    except EditError:
        raise
    except Exception as error:
        provider, _ = _found(hook, kind, name)
        if provider.is_built_in:
            raise
        raise EditError(
            f"the {_word(hook)} {printable(name)!r} of {provider} failed: "
            f"{printable(f'{type(error).__name__}: {error}', 500)}"
        ) from error
