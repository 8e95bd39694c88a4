"""An ordinary checkpoint folder with an edit applied, for any engine that loads safetensors.

Files are copied and the bytes of the edited matrices are written over in the copies. So everything else is the source's
byte for byte, and memory holds one matrix at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from cti_edits import __version__
from cti_edits.apply import TargetMatrix, target_matrix, tensor_sha256
from cti_edits.checkpoint_files import CheckpointFiles, checkpoint_files, read_json
from cti_edits.errors import BaseMismatchError, EditError, FitError, printable
from cti_edits.lowrank import truncate
from cti_edits.manifest import MAX_SHOWN_PATH, Edit, MatrixEdit

logger = logging.getLogger("cti_edits")


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        files: names of its safetensors files.
        edited: names of the tensors that were edited, as they are stored.
        verified: whether every one of them had the manifest's hash.
    """

    folder: Path
    files: tuple[str, ...]
    edited: tuple[str, ...]
    verified: bool


def export(edit: Edit, source: Path, target: Path, verify: bool = True) -> Export:
    """Write the checkpoint in ``source`` to ``target`` with ``edit`` applied.

    Shards, their headers and the index are the source's; tensors that it stores once stay stored once. The weights are
    those that `apply.apply` gives on the model loaded in the edit's dtype, where the stored dtype holds that; else in
    the stored one.

    Args:
        edit: what to apply.
        source: checkpoint folder with config.json and safetensors weights.
        target: a folder that is not there yet, or is empty. It appears when it is complete.
        verify: refuse a tensor whose hash differs from the manifest's.

    Raises:
        EditError: ``source`` is no such checkpoint, or ``target`` has files or cannot be written.
        FitError: the edit does not fit the checkpoint, or a matrix is tied to another one.
        BaseMismatchError: a hash differs.
    """
    checkpoint = checkpoint_files(source)
    places = _places(edit, checkpoint)
    verified = verify and all(one.sha256 is not None for one in edit.edits)
    if edit.edits and not verified:
        logger.warning("%s: its base is not verified", edit.name)
    with _appearing(target) as folder:
        for name in [Path(file) for file in checkpoint.files] + checkpoint.companions():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        if checkpoint.index is not None:
            shutil.copyfile(source / checkpoint.index, folder / checkpoint.index)
        rounded = set()
        for index, (one, place) in enumerate(zip(edit.edits, places, strict=True)):
            where = f"{edit.name}: edits[{index}]"
            if _write_edited(edit, one, place, checkpoint, folder, verify, where):
                rounded.add(place.tensor)
        (folder / "README.md").write_text(_readme(edit, places, verified, rounded), encoding="utf-8")
    return Export(target, checkpoint.files, tuple(place.tensor for place in places), verified)


@dataclass(frozen=True)
class _Place:
    """Where a matrix of the model is: the name of its tensor, and the matrix of an empty model."""

    tensor: str
    target: TargetMatrix


def _places(edit: Edit, checkpoint: CheckpointFiles) -> list[_Place]:
    """Find every matrix of ``edit`` by the checkpoint's config alone."""
    if edit.method != "block-svd":
        raise EditError(f"{edit.name}: method: {edit.method!r} is not known here")
    model = _empty_model(edit, checkpoint.folder)
    places = []
    for index, one in enumerate(edit.edits):
        where = f"{edit.name}: edits[{index}]"
        if one.factors is not None:
            raise FitError(f"{where}.factors: this version of cti-edits does not read factor files; upgrade cti-edits")
        try:
            target = target_matrix(model, one.matrix, one.layer)
        except FitError as error:
            raise FitError(f"{where}.{error}") from None
        if target.module != one.module:
            raise FitError(
                f"{where}.module: {one.matrix} of layer {one.layer} is {target.module} in this model, "
                f"the edit names {one.module}"
            )
        if tuple(target.weight.shape) != one.shape:
            raise FitError(
                f"{where}.shape: the edit is for {list(one.shape)} (rows, columns), {target.module} of this model "
                f"has {list(target.weight.shape)}"
            )
        tied = [
            name
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if parameter is target.parameter and name != f"{target.module}.weight"
        ]
        if tied:
            raise FitError(
                f"{where}.module: {target.module}.weight is tied to {tied[0]}, which would be edited with it; "
                "apply the edit with lm_eval --model cti instead"
            )
        places.append(_Place(_tensor_name(target, checkpoint, where), target))
    return places


def _empty_model(edit: Edit, folder: Path) -> Any:
    """The model of the checkpoint's config on the meta device: its modules and shapes, without weights."""
    import transformers

    wanted = edit.base_model.architecture
    named = read_json(folder / "config.json").get("architectures")
    # A checkpoint from pretraining has the masked language model in it.
    found = [str(one) for one in named] if isinstance(named, list) else []
    if wanted not in [*found, *(one.replace("ForPreTraining", "ForMaskedLM") for one in found)]:
        raise FitError(
            f"{edit.name}: base_model.architecture: the edit is for {wanted}, {printable(folder)} is a "
            f"{printable(', '.join(found)) or 'model without a named class'}"
        )
    model_class = getattr(transformers, wanted, None)
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder))
        if model_class is None or not isinstance(config, model_class.config_class):
            raise FitError(f"{edit.name}: base_model.architecture: transformers has no {wanted} for this checkpoint")
        with torch.device("meta"):
            return model_class(config)
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{printable(folder)}: cannot make the model of its config.json: {_line(error)}") from None


