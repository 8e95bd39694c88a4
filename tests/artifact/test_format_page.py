"""What schemas/README.md tells who writes a reader, followed without the project's own code."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cti_edits.methods.directions import edited_weight
from cti_edits.models.identity import tensor_sha256
from tests.support.edits import directions
from tests.support.matrices import random_block

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "schemas" / "README.md").read_text(encoding="utf-8")


def test_the_hash_of_a_tensor_is_the_one_on_the_page() -> None:
    by_hand = hashlib.sha256(b"F32 [1, 2]\n" + struct.pack("<2f", 1.0, -2.0)).hexdigest()
    assert by_hand == tensor_sha256(torch.tensor([[1.0, -2.0]]))
    assert f"`{by_hand}`" in PAGE


@pytest.mark.parametrize("name", ["edit-1/one_matrix.json", "edit-2/row_blocks.json"])
def test_the_digest_on_the_page_is_that_of_the_fixture(name: str) -> None:
    assert f"`tests/data/{name}`" in PAGE
    document = json.loads((ROOT / "tests" / "data" / name).read_text(encoding="utf-8"))
    for key in ("provenance", "results", "metadata"):
        del document[key]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert f"`{hashlib.sha256(canonical).hexdigest()}`" in PAGE


def test_every_key_of_a_matrix_edit_is_on_the_page() -> None:
    first, second = (
        json.loads((ROOT / "schemas" / f"edit-{version}.schema.json").read_text(encoding="utf-8")) for version in (1, 2)
    )
    keys = set(first["$defs"]["matrix_edit"]["properties"])
    for kind in ("block_svd", "directions", "plugin_edit"):
        keys |= set(second["$defs"][kind]["properties"])
    searches = [schema["properties"]["search"]["anyOf"][1]["properties"] for schema in (first, second)]
    keys |= searches[1].keys() - searches[0].keys()
    assert keys <= set(re.findall(r"`([a-z0-9_]+)`", PAGE))


def test_directions_applied_as_the_page_says_are_those_that_apply_gives() -> None:
    """By numpy, from the fields of a manifest alone."""
    W = random_block(12, 8, torch.float32)
    sigmas = [np.linalg.svd(block, compute_uv=False) for block in np.array_split(W.double().numpy(), 3)]
    one: dict[str, Any] = {"clusters": 3, "block": [0, 0, 2], "index": [0, 2, 1], "scale": [1.5, -2.0, 0.0]}
    found = []
    for k, block in enumerate(np.array_split(W.double().numpy(), one["clusters"])):
        U, sigma, Vh = np.linalg.svd(block, full_matrices=False)
        changed = block.copy()
        for direction, scale in enumerate(one["scale"]):
            if one["block"][direction] == k:
                i = one["index"][direction]
                changed += (scale - 1) * sigma[i] * np.outer(U[:, i], Vh[i])
        found.append(changed)
    edit = directions(
        shape=(12, 8),
        clusters=3,
        block=tuple(one["block"]),
        index=tuple(one["index"]),
        scale=tuple(one["scale"]),
        sigma=tuple(float(sigmas[k][i]) for k, i in zip(one["block"], one["index"], strict=True)),
    )
    np.testing.assert_allclose(edited_weight(W, edit).numpy(), np.concatenate(found), rtol=1e-6, atol=1e-8)
