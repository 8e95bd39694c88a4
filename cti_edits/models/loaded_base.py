"""Whether the weights of a loaded model are those that an edit was made for: in memory, and in its checkpoint."""

from __future__ import annotations

from functools import cached_property

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import BaseMismatchError, CheckpointError, FitError
from cti_edits.models.base_match import Evidence, base_match, check_tensor_name
from cti_edits.models.checkpoint_location import CheckpointLocation, edit_subfolder
from cti_edits.models.identity import source_checkpoint
from cti_edits.models.stored_names import AnyCheckpoint, find_stored
from cti_edits.models.targets import TargetMatrix


class LoadedBase:
    """A loaded model, as the base of an edit. Its checkpoint is opened when it is first needed.

    Args:
        edit: the edit. Its revision is used if ``where`` has none, and so is its subfolder if the model is its own
        base. model: a transformers model. where: see `identity.source_checkpoint`.
    """

    def __init__(self, edit: Edit, model: torch.nn.Module, where: CheckpointLocation) -> None:
        self._edit = edit
        self._model = model
        self._where = where.copy()
        if where.get("revision") is None:
            self._where["revision"] = edit.base_model.revision
        place = getattr(getattr(model, "config", None), "_name_or_path", None)
        if where.get("subfolder") is None and place == edit.base_model.id:
            self._where["subfolder"] = edit_subfolder(edit)

    @cached_property
    def _checkpoint(self) -> tuple[AnyCheckpoint | None, str]:
        """The checkpoint that the model was loaded from, and why it cannot be read if it cannot."""
        try:
            return source_checkpoint(self._model, **self._where), ""
        except CheckpointError as error:
            return None, str(error)

    def check(self, one: MatrixEdit, target: TargetMatrix, place: str) -> None:
        """Refuse a weight that is not the one that ``one`` was made for.

        Args:
            one: a matrix edit of the edit.
            target: the weight; its values are finite.
            place: the beginning of messages, "NAME: edits[0]".

        Raises:
            BaseMismatchError: a hash or norm differs, or cannot be compared.
            FitError: the edit names another tensor of the checkpoint.
        """
        name = target.name
        checkpoint, unread = self._checkpoint
        stored = None
        try:
            stored = find_stored(checkpoint, target) if checkpoint else None
        except (CheckpointError, FitError) as error:
            unread = str(error)
        try:
            check_tensor_name(one, name, stored.name if stored else name)
        except FitError as error:
            raise FitError(f"{place}.{error}") from None
        evidence = Evidence(target.hashed, stored, name, unread, converted=bool(self._where.get("gguf_file")))
        found = base_match(one, self._edit.base_model.dtype, evidence)
        if found.refuses:
            raise BaseMismatchError(
                f"{place}.{found.field}: {name} is not the tensor that this edit was made for ({found.why}); "
                "verify=false applies it all the same"
            )
