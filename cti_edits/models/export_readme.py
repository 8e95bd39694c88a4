"""The README.md of an exported checkpoint: its base and edit, and the tensors that were edited."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import printable
from cti_edits.hub.references import is_hub_id
from cti_edits.version import __version__

YAML_FENCE = 3 * "-"


def export_readme(edit: Edit, tensors: Sequence[str], verified: bool, rounded: bool) -> str:
    """The text of README.md.

    Args:
        edit: what was applied.
        tensors: names of the edited tensors in the checkpoint, one a matrix edit.
        verified: whether each of them was the one that the edit was made for.
        rounded: whether edited weights were rounded from the edit's dtype to the checkpoint's.
    """
    base = edit.base_model
    lines = [
        YAML_FENCE,
        # A folder's path is left out: the hub refuses it here.
        *([f"base_model: {_quoted(base.id)}"] if is_hub_id(base.id) else []),
        "library_name: transformers",
        "tags:",
        "- cti-edits",
        YAML_FENCE,
        "",
        f"# {edit.name}",
        "",
        f"The checkpoint {_code(base.id)}" + (f" (revision {_code(base.revision)})" if base.revision else "") + " with "
        f"the edit `{edit.name}` applied by cti-edits {__version__}. Digest of the edit: `{edit.digest()}`.",
        "",
    ]
    if tensors:
        lines += [
            "It changed singular values of these tensors; every other tensor is the base model's, byte for byte:",
            "",
            "| tensor | method | what was done |",
            "| --- | --- | --- |",
            *(
                f"| `{tensor}` | {one.method} | {one.summary} |"
                for tensor, one in zip(tensors, edit.edits, strict=True)
            ),
            "",
            "The base was verified by the hashes in the edit."
            if verified
            else "The base was **not verified** against the edit: it may be another checkpoint than that above.",
        ]
    else:
        lines.append("The edit is empty: every tensor is the base model's, byte for byte.")
    if rounded:
        lines += ["", "The edited weights are rounded to the dtype in which the checkpoint stores them."]
    lines += ["", "The model is as large and as fast as its base. The base model's licence and limits hold for it."]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML string; JSON is one."""
    return json.dumps(text)


def _code(text: str) -> str:
    """``text`` as inline code in Markdown, on one line."""
    return "`" + printable(text, 1000).replace("`", "'") + "`"
