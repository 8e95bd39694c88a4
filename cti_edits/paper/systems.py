"""What the paper reports of its systems on one task of one model: accuracies, by preset."""

from __future__ import annotations

from dataclasses import dataclass

from cti_edits.paper.published import MODELS, PAPER, paper_tables


@dataclass(frozen=True)
class PaperTask:
    """A task of a model, as the paper has it.

    Attributes:
        source: the paper.
        rows: of the task.
        layers: of the model.
        baseline: accuracy of the unedited model, as a share.
        accuracies: from the name of a preset to the accuracy with its edit.
    """

    source: str
    rows: int
    layers: int
    baseline: float
    accuracies: dict[str, float]


def paper_task(base_id: str, task: str) -> PaperTask | None:
    """What the paper reports of a task with a model; None where it has not that task, or another model.

    Args:
        base_id: hub id of the model.
        task: name of the lm-eval task, "cti_fever_masked".
    """
    tables = paper_tables()
    model = next((one for one in MODELS if one.base.id == base_id), None)
    short = task.removeprefix("cti_").removesuffix("_masked")
    if model is None or short not in tables["tasks"]:
        return None
    table = tables[f"table_{model.accuracies}_{model.key}"]
    found = {"laser": table["laser"][short], "cl-laser": tables["table_4_clustering_laser"][model.key][short]}
    for of_systems in (table, tables.get(f"table_3_{model.key}", {})):
        found |= {name: one["accuracy"][short] for name, one in of_systems.items() if "accuracy" in one}
    return PaperTask(
        source=PAPER,
        rows=tables["table_6_dataset_sizes"][short],
        layers=tables["models"][model.key]["layers"],
        baseline=table["baseline"][short] / 100,
        accuracies={name: percent / 100 for name, percent in found.items()},
    )
