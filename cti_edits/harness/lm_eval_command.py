"""Runs the ``lm_eval`` command with our model and tasks in place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cti_edits.paths import folder


def run_lm_eval(words: Sequence[str]) -> None:
    """Run ``lm_eval``; the bundled tasks are there, and the model is ``cti`` if none is named.

    Args:
        words: what follows ``lm_eval`` on the command line; ``run`` may be left out.
    """
    import lm_eval.models  # noqa: F401  (fills the registry before `cti` joins it)
    from lm_eval.__main__ import HarnessCLI, cli_evaluate, setup_logging

    from cti_edits.harness.lm_eval_startup import register

    register()
    # `errors.one_line_in_command` knows lm-eval's command by this name.
    sys.modules["__main__"].cli_evaluate = cli_evaluate  # type: ignore[attr-defined]
    words = list(words)
    sys.argv = ["lm_eval", *(words if words[:1] in (["run"], ["ls"], ["validate"]) else ["run", *words])]
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