def _tensor_name(target: TargetMatrix, checkpoint: CheckpointFiles, where: str) -> str:
    """The stored name: the module's, or that without the first part, where a checkpoint is of the bare base model."""
    whole = f"{target.module}.weight"
    names = (whole, whole.split(".", 1)[1])
    for name in names:
        if name in checkpoint.tensors:
            return name
    raise FitError(
        f"{where}.module: {printable(checkpoint.folder)} stores neither {names[0]} nor {names[1]}; is it quantized?"
    )


def _write_edited(
    edit: Edit, one: MatrixEdit, place: _Place, checkpoint: CheckpointFiles, folder: Path, verify: bool, where: str
) -> bool:
    """Write the edited matrix over the former one in the copy; whether the edit's dtype had to be rounded for that."""
    stored = checkpoint.place_of(place.tensor, folder)
    with safe_open(folder / stored.file, framework="pt") as file:
        tensor = file.get_tensor(place.tensor)
    if tensor.shape != place.target.parameter.shape or not tensor.is_floating_point():
        raise FitError(
            f"{where}.shape: expected {place.tensor} as {list(place.target.parameter.shape)} floating-point numbers, "
            f"{printable(checkpoint.folder)} stores {list(tensor.shape)} of {str(tensor.dtype)[6:]}"
        )
    dtype = getattr(torch, edit.base_model.dtype) if edit.base_model.dtype else tensor.dtype
    if verify and one.sha256 is not None and (found := tensor_sha256(tensor, dtype)) != one.sha256:
        raise BaseMismatchError(
            f"{where}.sha256: {place.tensor} is not the tensor that this edit was made for "
            f"(expected {one.sha256}, found {found}); --no-verify exports it all the same"
        )
    # Where the stored dtype holds every value of the edit's, the weights are those of the model loaded in the latter.
    exact = torch.promote_types(tensor.dtype, dtype) == tensor.dtype
    weight = place.target.oriented(tensor.to(dtype) if exact else tensor)
    if not bool(torch.isfinite(weight).all()):
        raise FitError(f"{where}.module: {place.tensor} holds NaN or infinite values")
    edited = place.target.oriented(truncate(weight, one.block_ranks, partition=one.partition)).to(tensor.dtype)
    content = edited.contiguous().reshape(-1).view(torch.uint8).numpy()
    assert content.nbytes == stored.size
    with (folder / stored.file).open("r+b") as stream:
        stream.seek(stored.start)
        stream.write(content.data)
    return not exact


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``, which becomes it if all goes well and is gone if not."""
    shown = printable(target, MAX_SHOWN_PATH)
    temporary = target.parent / f".cti-edits-{secrets.token_hex(8)}.tmp"
    try:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise EditError(f"{shown}: expected a folder that is not there yet, or is empty")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for path in [*(one for one in temporary.rglob("*") if one.is_file()), temporary]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        # On an empty folder too; one that got files meanwhile is an error.
        temporary.rename(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EditError(f"{shown}: cannot write here: {printable(reason)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return printable(said[0], 300) if said else type(error).__name__


def _readme(edit: Edit, places: list[_Place], verified: bool, rounded: set[str]) -> str:
    base = edit.base_model
    lines = [
        "---",
        f"base_model: {_quoted(base.id)}",
        "library_name: transformers",
        "tags:",
        "- cti-edits",
        "---",
        "",
        f"# {edit.name}",
        "",
        f"The checkpoint {_code(base.id)}" + (f" (revision {_code(base.revision)})" if base.revision else "") + " with "
        f"the edit `{edit.name}` applied by cti-edits {__version__}. Digest of the edit: `{edit.digest()}`.",
        "",
    ]
    if places:
        lines += [
            "Its singular values were cut in these tensors; every other tensor is the base model's, byte for byte:",
            "",
            "| tensor | row blocks | share of the rank that is kept |",
            "| --- | ---: | ---: |",
            *(
                f"| `{place.tensor}` | {one.clusters} | {one.rho:.12g} |"
                for place, one in zip(places, edit.edits, strict=True)
            ),
            "",
            "The base was verified by the hashes in the edit."
            if verified
            else "The base was **not verified** against the edit.",
        ]
    else:
        lines.append("The edit is empty: every tensor is the base model's, byte for byte.")
    if rounded:
        lines += ["", "The edited weights are rounded to the dtype in which the checkpoint stores them."]
    lines += ["", "The model is as large and as fast as its base. The base model's licence and limits hold for it."]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML string; JSON is one."""
    import json

    return json.dumps(text)


def _code(text: str) -> str:
    """``text`` as inline code in Markdown, on one line."""
    return "`" + printable(text, 1000).replace("`", "'") + "`"
