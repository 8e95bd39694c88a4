"""Three whole searches on tiny models, whose edits and figures are recorded in tests/data/recorded_searches.json.

``python -m tests.support.recorded_searches`` records them again. That is right only where a search is meant to give
something else than before.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.harness.calibration import final_part
from cti_edits.harness.tasks import load_task
from cti_edits.models.architectures import Kind
from cti_edits.search.candidates import RankCut
from cti_edits.search.examples import examples
from cti_edits.search.presets import find_preset, with_overrides
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import lm_of, rank_cut
from tests.support.tiny_models import MASKED, tiny_model

RECORDED = Path(__file__).parent.parent / "data" / "recorded_searches.json"

_ROWS = '''"""Rows whose gold answer depends on each of their numbers."""

import zlib

from datasets import Dataset, DatasetDict

ANIMALS = ["cow", "dog", "hen", "ox", "pig", "goat", "ewe"]

def rows(**_):
    made = [
        {"text": f"{7 * i % 51} of the {ANIMALS[i % 7]}s, {chr(97 + 11 * i % 26)}", "gold": 1 - i * i % 3 % 2}
        for i in range(60)
    ]
    return DatasetDict({"validation": Dataset.from_list(made[:24]), "test": Dataset.from_list(made[24:])})

def odd(doc, results):
    return {"acc": float(zlib.crc32(results[0].encode()) & 1)}
'''
_TASK = """task: {name}
custom_dataset: !function {name}_rows.rows
output_type: {output_type}
validation_split: validation
test_split: test
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
_CHOICE = """doc_to_text: "{{text}}"
doc_to_choice: ["moo", "baa"]
doc_to_target: gold
"""
_WRITTEN = """doc_to_text: "{{text}} <mask> <mask> say"
doc_to_target: "{{'moo' if gold else 'woof'}}"
process_results: !function written_rows.odd
"""


@dataclass(frozen=True)
class RecordedSearch:
    """What is searched: a model, a task and settings that differ from the preset's.

    Attributes:
        model_type: of `tiny_models.EVERY`.
        seed: of its weights.
        task: a task of ours, "choice" or "written".
        preset: one of the paper's systems.
        overrides: settings that are not the preset's.
    """

    model_type: str
    seed: int
    task: str
    preset: str
    overrides: Mapping[str, object]

    def settings(self) -> SearchSettings:
        kind: Kind = "masked" if self.model_type in MASKED else "causal"
        return with_overrides(find_preset(self.preset).settings(kind), self.overrides)


SEARCHES = {
    "gptj_choice": RecordedSearch(
        "gptj", 5, "choice", "cl-100g-100e", {"samples": 20, "top_q": 3, "clusters": (2, 4), "rates": (0.6, 0.2, 0.05)}
    ),
    "llama_capitals": RecordedSearch(
        "llama", 2, "capitals", "optimal-clustering", {"clusters": (2, 3), "rates": (0.3, 0.05)}
    ),
    "roberta_written": RecordedSearch(
        "roberta", 0, "written", "cl-100g-se", {"samples": 12, "clusters": (1, 4), "rates": (0.4, 0.1)}
    ),
}


def exact_model(model_type: str, seed: int) -> Any:
    """A tiny model with the same bits on every machine: its weights are multiples of 1/64, drawn as whole numbers.

    Their squares add up without rounding, so that the norms in a manifest are the same too.
    """
    model = tiny_model(model_type)
    draws = np.random.RandomState(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1:
                parameter.copy_(torch.from_numpy(draws.randint(-32, 33, tuple(parameter.shape)) / 64))
    return model


def run(search: RecordedSearch, folder: Path, exact_stop: bool) -> SearchResult:
    """Run a search and measure its winner on the test part; ``folder`` is for the task's files."""
    for name, output_type, more in (
        ("choice", "multiple_choice", _CHOICE),
        ("written", "generate_until", _WRITTEN),
    ):
        (folder / f"{name}_rows.py").write_text(_ROWS)
        (folder / f"{name}.yaml").write_text(_TASK.format(name=name, output_type=output_type) + more)
    task = load_task(search.task, str(folder))
    settings = search.settings()
    chosen = examples(task, settings)
    return run_search(
        lm_of(search.model_type, exact_model(search.model_type, search.seed)),
        chosen.evaluations,
        settings,
        name=f"{search.model_type}_{search.task}",
        base_id=f"tests/{search.model_type}",
        gradient_examples=chosen.gradients,
        test=final_part(task),
        exact_stop=exact_stop,
    )


def digest(edit: Edit) -> str:
    """An edit's digest without the hash of its tokenizer, which depends on the release of tokenizers too."""
    assert edit.search is not None
    assert edit.search.asked is not None
    model = dataclasses.replace(edit.search.asked.model, tokenizer=None)
    asked = dataclasses.replace(edit.search.asked, model=model)
    return dataclasses.replace(edit, search=dataclasses.replace(edit.search, asked=asked)).digest()


def record(result: SearchResult) -> dict[str, Any]:
    """What is recorded of a search without stops: its winner, its figures, and those of every candidate."""
    edit = result.edit.to_json()
    return {
        "digest": digest(result.edit),
        "edits": [
            {key: one[key] for key in ("matrix", "layer", "rho", "clusters", "block_ranks", "partition", "sha256")}
            for one in edit["edits"]
        ],
        "results": edit["results"],
        "candidates": edit["search"]["candidates"],
        "outcomes": outcomes(result),
    }


def outcomes(result: SearchResult) -> dict[str, list[float]]:
    """From candidate, and "unedited", to how many examples it has right and its loss in nats."""
    return {
        "unedited" if one.candidate is None else _named(rank_cut(one)): [sum(one.correct), one.nll]
        for one in (result.unedited, *result.outcomes)
    }


def _named(cut: RankCut) -> str:
    return f"{cut.target.matrix} of layer {cut.target.layer}, K = {cut.clusters}, rho = {cut.rho:g}"


def main(names: Iterable[str] = SEARCHES) -> None:
    """Record all searches."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = record(run(SEARCHES[name], Path(folder), exact_stop=False))
    RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
