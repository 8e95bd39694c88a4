"""The paper's tables, and the edits of its tables 7 and 8 as manifests. Knows JSON and nothing of models.

``paper_tables.json`` holds arXiv:2510.20800's tables 1 to 9; `edits` turns two of them into manifests, and
``python -m cti_edits.paper`` writes those, the same bytes on every run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.artifact.ranks import block_ranks
from cti_edits.artifact.records import DatasetRecord, Provenance, Reported, Results, TaskRecord
from cti_edits.models.architectures import family_of

PAPER = "arXiv:2510.20800"
DEFAULT_PRESET = "cl-100g-100e"
"""The preset whose edit has the plain name, ``gptj_fever``; the others' names end in theirs."""


@dataclass(frozen=True)
class PaperModel:
    """A model of the paper.

    Attributes:
        key: its name in the tables, and the start of its edits' names.
        model_type: transformers ``config.model_type``.
        base: what the manifests name as their base.
        accuracies: the table with its accuracies.
    """

    key: str
    model_type: str
    base: BaseModel
    accuracies: int


MODELS = (
    PaperModel("gptj", "gptj", BaseModel("EleutherAI/gpt-j-6b", None, "GPTJForCausalLM", "float16"), 1),
    PaperModel("roberta", "roberta", BaseModel("FacebookAI/roberta-base", None, "RobertaForMaskedLM", "float32"), 2),
)

DATASETS: Mapping[str, tuple[str, str | None]] = {
    "counterfact": ("azhx/counterfact", None),
    "hotpotqa": ("hotpotqa/hotpot_qa", None),
    "fever": ("EleutherAI/fever", "refs/convert/parquet"),
    "bios_gender": ("LabHC/bias_in_bios", None),
    "bios_profession": ("LabHC/bias_in_bios", None),
    "truthfulqa": ("truthfulqa/truthful_qa", None),
    "epistemic_reasoning": ("tasksource/bigbench", None),
    "qa_wikidata": ("tasksource/bigbench", None),
}
"""Where each task's rows are on the hub: data set and revision."""

SAME_TASK_FOR_BOTH = ("epistemic_reasoning",)
"""Tasks that causal and masked models answer in one and the same lm-eval task."""


@cache
def paper_tables() -> dict[str, Any]:
    """The paper's tables 1 to 9, as printed."""
    tables: dict[str, Any] = json.loads((Path(__file__).parent / "paper_tables.json").read_text(encoding="utf-8"))
    return tables


def edits() -> list[Edit]:
    """The edits of tables 7 and 8: both models, the eight tasks, three presets."""
    return [
        _edit(model, task, preset)
        for model in MODELS
        for preset in (DEFAULT_PRESET, "cl-100g-se", "cl-laser")
        for task in paper_tables()["tasks"]
    ]


def task_name(task: str, kind: str) -> str:
    """The lm-eval task of the paper's ``task`` for "causal" or "masked" language models."""
    return f"cti_{task}" if kind == "causal" or task in SAME_TASK_FOR_BOTH else f"cti_{task}_masked"


def _edit(model: PaperModel, task: str, preset: str) -> Edit:
    family = family_of(model.model_type)
    parameters, parameter_table = _parameters(model, task, preset)
    baseline, edited, accuracy_table = _accuracies(model, task, preset)
    dataset, revision = DATASETS[task]
    matrix_edits = () if parameters is None else (_matrix_edit(model, parameters),)
    what = "no edit beats the unedited model, so this one is empty"
    if matrix_edits:
        one = matrix_edits[0]
        what = f"{one.matrix} of layer {one.layer} at ρ = {one.rho:g}, K = {one.clusters}"
    return Edit(
        name=f"{model.key}_{task}" + ("" if preset == DEFAULT_PRESET else f".{preset}"),
        description=(
            f"What {preset} found on {task} in {PAPER}, table {parameter_table}: {what}. "
            "The accuracies are the paper's; nothing was measured here."
        ),
        base_model=model.base,
        edits=matrix_edits,
        task=TaskRecord(task_name(task, family.kind), DatasetRecord(dataset, revision, split=None), metric="acc"),
        # The paper gives neither its seeds nor its samples, and a search that cannot be repeated is not recorded.
        search=None,
        results=Results(
            calibration=None, test=None, reported=Reported(f"{PAPER} table {accuracy_table}", baseline, edited)
        ),
        # Without a date and a version, so that the same table gives the same bytes.
        provenance=Provenance(created=None, tool="cti-edits", source=f"{PAPER} table {parameter_table}", versions={}),
        metadata={"preset": preset},
    )


class Parameters(TypedDict):
    """An edit as the tables have it."""

    matrix: str
    layer: int
    rho: float
    clusters: int


def _parameters(model: PaperModel, task: str, preset: str) -> tuple[Parameters | None, int]:
    """Matrix, layer, ρ and K as printed (None for [N/A, N/A, 1.0, 1]), and the table that has them."""
    tables = paper_tables()
    if preset == "cl-laser":
        return tables["table_8_parameters_clustering_laser"][model.key][task], 8
    return tables["table_7_parameters"][model.key][preset][task], 7


def _accuracies(model: PaperModel, task: str, preset: str) -> tuple[float, float, int]:
    """The base model's and the edited model's accuracy as shares, and the table that has the second."""
    tables = paper_tables()
    table = tables[f"table_{model.accuracies}_{model.key}"]
    baseline = _share(table["baseline"][task])
    if preset == "cl-laser":
        return baseline, _share(tables["table_4_clustering_laser"][model.key][task]), 4
    return baseline, _share(table[preset]["accuracy"][task]), model.accuracies


def _share(percent: float) -> float:
    """13.1 % as 0.131, and not as 0.13099999999999998."""
    return round(percent / 100, 6)


def _matrix_edit(model: PaperModel, parameters: Parameters) -> BlockSvdEdit:
    shape = _shape(model, parameters["matrix"])
    return BlockSvdEdit(
        matrix=parameters["matrix"],
        layer=parameters["layer"],
        module=family_of(model.model_type).module_name(parameters["matrix"], parameters["layer"]),
        shape=shape,
        rho=parameters["rho"],
        clusters=parameters["clusters"],
        block_ranks=block_ranks(shape, parameters["clusters"], parameters["rho"]),
    )


def _shape(model: PaperModel, matrix: str) -> tuple[int, int]:
    """Rows (output features) and columns of an MLP matrix."""
    widths = paper_tables()["models"][model.key]
    return {"U_in": (widths["d_mlp"], widths["d_model"]), "U_out": (widths["d_model"], widths["d_mlp"])}[matrix]
