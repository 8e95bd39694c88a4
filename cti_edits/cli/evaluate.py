"""``cti-edits eval``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from cti_edits.cli.words import as_lm_eval_spells
from cti_edits.paths import folder


def evaluate(context: typer.Context) -> None:
    """Run lm_eval with the words that follow; the model cti and our tasks are there (--model is cti if left out)."""
    import lm_eval.models  # noqa: F401  (fills the registry before `cti` joins it)
    from lm_eval.__main__ import HarnessCLI, cli_evaluate, setup_logging

    from cti_edits.harness.lm_eval_startup import register

    register()
    # `errors.one_line_in_command` knows lm-eval's command by this name.
    sys.modules["__main__"].cli_evaluate = cli_evaluate  # type: ignore[attr-defined]
    words = as_lm_eval_spells(context.args)
    sys.argv = ["lm_eval", *(words if words[:1] in (["run"], ["ls"], ["validate"]) else ["run", *words])]
    setup_logging()
    command = HarnessCLI()
    arguments = command.parse_args()
    if getattr(arguments, "command", None) == "run":
        config = _config(arguments.config)
        # What is not given on the command line is None, and lm-eval then takes the file's word or its own default.
        if arguments.model is None and "model" not in config:
            arguments.model = "cti"
        theirs = arguments.include_path or config.get("include_path")
        arguments.include_path = [str(folder("tasks")), theirs] if theirs else str(folder("tasks"))
    elif hasattr(arguments, "include_path"):
        arguments.include_path = [str(folder("tasks")), *([arguments.include_path] if arguments.include_path else [])]
    command.execute(arguments)


def _config(path: str | None) -> dict[str, Any]:
    """lm-eval's --config file; what is wrong with it is lm-eval's to say."""
    import yaml

    if not path or not Path(path).is_file():
        return {}
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
