"""What a person types to use an edit from the hub: how to install cti-edits, and the lm_eval command."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import printable
from cti_edits.paths import folder
from cti_edits.version import __version__


def how_to_use(edit: Edit, reference: str) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        edit: what is used.
        reference: what a person writes for it, ``owner/name``.
    """
    requirement = public_requirement(_direct_url())
    if requirement is None:
        yield f"Install cti-edits {__version__} from its source (in a clone: `pip install .`), then run"
    else:
        yield f"Install cti-edits {__version__} and run"
        yield ""
        yield f"    pip install {shell_word(requirement)}"
    yield ""
    task = edit.task.name if edit.task else "TASK"
    bundled = edit.task is not None and is_bundled(task)
    yield (
        f"    lm_eval --model cti --model_args {shell_word(f'edit={reference}')} --tasks {shell_word(task)}"
        + (' --include_path "$(cti-edits tasks-path)"' if bundled else "")
    )
    if edit.task is None:
        yield ""
        yield "TASK is a task of your choice: the edit names none."
    elif not bundled:
        yield ""
        yield (
            "The task does not come with cti-edits. It must be known to your lm-eval: one of its own, or in a folder "
            "that is given by `--include_path`."
        )


def is_bundled(task: str) -> bool:
    """Whether a task of this name comes with cti-edits."""
    line = re.compile(rf"^task:[ \t]*{re.escape(task)}[ \t]*$", re.MULTILINE)
    # Not by a YAML reader: the files have tags that are lm-eval's.
    return any(line.search(path.read_text(encoding="utf-8")) for path in folder("tasks").rglob("*.yaml"))


def public_requirement(direct_url: str | None) -> str | None:
    """What pip takes for the place on the web that this package was installed from; None where there is none.

    Args:
        direct_url: the text of direct_url.json (PEP 610), which pip writes for what comes from no index.
    """
    try:
        found: Any = json.loads(direct_url or "")
        url = str(found["url"])
        if not _is_public(url):
            return None
        fragment = f"subdirectory={found['subdirectory']}" if found.get("subdirectory") else ""
        if "vcs_info" in found:
            source = f"{found['vcs_info']['vcs']}+{url}@{found['vcs_info']['commit_id']}"
        elif "archive_info" in found:
            source, fragment = url, "&".join(filter(None, (fragment, _archive_hash(found["archive_info"]))))
        else:
            return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return source + (f"#{fragment}" if fragment else "")


def _archive_hash(archive: Mapping[str, Any]) -> str:
    sha256 = (archive.get("hashes") or {}).get("sha256")
    return f"sha256={sha256}" if sha256 else ""


def _is_public(url: str) -> bool:
    """Whether anyone can ask for ``url``, as far as it tells: over the web, by a full name, without a login."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or "@" in parts.netloc:
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and host.rpartition(".")[2] not in ("local", "localhost", "internal", "lan", "home", "test")


def _direct_url() -> str | None:
    try:
        return importlib.metadata.distribution("cti-edits").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None


def shell_word(value: str) -> str:
    """One word for a shell, since people copy commands from cards."""
    return shlex.quote(printable(value, 1000))
