"""Folders that appear when they are complete."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cti_edits.files import atomic_folder


def test_files_of_a_folder_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        with atomic_folder(tmp_path / "export") as folder:
            (folder / "inside").mkdir()
            private = folder / "inside" / "adapter_model.safetensors"
            private.write_bytes(b"1")
            private.chmod(0o600)
            (folder / "README.md").write_text("1", encoding="utf-8")
    finally:
        os.umask(former)
    files = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
    assert len(files) == 2
