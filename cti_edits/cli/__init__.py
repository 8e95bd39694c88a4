"""The command ``cti-edits``: one file per command. Heavy imports stay inside the commands."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from cti_edits.cli import (
    cache,
    compare,
    compose,
    cost,
    demo_model,
    diff,
    evaluate,
    export,
    list_edits,
    pack,
    presets,
    pull,
    push,
    search,
    show,
    tasks_path,
    validate,
    verify,
)
from cti_edits.errors import EditError

app = typer.Typer(
    name="cti-edits",
    help="Adapt a language model to a task without training: search an edit, apply it with lm-eval, share it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("search")(search.search)
app.command("show")(show.show)
app.command("ls")(list_edits.list_edits)
app.command("presets")(presets.presets)
app.command("cost")(cost.cost)
app.command("validate")(validate.validate)
app.command("verify")(verify.verify)
app.command("pack")(pack.pack)
app.command("unpack")(pack.unpack)
app.command(
    "eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("compose")(compose.compose)
app.command("diff")(diff.diff)
app.command("export")(export.export)
app.command("push")(push.push)
app.command("pull")(pull.pull)
app.command("tasks-path")(tasks_path.tasks_path)
app.command("demo-model")(demo_model.demo_model)
app.add_typer(cache.cache, name="cache")


def main() -> None:
    """Run the command; a bad input ends in one line on stderr and exit code 2."""
    # Each command tells what came of the hub in one line of its own.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        # The commands return nothing, an early exit its code.
        code = app(standalone_mode=False)
    except EditError as error:
        _stop(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted, nothing was written", 130)
    except Exception as error:
        # What typer says of wrong options: an error with a message in one or two lines, or the help itself.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message())
            raise SystemExit(2) from None
        _stop(" ".join(message().split()), 2)
    raise SystemExit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> NoReturn:
    print(f"cti-edits: error: {message}", file=sys.stderr)
    raise SystemExit(code) from None
