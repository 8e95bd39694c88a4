"""Where U_in of layer 7 lives in a model: one data file for each family of models, and looking it up. No torch here."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from cti_edits.errors import EditError, FitError, printable
from cti_edits.plugins import plugins

Kind = Literal["causal", "masked", "seq2seq"]
"""Of language models."""


@dataclass(frozen=True)
class Family:
    """Model families that share their blocks' layout; read from one JSON file in this folder.

    Attributes:
        name: the file's name without its ending.
        model_types: transformers ``config.model_type`` values that it covers.
        kind: "causal" or "masked" language models.
        layers: dotted name of the list of blocks, "transformer.h".
        matrices: from role ("U_in") to the module's name inside a block ("mlp.fc_in").
        weight_rows: what the rows of the stored weight are: "outputs" (nn.Linear) or "inputs" (GPT-2's Conv1D).
    """

    name: str
    model_types: tuple[str, ...]
    kind: Kind
    layers: str
    matrices: Mapping[str, str]
    weight_rows: Literal["outputs", "inputs"]

    def module_name(self, matrix: str, layer: int) -> str:
        """Dotted name of the module that holds ``matrix`` of block ``layer``.

        Raises:
            FitError: the family has no such matrix, or ``layer`` is negative.
        """
        if matrix not in self.matrices:
            near = difflib.get_close_matches(matrix, self.matrices, 1)
            raise FitError(
                f"matrix: the {self.name} family has no matrix {printable(matrix)!r}"
                + (f", perhaps {near[0]!r}" if near else "")
                + f" (it has {', '.join(self.matrices)})"
            )
        if layer < 0:
            raise FitError(f"layer: expected 0 or more, got {layer}")
        return f"{self.layers}.{layer}.{self.matrices[matrix]}"

    def layer_count(self, module_names: Iterable[str]) -> int:
        """How many blocks a model has whose modules are named so (``dict(model.named_modules())``)."""
        pattern = re.compile(re.escape(self.layers) + r"\.(0|[1-9][0-9]*)")
        return 1 + max((int(m[1]) for name in module_names if (m := pattern.fullmatch(name))), default=-1)


def read_family(path: Path) -> Family:
    """The family in the data file ``path``.

    Raises:
        EditError: the file is not JSON, or a key is missing, unknown or of the wrong kind.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EditError(f"{path}: not an architecture file: {error}") from None
    wanted = {"model_types": list, "kind": str, "layers": str, "matrices": dict, "weight_rows": str}
    if not isinstance(data, dict) or set(data) != set(wanted):
        raise EditError(f"{path}: expected an object with the keys {', '.join(wanted)}")
    for key, kind in wanted.items():
        if not isinstance(data[key], kind):
            raise EditError(f"{path}: {key}: expected a JSON {kind.__name__}, got {data[key]!r}")
    if not data["model_types"] or not all(isinstance(name, str) and name for name in data["model_types"]):
        raise EditError(f"{path}: model_types: expected one or more names, got {data['model_types']!r}")
    for matrix, inside in data["matrices"].items():
        if not re.fullmatch(r"[UW]_[a-z]{1,20}", matrix):
            raise EditError(f"{path}: matrices: expected roles such as U_in or W_q, got {matrix!r}")
        if not isinstance(inside, str) or not inside:
            raise EditError(f"{path}: matrices: {matrix}: expected the name of a module, got {inside!r}")
    if not data["matrices"] or len(set(data["matrices"].values())) != len(data["matrices"]):
        raise EditError(f"{path}: matrices: expected one or more, each in a module of its own")
    if data["kind"] not in ("causal", "masked"):
        raise EditError(f'{path}: kind: expected "causal" or "masked", got {data["kind"]!r}')
    if data["weight_rows"] not in ("outputs", "inputs"):
        raise EditError(f'{path}: weight_rows: expected "outputs" or "inputs", got {data["weight_rows"]!r}')
    return Family(name=path.stem, **{**data, "model_types": tuple(data["model_types"])})


@cache
def families() -> Mapping[str, Family]:
    """Every known family by ``config.model_type``, from this folder and from plugins.

    A plugin that claims a model type of another family is named on stderr and left out whole.
    """
    known: dict[str, Family] = {}
    for plugin in plugins().loaded:
        try:
            known |= _families_in(plugin.folders["architecture_folders"], known)
        except EditError as error:
            if plugin.provider.is_built_in:
                raise
            plugins().leave_out(plugin.provider, "gives no architecture files that can be used", error)
    return known


def read_folder(folder: str) -> list[tuple[Path, Family]]:
    """The families in a folder of data files, each with its file.

    Raises:
        EditError: there is no such folder, or a file in it is wrong.
    """
    if not Path(folder).is_dir():
        raise EditError(f"{folder}: expected a folder of architecture files")
    return [(path, read_family(path)) for path in sorted(Path(folder).glob("*.json"))]


def _families_in(folders: Iterable[str], known: Mapping[str, Family]) -> dict[str, Family]:
    found: dict[str, Family] = {}
    for folder in folders:
        for path, family in read_folder(folder):
            for model_type in family.model_types:
                if claimed := known.get(model_type) or found.get(model_type):
                    raise EditError(f"{path}: the model type {model_type!r} is claimed by {claimed.name} too")
                found[model_type] = family
    return found


def family_of(model_type: str) -> Family:
    """The family of models whose ``config.model_type`` is ``model_type``.

    Raises:
        FitError: it is unknown; the message lists the known ones and says how to add one.
    """
    known = families()
    if model_type not in known:
        raise FitError(
            f"no architecture file covers the model type {printable(model_type)!r} "
            f"(known: {', '.join(sorted(known))}); to add one, write a data file like those in "
            "cti_edits/models/architectures/ (see docs/architecture.md, 'Where to add something')"
        )
    return known[model_type]


HEADS = (("ForPreTraining", "ForMaskedLM"), ("DoubleHeadsModel", "LMHeadModel"))
"""Endings of classes whose checkpoints have all that a class of the second ending needs."""


def check_architecture(wanted: str, found: Sequence[str], what: str) -> None:
    """Refuse a model or checkpoint of another class than an edit is for.

    The class itself has the matrices that the edit changes, and so have the one that was pretrained with a further head
    and the bare model without a head.

    Args:
        wanted: name of the transformers class that the edit is for.
        found: names of the classes that the model or checkpoint is of; where there are none, nothing is refused.
        what: the model or checkpoint, for the message.

    Raises:
        FitError: no class of ``found`` is one of these.
    """
    names = {wanted}
    for more, less in HEADS:
        if wanted.endswith(less):
            names.add(wanted.removesuffix(less) + more)
    for ending in ("ForCausalLM", "ForMaskedLM", "LMHeadModel"):
        if wanted.endswith(ending):
            names.add(f"{wanted.removesuffix(ending)}Model")
    if found and names.isdisjoint(found):
        raise FitError(f"base_model.architecture: the edit is for {wanted}, {what} is a {printable(', '.join(found))}")
