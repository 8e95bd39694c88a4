"""What comes from the Hugging Face hub and goes there, through huggingface_hub, its cache and its token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cti_edits.errors import EditError, printable


def checkpoint_folder(model: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: ``model`` itself if it is one, else what the hub has by that id, in its cache.

    Raises:
        EditError: there is no such folder, and the hub cannot give it.
    """
    from cti_edits.checkpoint import HUB_FILES

    if Path(model).is_dir():
        return Path(model)
    with hub_errors(model, revision):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, revision=revision, allow_patterns=list(HUB_FILES)))


@contextlib.contextmanager
def hub_errors(repository: str, revision: str | None = None) -> Iterator[None]:
    """Whatever the hub's client raises inside becomes an `EditError` of one line, which says what can be done.

    Raises:
        EditError: the client raised.
    """
    what = printable(repository)
    try:
        yield
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{what}: {_explain(error, revision)}") from error


def _explain(error: Exception, revision: str | None) -> str:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, (errors.HFValidationError, errors.HfUriError)):
        return "expected a file or folder that is there, or a hub id such as owner/name"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision {printable(revision or 'main')!r} of it"
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return "the hub refuses access: ask for it on the repository's page, or use another token"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        return "the hub has no such repository, or the token may not see it; `hf auth login` sets a token"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return "the repository has no such file at this revision"
    if isinstance(error, errors.OfflineModeIsEnabled) or _is_offline():
        return "not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    if status is not None:
        return f"the hub answered {status}: {_first_line(error)}"
    return f"the hub cannot be reached, or the connection was cut: {_first_line(error.__cause__ or error)}"


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {printable(said[0])}" if said else type(error).__name__
