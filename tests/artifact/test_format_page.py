"""What schemas/README.md tells who writes a reader, followed without the project's own code."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path

import torch

from cti_edits.models.identity import tensor_sha256

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "schemas" / "README.md").read_text(encoding="utf-8")


def test_the_hash_of_a_tensor_is_the_one_on_the_page() -> None:
    by_hand = hashlib.sha256(b"F32 [1, 2]\n" + struct.pack("<2f", 1.0, -2.0)).hexdigest()
    assert by_hand == tensor_sha256(torch.tensor([[1.0, -2.0]]))
    assert f"`{by_hand}`" in PAGE


def test_the_digest_on_the_page_is_that_of_the_fixture() -> None:
    document = json.loads((ROOT / "tests" / "data" / "edit-1" / "one_matrix.json").read_text(encoding="utf-8"))
    for key in ("provenance", "results", "metadata"):
        del document[key]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert f"`{hashlib.sha256(canonical).hexdigest()}`" in PAGE


def test_every_key_of_a_matrix_edit_is_on_the_page() -> None:
    schema = json.loads((ROOT / "schemas" / "edit-1.schema.json").read_text(encoding="utf-8"))
    keys = set(schema["$defs"]["matrix_edit"]["properties"])
    assert keys <= set(re.findall(r"`([a-z0-9_]+)`", PAGE))
