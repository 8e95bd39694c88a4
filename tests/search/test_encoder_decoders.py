"""Whole searches of encoder-decoders; the winner in plain lm-eval has the figures that the search measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import cti_edits
from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.search.api import search
from tests.conftest import Run
from tests.support.small_searches import Notes
from tests.support.tiny_models import save_checkpoint

COLOURS = ("red", "blue", "green", "grey", "pink", "black")
ROWS = [{"prompt": f"The colour of thing {n} is", "answer": COLOURS[n * n % 6]} for n in range(9)]
CHOICES = [{"prompt": f"Is thing {n} red?", "choices": ["yes", "no"], "gold": n * n % 3 % 2} for n in range(9)]
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
CUTS: dict[str, Any] = {"preset": "cl-100g-100e", "top_q": 2, "clusters": (1, 2), "rates": (0.6, 0.2)}
STEP: dict[str, Any] = {"preset": "sigma-step", "directions": (4, 32), "drops": (0.3, 1.0)}
FIT: dict[str, Any] = {"preset": "sigma-fit", "directions": (8,), "epochs": 2}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A gated T5 and a BART."""
    return {
        "t5": save_checkpoint(tmp_path_factory.mktemp("t5"), "t5", **GATED),
        "bart": save_checkpoint(tmp_path_factory.mktemp("bart"), "bart"),
    }


@pytest.mark.parametrize("settings", [CUTS, STEP, FIT], ids=lambda one: str(one["preset"]))
@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_a_search_ends_and_its_winner_applies(
    model_type: str, settings: dict[str, Any], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    base = checkpoints[model_type]
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    notes = Notes()
    found = search(model, rows=ROWS, samples=7, final=True, progress=notes, base_model=str(base), **settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert notes.lines == []
    assert found.best.nll < found.unedited.nll
    assert found.edit.results.test is not None
    stacks = {one.stack for one in found.edit.edits}
    assert stacks == {"encoder", "decoder"} if settings is not CUTS else stacks < {"encoder", "decoder"}

    lm = EditedLM.create_from_arg_obj({"edit": found.edit.write(tmp_path / "edit.json")}, {"device": "cpu"})
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    task_rows = [row for number, row in enumerate(ROWS) if number in calibration_rows(7)]
    gold = [GoldRequest(0, row["prompt"], f" {row['answer']}") for row in task_rows]
    with torch.no_grad():
        assert float(lm.answer_losses(gold).mean()) == pytest.approx(found.best.nll, abs=1e-4)


def calibration_rows(samples: int) -> tuple[int, ...]:
    from cti_edits.harness.calibration import drawn_rows

    return drawn_rows(len(ROWS), samples, seed=0)


def test_both_evaluators_find_the_same(checkpoints: dict[str, Path]) -> None:
    results = []
    for evaluator in ("replay", "reference"):
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoints["bart"])
        found = search(model, rows=CHOICES, evaluator=evaluator, exact_stop=False, progress=False, **CUTS)
        results.append(
            ([(one.candidate, one.correct) for one in found.outcomes], found.best.candidate, found.edit.digest())
        )
    assert results[0] == results[1]


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_one_stack_alone(stack: Any, checkpoints: dict[str, Path]) -> None:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoints["t5"])
    found = search(model, rows=ROWS, samples=5, stack=stack, progress=False, **STEP)
    assert {one.stack for one in found.edit.edits} == {stack}
    assert found.edit.search is not None
    assert found.edit.search.stack == stack
    document = found.edit.to_json()
    assert (document["schema_version"], document["search"]["stack"]) == (2, stack)


def test_a_stack_or_role_that_is_not_there_is_one_line(checkpoints: dict[str, Path], llama: Path) -> None:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoints["t5"])
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (model, {"stack": "middle"}, "^stack: expected encoder or decoder, got 'middle'$"),
        (
            model,
            {"stack": "encoder", "matrices": ("W_crossq",)},
            "^matrices: matrix: the t5 family has no matrix 'W_cr",
        ),
        (
            transformers.AutoModelForCausalLM.from_pretrained(llama),
            {"stack": "encoder"},
            "^stack: the llama family has one stack, which has no name, got 'encoder'$",
        ),
    ]
    for one, settings, message in wrong:
        with pytest.raises(EditError, match=message):
            search(one, rows=ROWS, progress=False, **settings)


def test_matrices_that_t5_keeps_in_float32_in_a_model_of_float16(tmp_path: Path) -> None:
    """transformers keeps wo so. The edit says which dtype its hash is over, and applies to the same base."""
    base = save_checkpoint(tmp_path / "base", "t5", **GATED)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(base, dtype=torch.float16)
    assert {one.dtype for one in model.parameters()} == {torch.float16, torch.float32}
    found = search(model, rows=ROWS, samples=5, progress=False, base_model=str(base), **{**STEP, "drops": (0.1,)})
    assert found.edit.base_model.dtype == "float16"
    assert {one.matrix for one in found.edit.edits} == {"U_in", "U_out"}
    lm = EditedLM.create_from_arg_obj({"edit": found.edit.write(tmp_path / "edit.json")}, {"device": "cpu"})
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    assert [one.verdict for one in cti_edits.verify(found.edit, str(base))] == ["ok"] * len(found.edit.edits)


def test_the_commands(checkpoints: dict[str, Path], tmp_path: Path, run_command: Run) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    words = ["--data", str(tmp_path / "rows.jsonl"), "--samples", "5", "--stack", "decoder", "--directions", "8"]
    out = str(tmp_path / "edit.json")
    done = run_command(
        "cti-edits", "search", "--model", str(checkpoints["t5"]), *words, "--output", out,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "decoder" in run_command("cti-edits", "show", out).stdout
    done = run_command("cti-edits", "eval", "--model_args", f"edit={out}", "--tasks", "cti_capitals", "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert "cti_capitals" in done.stdout


def test_a_checkpoint_is_loaded_as_its_class_says(checkpoints: dict[str, Path]) -> None:
    base = read_base(str(checkpoints["bart"]), "")
    assert (base.kind, base.model_type) == ("seq2seq", "bart")
    assert type(load_base(base, "cpu", "auto", 2).model).__name__ == "BartForConditionalGeneration"
