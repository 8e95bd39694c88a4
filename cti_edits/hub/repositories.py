"""Fetching and pushing edits, and fetching checkpoints, through huggingface_hub, its cache and its token."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cti_edits.artifact.compose import bring_factors
from cti_edits.artifact.manifest import MAX_BYTES, Edit, load
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable
from cti_edits.files import write_atomically
from cti_edits.hub.checkpoint_file import folder_inside
from cti_edits.hub.references import MANIFEST, HubReference, is_hub_id, only_manifest

README = "README.md"


def fetch(reference: HubReference) -> Path:
    """The path of a fetched manifest: in the hub's cache or, if it has factors, in a folder beside their files.

    The cache's files are links, and factors are never read through one (see `factor_file.read_factors`); so that
    folder, in the client's assets cache, holds files.

    Raises:
        EditError: the hub cannot give it, or the repository has no manifest or several.
        ManifestError: the manifest is not valid.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    if reference.file is None:
        with hub_errors(str(reference), reference.revision):
            folder = Path(
                snapshot_download(reference.repository, revision=reference.revision, allow_patterns=["*.json"])
            )
        path = folder / only_manifest([one.name for one in folder.glob("*.json")], str(reference))
    else:
        with hub_errors(str(reference), reference.revision):
            path = Path(hf_hub_download(reference.repository, reference.file, revision=reference.revision))
    edit = load(path)
    files = sorted({one.factors.file for one in edit.edits if one.factors is not None})
    if not files:
        return path
    commit = path.parent.name
    real = _real_folder(reference.repository, commit)
    for name in [*files, path.name]:
        with hub_errors(str(reference), reference.revision):
            cached = Path(hf_hub_download(reference.repository, name, revision=commit))
        _link(cached.resolve(), real / name)
    return real / path.name


def _real_folder(repository: str, commit: str) -> Path:
    from huggingface_hub import cached_assets_path

    owner, _, name = repository.partition("/")
    return Path(cached_assets_path("cti-edits", namespace=f"{owner}--{name}", subfolder=commit))


def _link(blob: Path, target: Path) -> None:
    """Make ``target`` a hard link to ``blob``, or a copy where the file system has no hard links."""
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        try:
            os.link(blob, temporary)
        except OSError:
            shutil.copyfile(blob, temporary)
        temporary.replace(target)
    finally:
        # Renaming does nothing where ``target`` is the same file already.
        temporary.unlink(missing_ok=True)


def checkpoint_folder(model: str, files: Sequence[str], revision: str | None = None, subfolder: str = "") -> Path:
    """The folder of a checkpoint: ``model`` itself if it is a folder, else that of the hub's cache, fetched if need be.

    Args:
        model: a folder, or a hub id.
        files: names and patterns of what to fetch from the hub.
        revision: of the hub; its main branch if None.
        subfolder: of ``model``, where config and weights are.

    Raises:
        EditError: there is no such folder, and the hub cannot give it.
    """
    inside = folder_inside(model, subfolder)
    if Path(model).is_dir():
        folder = Path(model) / inside
    else:
        patterns = [(inside / name).as_posix() for name in files]
        with hub_errors(model, revision, progress=sys.stderr.isatty()):
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(model, revision=revision, allow_patterns=patterns)) / inside
    if subfolder and not folder.is_dir():
        raise EditError(f"{printable(model)}/{printable(subfolder)}: no such folder")
    return folder


def shareable(manifest: Path, repository: str, base_model: str | None = None) -> Edit:
    """The edit in ``manifest`` as others can use it, with a hub id as the name of its base model.

    Args:
        manifest: path of the manifest.
        repository: the repository to which it will be pushed, ``owner/name``.
        base_model: a hub id that replaces the edit's base model; the edit then has another digest.

    Raises:
        ManifestError: the manifest is not valid.
        EditError: the base model is a folder, or ``repository`` or ``base_model`` is no hub id.
    """
    edit = load(manifest)
    for name, given in (("repository", repository), ("base_model", base_model)):
        if given is not None and not (is_hub_id(given) and ("/" in given or given is base_model)):
            raise EditError(f"{name}: expected a hub id such as owner/name, got {printable(given)!r}")
    if base_model is not None:
        return replace(edit, base_model=replace(edit.base_model, id=base_model))
    if not is_hub_id(edit.base_model.id):
        raise EditError(
            f"{printable(manifest, MAX_SHOWN_PATH)}: base_model.id: {printable(edit.base_model.id)!r} is no hub id, "
            "and nobody else has that folder; name the same model on the hub (base_model)"
        )
    return edit


