"""``cti-edits eval``."""

from __future__ import annotations

import sys

import typer

from cti_edits.resources import folder


def evaluate(context: typer.Context) -> None:
    """Run lm_eval with the words that follow; the model cti and our tasks are there (--model is cti if left out)."""
    import lm_eval.models  # noqa: F401  (fills the registry before `cti` joins it)
    from lm_eval.__main__ import HarnessCLI, cli_evaluate, setup_logging

    from cti_edits.lm_eval_startup import register

    register()
    # `errors.one_line_in_command` knows lm-eval's command by this name.
    sys.modules["__main__"].cli_evaluate = cli_evaluate  # type: ignore[attr-defined]
    words = list(context.args)
    sys.argv = ["lm_eval", *(words if words[:1] in (["run"], ["ls"], ["validate"]) else ["run", *words])]
    setup_logging()
    command = HarnessCLI()
    arguments = command.parse_args()
    if hasattr(arguments, "model") and not {"--model", "-M", "--config", "-C"} & {w.split("=")[0] for w in words}:
        arguments.model = "cti"
    if hasattr(arguments, "include_path"):
        ours = str(folder("tasks"))
        arguments.include_path = [ours, arguments.include_path] if arguments.include_path else ours
    command.execute(arguments)
