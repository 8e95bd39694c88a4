"""Runs ``cti-edits`` and ``lm_eval`` for a shell without the seconds that importing torch and lm_eval takes each time.

A server process imports them once; each command is a fork of it, with the arguments, the folder, the environment and
the streams of the small script that stands for the command on the PATH. What the environment says of the streams and to
the hub's client holds, though both have read theirs; what it says to other imports does not. A signal to the script
does not reach the fork. lm-eval's own tasks are not there: it reads the 13,000 files of them at each start, which takes
20 seconds.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMANDS = ("cti-edits", "lm_eval", "run-python-file")
_SCRIPT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([{command!r}, os.getcwd(), sys.argv[1:], dict(os.environ)]).encode()
    socket.send_fds(server, [asked], [0, 1, 2])
    sys.exit(int(server.recv(16) or 70))
"""


@contextlib.contextmanager
def commands_on_path() -> Iterator[Path]:
    """A folder for the PATH that has the commands, for as long as this is open."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = str(folder / "socket")
        for command in COMMANDS:
            script = folder / command
            script.write_text(_SCRIPT.format(python=sys.executable, address=address, command=command))
            script.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, address],
            cwd=ROOT,
            # The server ends with the process that holds the other end.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n", "the server of the commands did not start"
            yield folder
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def serve(address: str) -> None:
    """Answer until killed, or until what started it ends."""
    import lm_eval.__main__
    import lm_eval.models
    import lm_eval.tasks

    from cti_edits.models import footprint
    from tests.support import environment_report

    import_what_commands_do()
    leave_out(Path(lm_eval.tasks.__file__).parent)
    environment_report.ask_now()
    # ``show --time`` takes a second for each of its figures, for the sake of figures that repeat.
    footprint.median_seconds = functools.partial(footprint.median_seconds, seconds=0.0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # No fork goes through all that is here to look for garbage, which would also copy its memory.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(connection)
            connection.close()


def import_what_commands_do() -> None:
    """Import our modules, the models of transformers that tests have, and what comes with a first command."""
    import transformers

    import cti_edits
    from cti_edits.cli import main
    from cti_edits.paths import folder
    from tests.support.installed_plugins import forget

    for module in pkgutil.walk_packages(cti_edits.__path__, "cti_edits."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("LlamaForCausalLM", "GPTJForCausalLM", "RobertaForMaskedLM", "AutoTokenizer", "AutoModel"):
        getattr(transformers, name)
    sys.argv = ["cti-edits", "show", str(folder("edits") / "gptj_fever.json")]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
    # A command finds the plugins that are there when it runs.
    forget()


def leave_out(folder: Path) -> None:
    """Have lm-eval find no tasks in ``folder``."""
    from lm_eval.tasks._index import TaskIndex

    files = TaskIndex._iter_yaml_files
    TaskIndex._iter_yaml_files = staticmethod(lambda root: iter(()) if root == folder else files(root))


def _answer(connection: socket.socket) -> None:
    """In the fork: run what is asked, say its exit code, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    command, folder, words, environment = json.loads(asked)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    # The server's own knew another kind of file behind the number.
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding=encoding or "utf-8", errors=errors or usual, closefd=False)
        for number, usual in ((1, "strict"), (2, "backslashreplace"))
    )
    importlib.reload(sys.modules["huggingface_hub.constants"])
    os.chdir(folder)
    code: object = 1
    try:
        _run(command, words)
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(str(code).encode())
    os._exit(0)


def _run(command: str, words: list[str]) -> None:
    sys.argv = [command, *words]
    if command == "cti-edits":
        from cti_edits.cli import main

        main()
    elif command == "lm_eval":
        from lm_eval.__main__ import cli_evaluate

        # As in lm-eval's own script.
        sys.modules["__main__"].cli_evaluate = cli_evaluate  # type: ignore[attr-defined]
        cli_evaluate()
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
