from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import datasets
import pytest

from cti_edits.errors import EditError
from cti_edits.harness.benchmark_rows import (
    BenchmarkRows,
    HubCopy,
    Source,
    check_row,
    read_jsonl,
    split_rows,
)
from tests.support.benchmark_files import (
    BIOS,
    COUNTERFACT,
    HOTPOT_TRAIN,
    HOTPOT_VALIDATION,
    LOCAL,
    rows_module,
    write_hub_copies,
    write_jsonl,
    write_local,
)
from tests.support.tiny_models import byte_tokenizer

# Loader, folder of its rows.py, hub copy, and how many rows come of the files.
LOADERS = [
    ("counterfact", "counterfact", "counterfact", 9),
    ("hotpotqa", "hotpotqa", "hotpotqa", 7),
    ("fever", "fever", "fever", 10),
    ("bios_gender", "bias_in_bios", "bios", 11),
    ("bios_profession", "bias_in_bios", "bios", 9),
    ("truthfulqa", "truthfulqa", "truthfulqa", 6),
    ("epistemic_reasoning", "epistemic_reasoning", "bigbench", 6),
    ("qa_wikidata", "qa_wikidata", "bigbench", 6),
]


@pytest.fixture(autouse=True)
def _no_shared_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    monkeypatch.delenv("CTI_EDITS_DATA", raising=False)
    monkeypatch.delenv("CTI_EDITS_LLAMA_TOKENIZER", raising=False)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_hub_copies(tmp_path_factory.mktemp("hub"))


def load(loader: str, folder: str, path: Any) -> BenchmarkRows:
    rows: BenchmarkRows = getattr(rows_module(folder), loader)(path=str(path), version=1.0, model_kind="causal")
    return rows


def everything(rows: BenchmarkRows) -> list[Any]:
    return [*rows["validation"], *rows["test"]]


@pytest.mark.parametrize(("loader", "folder", "copy", "count"), LOADERS)
def test_both_sources_give_the_same_rows_in_the_same_order(
    loader: str,
    folder: str,
    copy: str,
    count: int,
    hub: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from_hub = load(loader, folder, hub[copy])
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(tmp_path)))
    from_folder = load(loader, folder, hub[copy])

    assert everything(from_hub) == everything(from_folder)
    assert len(everything(from_hub)) == count
    assert len(from_hub["validation"]) == int(0.2 * count)
    assert from_hub["test"].column_names == from_folder["test"].column_names == from_hub["validation"].column_names


def test_the_source_is_the_hub_revision_or_the_hash_of_the_local_file(
    hub: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fever = rows_module("fever").fever
    # A folder has no revisions; the word only travels through.
    assert fever(path=str(hub["fever"]), revision="abc").source == Source(str(hub["fever"]), "abc")

    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(tmp_path)))
    digest = hashlib.sha256((tmp_path / "fever.jsonl").read_bytes()).hexdigest()
    assert fever(path="EleutherAI/fever", revision="abc").source == Source("EleutherAI/fever", f"sha256:{digest}")


def test_counterfact_has_all_splits_in_record_order(hub: dict[str, Path]) -> None:
    rows = everything(load("counterfact", "counterfact", hub["counterfact"]))
    assert rows == [{"prompt": row["prompt"], "answer": row["answer"]} for row in COUNTERFACT]


def test_hotpotqa_has_train_first_and_no_more_of_it_than_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = rows_module("hotpotqa")
    monkeypatch.setattr(module, "TRAIN_ROWS", 3)
    rows = [{**row, "split": "validation"} for row in HOTPOT_VALIDATION]
    rows += [{**row, "split": "train"} for row in HOTPOT_TRAIN]
    assert module.train_then_validation(rows) == HOTPOT_TRAIN[:3] + HOTPOT_VALIDATION


def test_hotpotqa_drops_long_answers_when_a_tokenizer_is_named(
    hub: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One byte is one token, and the tokenizer frames a text with <s> and </s>: 13 bytes are 15 tokens.
    byte_tokenizer(masked=True).save_pretrained(tmp_path / "tokenizer")
    long, longest = {"question": "Which?", "answer": "a" * 14}, {"question": "Which?", "answer": "  " + "b" * 13 + " "}
    write_jsonl(tmp_path / "hotpotqa.jsonl", [{**row, "split": "train"} for row in (long, longest)])
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))

    assert everything(load("hotpotqa", "hotpotqa", hub["hotpotqa"])) == [long, longest]
    monkeypatch.setenv("CTI_EDITS_LLAMA_TOKENIZER", str(tmp_path / "tokenizer"))
    assert everything(load("hotpotqa", "hotpotqa", hub["hotpotqa"])) == [longest]
    monkeypatch.delenv("CTI_EDITS_DATA")
    assert len(everything(load("hotpotqa", "hotpotqa", hub["hotpotqa"]))) == 7