def prepare(edit: Edit, manifest: Path, card: str, folder: Path) -> list[Path]:
    """Write the files of an edit's repository into ``folder``: edit.json, the files of factors, the model card.

    Args:
        edit: the edit to share.
        manifest: path of its manifest, beside which its files of factors are.
        card: the text of README.md.
        folder: is created if need be. Files of the same names in it are replaced.

    Returns:
        The paths of the files.

    Raises:
        EditError: a file of factors is not the one that the edit names, or ``folder`` cannot be written to.
    """
    for one in edit.edits:
        if one.factors is not None:
            bring_factors(manifest, one.factors, folder)
    edit.write(folder / MANIFEST)
    write_atomically(folder / README, card.encode())
    names = sorted({one.factors.file for one in edit.edits if one.factors is not None})
    return [folder / name for name in (MANIFEST, README, *names)]


def push(files: list[Path], repository: str, message: str, private: bool = False, revision: str | None = None) -> str:
    """Upload ``files`` in one commit, and return the commit's id. The repository is created if need be.

    Raises:
        EditError: the hub refuses or cannot be reached. The repository is then unchanged, or created and empty.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    operations = [CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files]
    with hub_errors(repository, revision):
        api.create_repo(repository, private=private or None, exist_ok=True)
        return str(api.create_commit(repository, operations, commit_message=message, revision=revision).oid)


def pull(reference: HubReference, target: Path | None = None) -> tuple[Edit, Path]:
    """Copy a manifest from the hub, byte for byte, and its files of factors into the same folder.

    Args:
        reference: what to fetch.
        target: the manifest's path here; the edit's name and ".json" if None. A file that exists must be the same.

    Returns:
        The edit, and the path of its manifest.

    Raises:
        EditError: the hub cannot give it, another file has the name, or it cannot be written.
        ManifestError: the manifest is not valid.
    """
    source = fetch(reference)
    edit = load(source)
    target = target or Path(f"{edit.name}.json")
    content = source.read_bytes()
    if target.is_file() and target.stat().st_size <= MAX_BYTES and target.read_bytes() == content:
        pass
    elif os.path.lexists(target):
        raise EditError(f"{printable(target, MAX_SHOWN_PATH)}: is there already; name another file (output)")
    for one in edit.edits:
        if one.factors is not None:
            bring_factors(source, one.factors, target.parent)
    write_atomically(target, content)
    return edit, target


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Without the hub client's line for each of its tries; what comes of them is said in one."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def http_error() -> type[Exception]:
    """What the hub's client raises where the hub answers with an error."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError


@contextlib.contextmanager
def hub_errors(what: str, revision: str | None = None, progress: bool = False) -> Iterator[None]:
    """Inside, an exception of the hub's client becomes an `EditError` of one line that says what can be done.

    Args:
        what: the repository or edit that the message names.
        revision: the revision that was asked for.
        progress: show the client's progress bars.

    Raises:
        EditError: the client raised.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hidden = not progress and not are_progress_bars_disabled()
    if hidden:
        disable_progress_bars()
    try:
        with quiet_hub():
            yield
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{printable(what)}: {_explain(error, revision)}") from error
    finally:
        if hidden:
            enable_progress_bars()


def _explain(error: Exception, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", None)
    # HfUriError is compared by its name, since only version 2 of the client has it.
    if isinstance(error, errors.HFValidationError) or type(error).__name__ == "HfUriError":
        return "expected a file or folder that is there, or a hub id such as owner/name"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision {printable(revision or 'main')!r} of it"
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return "the hub refuses access: ask for it on the repository's page, or use another token"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such repository, or the token may not see it; `hf auth login` sets a token"
    if status == 401:
        return "the hub refuses the login; `hf auth login` sets a token that may do this"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return "the repository has no such file at this revision"
    if isinstance(error, errors.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return "not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    if status is not None:
        return f"the hub answered {status}: {_first_line(error)}"
    return f"the hub cannot be reached, or the connection was cut: {_first_line(error.__cause__ or error)}"


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {printable(said[0])}" if said else type(error).__name__
