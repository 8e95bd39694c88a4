"""Coverage-guided fuzzing of the manifest reader: ``python tests/fuzz_manifest.py --seconds 600``.

Needs the extra ``fuzz`` (atheris). Whatever bytes it thinks of must be an `Edit` that reads back as the same, or a
`ManifestError` of one printable line, in under a second of processor time and 200 MB of memory. Every so often the
bytes are also blown up to a megabyte, alone and inside a manifest that is right elsewhere. Ends with a report and exit
code 0, or with the bytes that broke it in a file and another code.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import atheris

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["cti_edits", "jsonschema", "rfc8785"]):
    from cti_edits.artifact.json_schema import first_error
    from cti_edits.artifact.manifest import MAX_BYTES, parse
    from cti_edits.errors import ManifestError

    # Imports jsonschema and reads the schema, which no input should pay for.
    first_error({}, "edit-1")
    first_error({}, "edit-2")

SEEDS = ("edit-1", "edit-2", "hostile")
LIMIT_SECONDS = 1.0
LIMIT_MEGABYTES = 200
BLOWN_UP_EVERY = 256


class Fuzzer:
    """Feeds the reader and keeps count."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.seconds = seconds
        self.inputs = self.megabytes = self.read = 0
        self.slowest = 0.0
        self.refusals: collections.Counter[str] = collections.Counter()
        frame = json.loads((ROOT / "tests" / "data" / "edit-1" / "empty.json").read_text(encoding="utf-8"))
        self.head, self.tail = json.dumps({**frame, "metadata": {"x": ["HERE"]}}).encode().split(b'"HERE"')
        self.memory_before = _peak_megabytes()

    def one_input(self, content: bytes) -> None:
        """What atheris calls."""
        self.inputs += 1
        self.check(content)
        if self.inputs % BLOWN_UP_EVERY == 0 and content:
            self.megabytes += 2
            self.check((content * (MAX_BYTES // len(content) + 1))[:MAX_BYTES])
            room = MAX_BYTES - len(self.head) - len(self.tail)
            times = max(0, (room + 1) // (len(content) + 1))
            self.check(self.head + b",".join([content] * times) + self.tail)
        if time.monotonic() > self.end:
            self.report()

    def check(self, content: bytes) -> None:
        """Read ``content``, and raise where the reader does not keep its word."""
        start = time.process_time()
        try:
            edit = parse(content, source="f")
            edit.digest()
        except ManifestError as error:
            spent = time.process_time() - start
            message = str(error)
            assert message.isprintable(), ascii(message)
            assert len(message) < 1000, ascii(message)
            self.refusals[_kind(message)] += 1
        else:
            spent = time.process_time() - start
            self.read += 1
            written = json.dumps(edit.to_json(), separators=(",", ":"), ensure_ascii=False).encode()
            # A number such as 1e22 is written with one character more.
            assert len(written) > MAX_BYTES or parse(written) == edit
        if spent > LIMIT_SECONDS:
            # Counting lines makes everything slower, and a busy machine any one thing.
            spent = min(_seconds_without_counting(content) for _ in range(3))
        if spent > LIMIT_SECONDS:
            Path("slow-input").write_bytes(content)
        assert spent <= LIMIT_SECONDS, f"{spent:.2f} s for {len(content)} bytes, which are in slow-input"
        self.slowest = max(self.slowest, spent)

    def report(self) -> NoReturn:
        """Print the figures and end the process; libFuzzer would not come back."""
        print(
            f"{self.inputs:,} inputs in {self.seconds:.0f} s, {self.megabytes:,} of a megabyte beside them: "
            f"{self.read:,} read, {sum(self.refusals.values()):,} refused in {len(self.refusals)} kinds; slowest "
            f"{self.slowest:.2f} s, memory {_peak_megabytes() - self.memory_before:.0f} MB above the start"
        )
        for kind, count in self.refusals.most_common(40):
            print(f"{count:>10,}  {kind}")
        sys.stdout.flush()
        os._exit(0)


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 4.0, 0.25, 1e-400, float("nan"), float("inf"), 2**53, 10**40, 100_000, "", "x", "a" * 300,
    "\x1b[31m", "../x.safetensors", "/x.safetensors", "x.safetensors", "\ud800", "k-subspaces:0101", "row-blocks",
    "0" * 64, [], {}, [[]], [1, 1], [3, 3, 3, 3], {"": {}},
)  # fmt: skip
"""Values that are put in the place of others."""


def mutated(content: bytes, most: int, seed: int) -> bytes:
    """The bytes changed by libFuzzer, or, half of the time where they are JSON, a value or key of the document."""
    draw = random.Random(seed)
    try:
        document = json.loads(content) if draw.random() < 0.5 else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, (dict, list)) or not document:
        return bytes(atheris.Mutate(content, most))
    for _ in range(draw.randint(1, 3)):
        _change(document, draw)
    text = json.dumps(document, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.1:
        # A key twice.
        text = re.sub(r'("[a-z_]+": )([^{}\[\],]+)', r"\1\2, \1\2", text, count=1)
    return text.encode("utf-8", "surrogatepass")[:most]


def _change(document: Any, draw: random.Random) -> None:
    parent = document
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not keys:
            break
        key = draw.choice(keys)
        if not isinstance(parent[key], (dict, list)) or draw.random() < 0.2:
            break
        parent = parent[key]
    value = copy.deepcopy(draw.choice(ODD))
    kind = draw.randrange(4)
    if not keys or kind == 0:
        if isinstance(parent, dict):
            parent[draw.choice(["x", "\x1b", "rank", "metadata", *map(str, keys)])] = value
        else:
            parent.insert(
                draw.randint(0, len(parent)), copy.deepcopy(parent[0]) if parent and draw.random() < 0.5 else value
            )
    elif kind == 1:
        del parent[key]
    elif isinstance(parent[key], int) and kind == 2:
        parent[key] += draw.choice((-1, 1, 1000))
    else:
        parent[key] = value


TIMED = """
import sys, time
from cti_edits.errors import ManifestError
from cti_edits.artifact.manifest import parse
from cti_edits.artifact.json_schema import first_error
first_error({}, "edit-1")
    first_error({}, "edit-2")
content = sys.stdin.buffer.read()
start = time.process_time()
try:
    parse(content).digest()
except ManifestError:
    pass
print(time.process_time() - start)
"""


def _seconds_without_counting(content: bytes) -> float:
    words = [sys.executable, "-c", TIMED]
    done = subprocess.run(words, input=content, capture_output=True, check=True, cwd=ROOT)
    return float(done.stdout)


def _kind(message: str) -> str:
    """A refusal without its field and what it quotes."""
    return re.sub(r'".*"|-?\d+|[^ ]*[][.\\][^ ]*: ', "…", message.removeprefix("f: "))[:60]


def _peak_megabytes() -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _dictionary(path: Path) -> Path:
    """libFuzzer's dictionary: the schema's words, and numbers that are trouble."""
    schema = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "schemas").glob("edit-*.json")))
    words = sorted(
        {*re.findall(r'"[a-z_0-9]+"', schema), "NaN", "Infinity", "1e400", "9007199254740992", "4.0", "\\ud800"}
    )
    path.write_text(
        "".join(f'"{word.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"\n' for word in words)
    )
    return path


def main() -> None:
    """Fuzz for the time that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--corpus", type=Path, help="a folder in which inputs are kept from run to run")
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer; 0 draws one")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-manifest-"))
    corpus = options.corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for name in SEEDS:
        for path in (ROOT / "tests" / "data" / name).glob("*.json"):
            if path.stat().st_size <= MAX_BYTES:
                shutil.copyfile(path, corpus / f"{name}-{path.name}")
    fuzzer = Fuzzer(options.seconds)
    words = [
        sys.argv[0],
        str(corpus),
        f"-dict={_dictionary(folder / 'words')}",
        f"-artifact_prefix={Path.cwd()}/",
        f"-rss_limit_mb={int(fuzzer.memory_before) + LIMIT_MEGABYTES}",
        "-timeout=60",
        "-max_len=65536",
        *([f"-seed={options.seed}"] if options.seed else []),
    ]
    atheris.Setup(words, fuzzer.one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
