"""Writes small lm-eval tasks into a folder, for --include-path."""

from __future__ import annotations

from pathlib import Path

_ROWS = """
from datasets import Dataset, DatasetDict

TEXTS = ["the cat", "a dog", "no bird", "one fish", "some cow", "two pigs", "an ox", "old hen", "my goat", "her ewe"]

def rows(parts=("validation", "test"), missing=False, **_):
    def part(which):
        made = [{"text": f"{which}: {t}", "gold": i % 3 % 2, "answer": t.split()[1]} for i, t in enumerate(TEXTS)]
        if missing:
            made[0].update(gold=-1, answer=" ")
        return Dataset.from_list(made)
    return DatasetDict({which: part(which) for which in parts})

def broken(**_):
    raise ConnectionError("no route to host\\nsecond line")

def choices(doc):
    return [doc["text"][-1], "z"]

def half(doc, results):
    return {"acc": 0.5}
"""

_BASE = """
task: {name}
custom_dataset: !function {name}_rows.rows
output_type: {output_type}
test_split: test
doc_to_text: "{{{{text}}}} says"
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
_CHOICE = 'doc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\n'


def write_task(folder: Path, name: str, output_type: str = "multiple_choice", more: str | None = None) -> str:
    """A task with ten test rows, and, unless ``more`` says otherwise, two choices.

    ``more`` is YAML that comes after the rest; ROWS in it stands for the name of the module with the functions.
    """
    # lm-eval keeps modules by path and time, so each task has its own.
    (folder / f"{name}_rows.py").write_text(_ROWS)
    text = _BASE.format(name=name, output_type=output_type) + (_CHOICE if more is None else more)
    (folder / f"{name}.yaml").write_text(text.replace("ROWS", f"{name}_rows"))
    return name
