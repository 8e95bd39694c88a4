"""Whether the hub answers, and what its cache takes."""

from __future__ import annotations

from cti_edits.errors import EditError
from cti_edits.hub.repositories import hub_errors

PATIENCE = 5.0
"""Seconds that the hub has to answer."""


def hub_answer() -> str:
    """The hub's address and that it answers.

    Raises:
        EditError: it does not, or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        raise EditError("HF_HUB_OFFLINE is set: nothing is fetched")
    with hub_errors(constants.ENDPOINT):
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    return f"{constants.ENDPOINT} answers"


def cached_bytes() -> int:
    """What the hub's cache on this machine takes."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return int(scan_cache_dir(constants.HF_HUB_CACHE).size_on_disk)
    except CacheNotFound:
        return 0
