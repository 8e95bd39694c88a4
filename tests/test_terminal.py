from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cti_edits.terminal import as_written

SAY = (
    "import sys; from cti_edits.terminal import accept_any_text; accept_any_text(); print({text!r}, file=sys.{stream})"
)
TEXT = "ρ ≥ 0.1, é 漢 – 1 → 2 ± 3 \udcff"


def said(encoding: str, text: str = TEXT, stream: str = "stdout") -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(text=text, stream=stream)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    return (done.stdout + done.stderr).rstrip(b"\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", rb"rho >= 0.1, \xe9 \u6f22 - 1 -> 2 +- 3 \udcff"),
        ("cp1252", b"rho >= 0.1, \xe9 \\u6f22 \x96 1 -> 2 \xb1 3 \\udcff"),
        ("utf-8", "ρ ≥ 0.1, é 漢 – 1 → 2 ± 3 ".encode() + b"\\udcff"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_ascii(encoding: str, expected: bytes, stream: str) -> None:
    assert said(encoding, stream=stream) == expected


def test_a_greek_word_is_not_taken_for_signs() -> None:
    assert said("ascii", "λόγος, ρ=1, σ") == rb"\u03bb\u03cc\u03b3\u03bf\u03c2, rho=1, sigma"


def test_a_handler_that_the_user_chose_stays() -> None:
    assert said("ascii:replace", "ρ = 1") == b"? = 1"


def test_text_as_a_stream_shows_it() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    assert as_written("ρ 1", stream) == "\\u03c1 1"
    assert as_written("ρ 1", io.TextIOWrapper(io.BytesIO(), encoding="ascii")) == "ρ 1"
    assert as_written("ρ 1", io.StringIO()) == "ρ 1"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_path_is_written_as_the_file_system_has_it(encoding: str, tmp_path: Path) -> None:
    code = "import sys, pathlib, cti_edits.terminal as t; t.accept_any_text(); t.print_path(pathlib.Path(sys.argv[1]))"
    path = tmp_path / "ρ"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    assert done.stdout == os.fsencode(path) + b"\n"
