"""An example for the help of each command. A test runs them, in this order, in one folder."""

from __future__ import annotations

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

EXAMPLES = {
    "search": f"cti-edits search --task capitals --model {MODEL} --output capitals.json",
    "reproduce": "cti-edits reproduce capitals.json",
    "study": f"cti-edits study sigma --task capitals --model {MODEL} --samples 12",
    "show": "cti-edits show capitals.json",
    "report": "cti-edits report capitals.json --output report.html",
    "gallery": "cti-edits gallery edits --output gallery.html",
    "ls": "cti-edits ls edits",
    "presets": "cti-edits presets",
    "cost": "cti-edits cost --preset cl-100g-100e --layers 28 --task fever",
    "architectures": f"cti-edits architectures {MODEL}",
    "doctor": "cti-edits doctor",
    "plugins": "cti-edits plugins",
    "validate": "cti-edits validate capitals.json edits/gptj_fever.json",
    "verify": "cti-edits verify capitals.json",
    "pack": "cti-edits pack capitals.json",
    "unpack": "cti-edits unpack capitals.json",
    "eval": "cti-edits eval --model_args edit=capitals.json --tasks cti_capitals --log_samples --output_path edited",
    "compare": "cti-edits compare base edited",
    "compose": "cti-edits compose edits/gptj_fever.json edits/gptj_hotpotqa.json --output both.json",
    "diff": "cti-edits diff edits/gptj_fever.json both.json",
    "export": "cti-edits export capitals.json --format peft --out adapter",
    "push": "cti-edits push edits/gptj_fever.json me/fever-edit --dry-run card",
    "pull": "cti-edits pull me/fever-edit --output fever.json",
    "tasks-path": "cti-edits tasks-path",
    "demo-model": "cti-edits demo-model",
    "cache ls": "cti-edits cache ls",
    "cache clear": "cti-edits cache clear",
}
"""By the words of the command. ``compare`` takes the folders that two runs were given as ``--output_path``."""


def epilog(words: str) -> str:
    """What stands under the help of a command."""
    return f"Example: {EXAMPLES[words]}"
