"""``cti-edits eval``."""

from __future__ import annotations

import typer

from cti_edits.cli.flags import lm_eval_arguments

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
    from cti_edits.harness.lm_eval_command import run_lm_eval

    run_lm_eval(lm_eval_arguments(context.args))
