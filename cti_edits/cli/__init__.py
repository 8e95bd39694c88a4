"""The command ``cti-edits``. Imports that take long stay inside the commands, so that ``--help`` answers at once.

Each command has a file of its name; ``ls`` is list_edits.py, ``eval`` evaluate.py, and pack.py has ``unpack`` too.
Beside them:

- options.py: from the text of an option to its value.
- examples.py: what stands under the help of each command.
- completion.py: names that a shell completes.
- flags.py: names of flags, for typer, for lm-eval and in errors.
- search_options.py: the options of ``search``; search_settings.py: the settings that they and a preset make;
  default_output.py: the file that its edit goes to; search_command.py: the command that finds it again.
- progress.py: progress of a search on the terminal; going_on.py: how it ends when it is stopped; quiet.py: other
  libraries say nothing meanwhile.
- json_output.py: ``--json``; json_records.py: the objects that commands print then.
"""

from __future__ import annotations

import errno
import os
import sys

import typer

from cti_edits.cli import (
    architectures,
    cache,
    compare,
    compose,
    cost,
    demo_model,
    diff,
    doctor,
    evaluate,
    export,
    gallery,
    list_edits,
    pack,
    plugins,
    presets,
    pull,
    push,
    report,
    reproduce,
    search,
    show,
    study,
    tasks_path,
    validate,
    verify,
)
from cti_edits.cli.examples import epilog
from cti_edits.cli.flags import typer_arguments, with_flag
from cti_edits.errors import EditError, MachineError
from cti_edits.terminal import accept_any_text, drop

app = typer.Typer(
    name="cti-edits",
    help="Adapt a language model to a task without training: search an edit, apply it with lm-eval, share it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("search", epilog=epilog("search"))(search.search)
app.command("reproduce", epilog=epilog("reproduce"))(reproduce.reproduce)
app.command("study", epilog=epilog("study"))(study.study)
app.command("show", epilog=epilog("show"))(show.show)
app.command("report", epilog=epilog("report"))(report.report)
app.command("gallery", epilog=epilog("gallery"))(gallery.gallery)
app.command("ls", epilog=epilog("ls"))(list_edits.list_edits)
app.command("presets", epilog=epilog("presets"))(presets.presets)
app.command("cost", epilog=epilog("cost"))(cost.cost)
app.command("architectures", epilog=epilog("architectures"))(architectures.architectures)
app.command("doctor", epilog=epilog("doctor"))(doctor.doctor)
app.command("plugins", epilog=epilog("plugins"))(plugins.plugins)
app.command("validate", epilog=epilog("validate"))(validate.validate)
app.command("verify", epilog=epilog("verify"))(verify.verify)
app.command("pack", epilog=epilog("pack"))(pack.pack)
app.command("unpack", epilog=epilog("unpack"))(pack.unpack)
app.command(
    "eval",
    epilog=epilog("eval"),
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(evaluate.evaluate)
app.command("compare", epilog=epilog("compare"))(compare.compare)
app.command("compose", epilog=epilog("compose"))(compose.compose)
app.command("diff", epilog=epilog("diff"))(diff.diff)
app.command("export", epilog=epilog("export"))(export.export)
app.command("push", epilog=epilog("push"))(push.push)
app.command("pull", epilog=epilog("pull"))(pull.pull)
app.command("tasks-path", epilog=epilog("tasks-path"))(tasks_path.tasks_path)
app.command("demo-model", epilog=epilog("demo-model"))(demo_model.demo_model)
app.add_typer(cache.cache, name="cache")


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of an output that cannot be written because the device is full or broken."""
MACHINE = 3
CLOSED_PIPE = 141


def main() -> None:
    """Run the command.

    Exit codes, beside those that a command has of its own:

    - 2: a bad input, in one line on stderr; likewise where the output cannot be written, to a full device.
    - 3: the machine gave out: too little memory for the smallest batch, or a device that is lost.
    - 130: interrupted.
    - 141: nobody reads the output any more (``cti-edits ls | head -1``). Nothing is said of it. It is what a shell
      shows of a program that SIGPIPE ended. Many Python programs end with 1 then, which ``diff`` and ``verify`` use
      for what they find.
    """
    accept_any_text()
    # Each command tells what came of the hub in one line of its own.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        code = _run()
        # Here, and not when the interpreter ends: there nobody could say what is wrong.
        sys.stdout.flush()
    except BrokenPipeError:
        code = CLOSED_PIPE
        drop(sys.stdout)
        drop(sys.stderr)
    except OSError as error:
        # One with a name is about a file. The names of the standard streams are not given.
        if error.errno not in FULL or error.filename is not None:
            raise
        drop(sys.stdout)
        code = _refused(f"cannot write the output: {error.strerror}", 2)
    raise SystemExit(code) from None


def _run() -> int:
    """Run the command and return its exit code."""
    try:
        # The commands return nothing, an early exit its code.
        arguments = sys.argv[1:]
        code = app(typer_arguments(arguments) if arguments[:1] == ["search"] else arguments, standalone_mode=False)
    except SystemExit as stop:
        # typer makes exit code 1 of a closed pipe.
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        raise
    except EditError as error:
        code = MACHINE if isinstance(error, MachineError) else 2
        return _refused(with_flag(str(error), _flags(sys.argv[1:2])), code)
    except (KeyboardInterrupt, typer.Abort):
        return _refused("interrupted, nothing was written", 130)
    except Exception as error:
        # What typer says of wrong options: an error with a message in one or two lines, or the help itself.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message())
            return 2
        return _refused(" ".join(message().split()), 2)
    return code if isinstance(code, int) else 0


def _flags(arguments: list[str]) -> dict[str, str]:
    """From the parameters of the command to their flags; from its positional arguments to their names in the help."""
    command = getattr(typer.main.get_command(app), "commands", {}).get(arguments[0] if arguments else "")
    return {
        str(one.name): str(one.opts[0] if one.opts[0].startswith("--") else one.metavar or one.name)
        for one in getattr(command, "params", ())
    }


def _refused(message: str, code: int) -> int:
    """Print an error on stderr, if stderr can be written, and return the exit code."""
    try:
        print(f"cti-edits: error: {message}", file=sys.stderr)
    except OSError:
        drop(sys.stderr)
    return code
