"""The README.md of an exported checkpoint or adapter: its base and edit, and the tensors that were edited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
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
    lines = [
        *_head(edit, "transformers"),
        f"The checkpoint {_base(edit)} with the edit `{edit.name}` applied by cti-edits {__version__}. {_digest(edit)}",
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
            _verified(verified),
        ]
    else:
        lines.append("The edit is empty: every tensor is the base model's, byte for byte.")
    if rounded:
        lines += ["", "The edited weights are rounded to the dtype in which the checkpoint stores them."]
    lines += ["", "The model is as large and as fast as its base. The base model's licence and limits hold for it."]
    return "\n".join(lines) + "\n"


def adapter_readme(edit: Edit, ranks: Mapping[str, int], verified: bool, dtype: str) -> str:
    """The text of README.md beside a LoRA adapter.

    Args:
        edit: what was written.
        ranks: of each module's part of the adapter.
        verified: whether each of the base's matrices was the one that the edit was made for.
        dtype: of the base's matrices, for which it was made.
    """
    edits: dict[str, list[MatrixEdit]] = {}
    for one in edit.edits:
        edits.setdefault(one.module, []).append(one)
    lines = [
        *_head(edit, "peft"),
        f"The edit `{edit.name}` as a LoRA adapter of {_base(edit)}, made by cti-edits {__version__}. {_digest(edit)}",
        "",
        f"Load the base model in {dtype} and this folder with `peft.PeftModel.from_pretrained`, or run plain `lm_eval`",
        "with the folder as `peft=`. The logits are those of the edit, within the dtype's rounding.",
        "",
        "| module | method | what was done | rank of the adapter |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{module}` | {one.method} | {one.summary} | {rank} |"
            for module, rank in ranks.items()
            for one in edits[module]
        ),
        "",
        _verified(verified),
        "",
        "The base model's licence and limits hold for it.",
    ]
    return "\n".join(lines) + "\n"


def _head(edit: Edit, library: str) -> list[str]:
    """What the hub reads, and the title."""
    base = edit.base_model
    return [
        YAML_FENCE,
        # A folder's path is left out: the hub refuses it here.
        *([f"base_model: {_quoted(base.id)}"] if is_hub_id(base.id) else []),
        f"library_name: {library}",
        "tags:",
        "- cti-edits",
        YAML_FENCE,
        "",
        f"# {edit.name}",
        "",
    ]


def _base(edit: Edit) -> str:
    base = edit.base_model
    return _code(base.id) + (f" (revision {_code(base.revision)})" if base.revision else "")


def _digest(edit: Edit) -> str:
    return f"Digest of the edit: `{edit.digest()}`."


def _verified(verified: bool) -> str:
    if verified:
        return "The base was verified by the hashes in the edit."
    return "The base was **not verified** against the edit: it may be another checkpoint than that above."


def _quoted(text: str) -> str:
    """A YAML string; JSON is one."""
    return json.dumps(text)


def _code(text: str) -> str:
    """``text`` as inline code in Markdown, on one line."""
    return "`" + printable(text, 1000).replace("`", "'") + "`"