def test_hotpotqa_says_which_tokenizer_cannot_be_loaded(hub: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_EDITS_LLAMA_TOKENIZER", "no/where")
    with pytest.raises(EditError, match=r"CTI_EDITS_LLAMA_TOKENIZER: cannot load the tokenizer 'no/where'") as raised:
        load("hotpotqa", "hotpotqa", hub["hotpotqa"])
    assert "\n" not in str(raised.value)


def test_fever_takes_labels_that_are_numbers() -> None:
    consistent = rows_module("fever").consistent_claims
    rows = [
        {"claim": "a", "label": 1},
        {"claim": "b", "label": 0},
        {"claim": "a", "label": 0},
        {"claim": "c", "label": 2},
    ]
    assert consistent(rows) == [{"claim": "b", "label": 0}]


def test_bios_profession_keeps_the_eight_and_their_numbers() -> None:
    module = rows_module("bias_in_bios")
    kept = [row["hard_text"][:3] for row in module.of_the_eight(BIOS)]
    assert kept == ["Ann", "Cid", "Dot", "Eve", "Fay", "Gus", "Hal", "Ida", "Kim"]
    named = [module.profession_choices({})[module.profession_target(row)] for row in module.of_the_eight(BIOS)]
    assert named == [
        "journalist",
        "poet",
        "composer",
        "model",
        "teacher",
        "architect",
        "painter",
        "professor",
        "journalist",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: expected the field 'claim'"),
        ('{"claim": "x"}', "line 2: expected the field 'label'"),
        ('{"claim": 7, "label": 1}', "line 2: claim: expected a str, got 7"),
        ('{"claim": "x", "label": 2}', "line 2: label: expected one of 0, 1, got 2"),
        ('{"claim": "x", "label": "\\u001b[31m"}', r"got '\\x1b"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fever.jsonl").write_text('{"claim": "a", "label": 0}\n' + line + "\n")
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))
    with pytest.raises(EditError, match=message.replace("[", r"\[")) as raised:
        load("fever", "fever", "nowhere")
    assert str(raised.value).isprintable()


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(EditError, match=r"x\.jsonl: cannot read it"):
        read_jsonl(tmp_path / "x.jsonl", {})


def test_a_missing_local_file_is_an_error_and_no_reason_to_ask_the_hub(
    hub: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))
    with pytest.raises(EditError, match=r"fever\.jsonl: no such file; CTI_EDITS_DATA names"):
        load("fever", "fever", hub["fever"])


def test_a_file_without_rows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fever.jsonl").write_text("\n")
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))
    with pytest.raises(EditError, match=r"fever\.jsonl: no rows"):
        load("fever", "fever", "nowhere")


def test_labels_must_go_with_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path))
    for labels in ([1], [1, 2]):
        write_jsonl(tmp_path / "truthfulqa.jsonl", [{"question": "Why?", "choices": ["a", "b"], "labels": labels}])
        with pytest.raises(EditError, match=r"'Why\?': expected a label, 0 or 1, for each choice"):
            load("truthfulqa", "truthfulqa", "nowhere")


def test_the_hub_copy_is_checked_too(hub: dict[str, Path]) -> None:
    with pytest.raises(EditError, match="expected the column 'claim'"):
        HubCopy(str(hub["bios"])).rows("dev", ("claim",))
    with pytest.raises(EditError, match=r"cannot load the data set .*paper_dev"):
        HubCopy(str(hub["bios"])).rows("paper_dev", ("gender",))
    with pytest.raises(EditError, match=r"bigbench: row 3: target: expected one of 'entailment', 'non-entailment'"):
        check_row({"target": "maybe"}, {"target": ("entailment", "non-entailment")}, "bigbench: row 3")


def test_rows_that_the_hub_may_not_hold_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    write_hub_copies(folder)
    rows = [{"id": 1, "claim": claim, "label": "SUPPORTS"} for claim in (None, "Water is wet.")]
    datasets.Dataset.from_list(rows).to_parquet(folder / "fever/v1.0/paper_dev/0000.parquet")
    with pytest.raises(EditError, match="fever: row 1: claim: expected a str, got None"):
        load("fever", "fever", folder / "fever")


def test_a_hub_that_cannot_be_reached_is_one_line_in_the_command(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import datasets; datasets.config.HF_DATASETS_CACHE = 'cache'\nfrom cti_edits.cli import main; main()"
    )
    ran = subprocess.run(
        [commands / "run-python-file", "program.py", "eval", "--model", "dummy", "--tasks", "cti_fever"],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    said = ran.stderr.splitlines()[-1]
    assert ran.returncode == 2
    assert said.startswith("cti-edits: error: cannot load the data set 'EleutherAI/fever' from the hub (")
    assert said.endswith("with its rows in a local folder, set CTI_EDITS_DATA to that folder")
    assert "Traceback" not in ran.stderr


def test_a_validation_part_without_rows_still_has_columns() -> None:
    splits = split_rows([{"claim": "x", "label": 1}], Source("x", None))
    assert splits["validation"].column_names == ["claim", "label"]
    assert (len(splits["validation"]), len(splits["test"])) == (0, 1)


def test_only_the_wanted_fields_are_kept(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", LOCAL["fever.jsonl"])
    assert read_jsonl(tmp_path / "x.jsonl", {"label": (0, 1)})[0] == {"label": 1}
