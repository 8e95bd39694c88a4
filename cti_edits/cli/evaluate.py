"""``cti-edits eval``."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from cti_edits.cli.flags import lm_eval_arguments
from cti_edits.paths import folder

HELP = """\
cti-edits eval runs lm_eval with the options that follow. The tasks of cti-edits are there without --include_path, and
--model is cti if it is left out:

  cti-edits eval --model_args edit=out/capitals.json --tasks cti_capitals

What lm_eval says of its options:
"""


def evaluate(context: typer.Context) -> None:
    """Run lm_eval with the options that follow; the tasks of cti-edits are there, and --model is cti if left out."""
    if {"-h", "--help"} & set(context.args):
        print(HELP, flush=True)
    import lm_eval.models  # noqa: F401  (fills the registry before `cti` joins it)
    from lm_eval.__main__ import HarnessCLI, cli_evaluate, setup_logging

    from cti_edits.harness.lm_eval_startup import register

    register()
    # `errors.one_line_in_command` knows lm-eval's command by this name.
    sys.modules["__main__"].cli_evaluate = cli_evaluate  # type: ignore[attr-defined]
    options = lm_eval_arguments(context.args)
    sys.argv = ["lm_eval", *(options if options[:1] in (["run"], ["ls"], ["validate"]) else ["run", *options])]
    setup_logging()
    command = HarnessCLI()
    arguments = command.parse_args()
    if getattr(arguments, "command", None) == "run":
        config = _config(arguments.config)
        # What is not on the command line is None; lm-eval then takes the value of the file, or its own default.
        if arguments.model is None and "model" not in config:
            arguments.model = "cti"
        more = arguments.include_path or config.get("include_path")
        arguments.include_path = [str(folder("tasks")), more] if more else str(folder("tasks"))
    elif hasattr(arguments, "include_path"):
        arguments.include_path = [str(folder("tasks")), *([arguments.include_path] if arguments.include_path else [])]
    command.execute(arguments)


def _config(path: str | None) -> dict[str, object]:
    """lm-eval's --config file; empty if it cannot be read, which lm-eval then says."""
    import yaml

    if not path or not Path(path).is_file():
        return {}
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
