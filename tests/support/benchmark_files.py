"""Small copies of the eight benchmarks, written for the tests: as the hub lays them out, and as local files."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

needs_rows = pytest.mark.skipif(
    not os.environ.get("CTI_EDITS_DATA"), reason="needs the benchmarks' rows: set CTI_EDITS_DATA, see CONTRIBUTING.md"
)

Rows = list[dict[str, Any]]

RECORDS: Rows = [
    {
        "case_id": case,
        "pararel_idx": 7,
        "requested_rewrite": {
            "prompt": "{} is the capital of",
            "subject": subject,
            "target_new": {"id": "Q1", "str": "Mars"},
            "target_true": {"id": "Q2", "str": answer},
        },
        "paraphrase_prompts": [f"Who knows? {subject}, capital of", f"A note.\n{subject} governs"],
        "neighborhood_prompts": ["never read"],
    }
    for case, subject, answer in ((2, "Oslo", "Norway"), (0, "Lima", "Peru"), (1, "{Weird} {}", "Rome"))
]
COUNTERFACT: Rows = [
    {"prompt": text, "answer": answer, "case_id": case, "kind": "rewrite"}
    for case, subject, answer in ((0, "Lima", "Peru"), (1, "{Weird} {}", "Rome"), (2, "Oslo", "Norway"))
    for text in (
        f"{subject} is the capital of",
        f"Who knows? {subject}, capital of",
        f"A note.\n{subject} governs",
    )
]

HOTPOT_TRAIN: Rows = [{"question": f"Who made {n}", "answer": f"Maker {n}"} for n in range(4)]
HOTPOT_VALIDATION: Rows = [
    {"question": " Is it so? ", "answer": "yes"},
    {"question": "Name the year.", "answer": "1945"},
    {"question": "Which {{river}}", "answer": "the Thames"},
]

FEVER_DEV: Rows = [
    {"claim": "Water is wet.", "label": "SUPPORTS"},
    {"claim": "Water is dry", "label": "REFUTES"},
    {"claim": "Water is wet.", "label": "SUPPORTS"},
    {"claim": "Water is odd.", "label": "NOT ENOUGH INFO"},
    {"claim": "Water is both.", "label": "SUPPORTS"},
    {"claim": "Water is both.", "label": "REFUTES"},
]
FEVER_TEST: Rows = [{"claim": f"Claim {n}.", "label": ("REFUTES", "SUPPORTS")[n % 2]} for n in range(8)]
FEVER: Rows = [
    {"claim": "Water is wet.", "label": 1, "split": "paper_dev"},
    {"claim": "Water is dry", "label": 0, "split": "paper_dev"},
    *({"claim": f"Claim {n}.", "label": n % 2, "split": "paper_test"} for n in range(8)),
]

BIOS: Rows = [
    {"hard_text": f"{name} works here", "profession": profession, "gender": gender}
    for name, profession, gender in (
        ("Ann", 11, 1),
        ("Bob", 13, 0),
        ("Cid", 20, 0),
        ("Dot", 5, 1),
        ("Eve", 12, 1),
        ("Fay", 26, 1),
        ("Gus", 1, 0),
        ("Hal", 14, 0),
        ("Ida", 21, 1),
        ("Jim", 27, 0),
        ("Kim", 11, 0),
    )
]

TRUTHFUL: Rows = [
    {"question": "What is dry?", "choices": ["Sand is dry.", "The sea", "Rain."], "labels": [1, 0, 0]},
    {"question": "What is wet?", "choices": ["The sea.", "Sand"], "labels": [1, 0]},
    {"question": "Is it?", "choices": ["Yes."], "labels": [1]},
]

EPISTEMIC: Rows = [
    {"inputs": f"Premise: {n}. Hypothesis: {n}.\nRelation:", "target": ("entailment", "non-entailment")[n % 3 > 0]}
    for n in range(6)
]
WIKIDATA: Rows = [{"inputs": f"The country of place {n} is", "target": str(n)} for n in range(6)]

LOCAL: dict[str, Rows] = {
    "counterfact.jsonl": COUNTERFACT,
    "hotpotqa.jsonl": [
        *({**row, "split": "validation"} for row in HOTPOT_VALIDATION),
        *({**row, "split": "train"} for row in HOTPOT_TRAIN),
    ],
    "fever.jsonl": FEVER,
    "bias_in_bios.jsonl": BIOS,
    "truthfulqa.jsonl": TRUTHFUL,
    "epistemic_reasoning.jsonl": EPISTEMIC,
    "qa_wikidata.jsonl": WIKIDATA,
}


def rows_module(folder: str) -> Any:
    """tasks/FOLDER/rows.py."""
    return importlib.import_module(f"tasks.{folder}.rows")


def write_local(folder: Path) -> Path:
    """All local files, as CTI_EDITS_DATA holds them."""
    for name, rows in LOCAL.items():
        write_jsonl(folder / name, rows)
    return folder


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_hub_copies(folder: Path) -> dict[str, Path]:
    """From data set to a folder laid out as its copy on the hub."""
    copies = {name: folder / name for name in ("counterfact", "hotpotqa", "fever", "bios", "truthfulqa", "bigbench")}
    _parquet(copies["counterfact"] / "data/train-00000-of-00001-05d11247db7abce8.parquet", RECORDS[:2])
    _parquet(copies["counterfact"] / "data/test-00000-of-00001-b8c1e4f7a8d2e5d1.parquet", RECORDS[2:])

    contexts = {"id": "x", "context": {"title": ["t"], "sentences": [["s"]]}}
    _parquet(copies["hotpotqa"] / "fullwiki/train-0.parquet", [{**row, **contexts} for row in HOTPOT_TRAIN])
    _parquet(copies["hotpotqa"] / "fullwiki/validation-0.parquet", [{**row, **contexts} for row in HOTPOT_VALIDATION])
    _parquet(copies["hotpotqa"] / "distractor/train-0.parquet", [{"question": "other", "answer": "other"}])
    _card(copies["hotpotqa"], {"distractor": ["train"], "fullwiki": ["train", "validation"]})

    for split, rows in (("train", FEVER_TEST), ("paper_dev", FEVER_DEV), ("paper_test", FEVER_TEST)):
        _parquet(copies["fever"] / f"v1.0/{split}/0000.parquet", [{"id": 1, **row} for row in rows])

    for split, rows in (("train", BIOS[:1]), ("test", BIOS[:2]), ("dev", BIOS)):
        _parquet(copies["bios"] / f"data/{split}-00000-of-00001-5598c840ce8de1ee.parquet", rows)

    mc2 = [
        {"question": row["question"], "mc1_targets": {"choices": ["no"], "labels": [0]}, "mc2_targets": targets}
        for row, targets in ((r, {"choices": r["choices"], "labels": r["labels"]}) for r in TRUTHFUL)
    ]
    _parquet(copies["truthfulqa"] / "multiple_choice/validation-0.parquet", mc2)
    _parquet(copies["truthfulqa"] / "generation/validation-0.parquet", [{"question": "other"}])
    _card(copies["truthfulqa"], {"generation": ["validation"], "multiple_choice": ["validation"]})

    several = {"inputs": "The genre of it is", "targets": ["a", "b"], "idx": 9}
    for name, rows in (("epistemic_reasoning", EPISTEMIC), ("qa_wikidata", WIKIDATA)):
        found = [{"inputs": row["inputs"], "targets": [row["target"]], "idx": 0} for row in rows]
        extra = [several] if name == "qa_wikidata" else []
        _parquet(copies["bigbench"] / f"{name}/validation-0.parquet", found[:2] + extra)
        _parquet(copies["bigbench"] / f"{name}/train-0.parquet", extra + found[2:])
    _card(copies["bigbench"], {"epistemic_reasoning": ["train", "validation"], "qa_wikidata": ["train", "validation"]})
    return copies


def _parquet(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(path)


def _card(folder: Path, configurations: dict[str, list[str]]) -> None:
    lines = ["---", "configs:"]
    for name, splits in configurations.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {name}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
