"""The JSON files of a checkpoint: config and index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cti_edits.errors import CheckpointError, printable

MAX_JSON_BYTES = 1 << 27
"""Of a config or an index. An index has about 100 bytes a tensor."""


def json_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Raises:
        CheckpointError: it is missing, too large, or holds something else.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise CheckpointError(f"{printable(file, 1000)}: expected at most {MAX_JSON_BYTES:,} bytes")
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{printable(file, 1000)}: cannot be read: {printable(error)}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{printable(file, 1000)}: expected a JSON object, got {type(found).__name__}")
    return found
