"""One file of a checkpoint on the hub, or in its cache on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

from cti_edits.errors import CheckpointError, printable


def folder_inside(place: str, subfolder: str) -> PurePath:
    """``subfolder`` as a path relative to the checkpoint ``place``.

    Raises:
        CheckpointError: it leads out of there.
    """
    inside = PurePath(subfolder)
    if ".." in inside.parts or inside.is_absolute():
        raise CheckpointError(f"subfolder: expected a folder inside {printable(place)}, got {printable(subfolder)!r}")
    return inside


def from_hub(
    place: str, revision: str | None, local: bool, subfolder: str, cache_dir: str | None
) -> Callable[[str], Path | None]:
    """A function that gives the path of a file by its name, fetched if need be; None if the model has no such file.

    Args:
        place: hub id.
        revision: of the model; its main branch if None.
        local: use the cache on this machine and no network.
        subfolder: where the files are.
        cache_dir: the cache; the client's own if None.

    Raises:
        CheckpointError: when a file is asked for and the hub cannot give it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    def fetch(name: str) -> Path | None:
        try:
            found = hf_hub_download(
                place,
                name,
                subfolder=subfolder or None,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=local,
            )
        except EntryNotFoundError:
            return None
        except HFValidationError:
            raise CheckpointError(f"{printable(place)!r}: no such folder, and not the id of a hub model") from None
        except Exception as error:  # the client's, its transport's and the disk's have no base of their own
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{printable(place)}: cannot be read from the hub: {printable(said, 300)}") from None
        return Path(found)

    return fetch
