"""OpenSSF model-signing on the folder of an edit, as docs/sharing.md shows it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cti_edits.artifact.manifest import load
from cti_edits.artifact.matrix_edits import Factors
from cti_edits.hub.repositories import prepare
from cti_edits.report.model_card import model_card

ONE = Path(__file__).parents[1] / "data" / "edit-1" / "one_matrix.json"


def model_signing(*words: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from model_signing._cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private and a public key, as `openssl ecparam -name prime256v1 -genkey` and `openssl ec -pubout` make them."""
    folder = tmp_path_factory.mktemp("keys")
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def signed(keys: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder as `cti-edits push --dry-run` writes it, signed."""
    edit, content = load(ONE), b"factors"
    factors = Factors("f.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    edit = replace(edit, edits=(replace(edit.edits[0], factors=factors),))
    (tmp_path / "f.safetensors").write_bytes(content)
    folder = tmp_path / "folder"
    prepare(edit, tmp_path / "edit.json", model_card(edit, "owner/name"), folder)
    done = model_signing("sign", "key", folder, "--private_key", keys[0], "--signature", folder / "model.sig")
    assert done.returncode == 0, done.stderr
    return folder


def verified(folder: Path, public: Path) -> bool:
    done = model_signing("verify", "key", folder, "--public_key", public, "--signature", folder / "model.sig")
    assert "Traceback" not in done.stderr
    return done.returncode == 0


def test_a_signed_folder_verifies(signed: Path, keys: tuple[Path, Path]) -> None:
    assert verified(signed, keys[1])
    assert load(signed / "edit.json").name == load(ONE).name


@pytest.mark.parametrize("name", ["edit.json", "README.md", "f.safetensors"])
def test_a_changed_byte_is_caught(name: str, signed: Path, keys: tuple[Path, Path]) -> None:
    content = bytearray((signed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (signed / name).write_bytes(content)
    assert not verified(signed, keys[1])


def test_an_added_file_a_missing_one_and_another_key(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    (signed / "more").write_text("")
    assert not verified(signed, keys[1])
    (signed / "more").unlink()
    assert verified(signed, keys[1])
    other = tmp_path / "other.pub"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert not verified(signed, other)
    (signed / "f.safetensors").unlink()
    assert not verified(signed, keys[1])
