"""`cti_edits.search` on loaded models and on rows of one's own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import cti_edits
from cti_edits.errors import EditError
from cti_edits.harness.calibration import drawn_rows
from cti_edits.progress import Bars
from cti_edits.search import runner
from tests.conftest import Run
from tests.support.small_tasks import write_task
from tests.support.tiny_models import byte_tokenizer, tiny_model

ANIMALS = ("cat", "dog", "owl", "cow", "pig", "hen", "fox", "bee", "ant", "rat")
ANSWERS = [{"prompt": f"the {one} says", "answer": one[::-1], "source": 7} for one in ANIMALS for _ in range(2)]
CHOICES = [{"prompt": f"{one}:", "choices": ["it", one[0], "zz"], "gold": 1} for one in ANIMALS[:9]]
FEW: dict[str, Any] = {"clusters": [1, 2], "rates": (0.5, 0.1), "top_q": 2, "progress": False}


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def search(model: Any, **more: Any) -> cti_edits.SearchResult:
    result: cti_edits.SearchResult = cti_edits.search(model, **{"tokenizer": byte_tokenizer(), **FEW, **more})
    return result


@pytest.mark.parametrize(("rows", "task"), [(ANSWERS, "loglikelihood"), (CHOICES, "multiple_choice")])
@pytest.mark.parametrize("model_type", ["gptj", "llama"])
def test_a_search_on_rows_of_ones_own(model_type: str, rows: list[dict[str, Any]], task: str) -> None:
    model = tiny_model(model_type).train()
    former = weights(model)
    result = search(model, rows=rows)
    edit = result.edit
    assert edit.task is not None
    assert edit.search is not None
    assert (edit.search.samples, edit.search.candidates) == (len(rows), 8)
    assert edit.name == f"{model_type}_rows"
    assert len(result.unedited.correct) == len(rows)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(former, weights(model), strict=True))
    assert cti_edits.parse(json.dumps(edit.to_json()).encode()).digest() == edit.digest()


def test_it_is_what_the_reference_evaluator_says() -> None:
    model = tiny_model("gptj")
    fast, slow = (search(model, rows=ANSWERS, exact_stop=False, evaluator=name) for name in ("replay", "reference"))
    assert [one.correct for one in fast.outcomes] == [one.correct for one in slow.outcomes]
    assert [one.nll for one in fast.outcomes] == pytest.approx([one.nll for one in slow.outcomes], abs=2e-5)
    assert fast.edit.digest() == slow.edit.digest()


def test_a_masked_model_fills_the_mask() -> None:
    rows = [
        {"prompt": f"the {one} is <mask>", "choices": ["red", "blue"], "gold": i % 2} for i, one in enumerate("abcd")
    ]
    result = cti_edits.search(tiny_model("roberta"), byte_tokenizer(masked=True), rows=rows, **FEW)
    assert result.edit.base_model.architecture == "RobertaForMaskedLM"


def measured_rows(result: cti_edits.SearchResult) -> tuple[int, int]:
    """How many calibration rows and test rows the figures are from."""
    results = result.edit.results
    assert results.calibration is not None
    assert results.test is not None
    return results.calibration.n, results.test.n


def test_rows_that_were_not_drawn_are_the_test_part() -> None:
    result = search(tiny_model("gptj"), rows=ANSWERS, samples=8, seed=3, held_out="all")
    # Every row is there twice, and one whose twin was drawn is none that the search did not see.
    drawn = {ANSWERS[number]["prompt"] for number in drawn_rows(len(ANSWERS), 8, 3)}
    left = sum(row["prompt"] not in drawn for row in ANSWERS)
    assert measured_rows(result) == (8, left)
    assert left < len(ANSWERS) - 8
    limited = search(tiny_model("gptj"), rows=ANSWERS, samples=8, seed=3, held_out=5)
    assert measured_rows(limited) == (8, 5)
    control = limited.edit.results.control
    assert control is None or (control.n, len(control.edited)) == (5, 5)
    assert search(tiny_model("gptj"), rows=ANSWERS, samples=8, seed=3, held_out="none").edit.results.test is None


def test_test_rows_of_ones_own() -> None:
    result = search(tiny_model("gptj"), rows=ANSWERS[:6], test_rows=ANSWERS[6:])
    assert measured_rows(result) == (6, 14)


def test_rows_from_a_file_are_recorded_by_their_hash(tmp_path: Path) -> None:
    file = tmp_path / "animals.jsonl"
    file.write_text("\n".join(map(json.dumps, ANSWERS)) + "\n\n")
    edit = search(tiny_model("gptj"), rows=file).edit
    assert edit.name == "gptj_animals"
    assert edit.task is not None
    assert edit.task.dataset.id == "animals.jsonl"
    assert (edit.task.dataset.revision or "").startswith("sha256:")
    assert edit.digest() != search(tiny_model("gptj"), rows=ANSWERS).edit.digest()


def test_a_task_of_lm_eval(tmp_path: Path) -> None:
    result = search(tiny_model("gptj"), task=write_task(tmp_path, "moo"), include_path=str(tmp_path), samples=2)
    assert result.edit.name == "gptj_moo"


def test_a_preset_and_its_overrides() -> None:
    edit = search(
        tiny_model("gptj"), rows=ANSWERS[:4], preset="laser-100g-100e", top_q=1, clusters=[1], rates=[0.3]
    ).edit
    assert edit.search is not None
    assert (edit.search.preset, edit.search.candidates) == (None, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "task: expected the name of a task, or rows of your own in its place (rows)"),
        ({"rows": ANSWERS, "task": "fever"}, "task: expected it or rows of your own, got both (rows)"),
        ({"rows": ANSWERS, "held_out": "some"}, "held_out: expected a number from 1, all or none, got 'some'"),
        (
            {"rows": ANSWERS, "held_out": 10},
            "held_out: every row was drawn and none is left to measure on; give more, or others",
        ),
        ({"rows": ANSWERS, "test_rows": CHOICES}, "test_rows: expected rows of the same kind as rows"),
        ({"task": "fever", "test_rows": ANSWERS}, "test_rows: only together with rows"),
        ({"rows": ANSWERS, "rate": 0.1}, "rate: no such setting; expected one of clusters, "),
        ({"rows": ANSWERS, "matrices": ["U_up"]}, "matrices: "),
        ({"rows": ANSWERS, "preset": "lazer"}, "preset: no preset is called 'lazer'; did you mean laser"),
        ({"rows": []}, "rows: expected rows, got none"),
    ],
)
def test_an_argument_that_is_wrong(arguments: dict[str, Any], message: str) -> None:
    model = tiny_model("gptj")
    with pytest.raises(EditError) as caught:
        search(model, **arguments)
    assert str(caught.value).startswith(message)
    assert not model.training


def test_a_model_whose_tokenizer_is_nowhere() -> None:
    with pytest.raises(EditError, match="tokenizer: expected the model's tokenizer; there is none in memory"):
        cti_edits.search(tiny_model("gptj"), rows=ANSWERS)


def test_the_weights_are_back_whatever_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gptj").train()
    former = weights(model)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(model, rows=ANSWERS)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(former, weights(model), strict=True))


def test_the_room_and_the_function_have_one_name(run_python: Run) -> None:
    code = (
        "import cti_edits, sys\n"
        "assert 'torch' not in sys.modules and 'lm_eval' not in sys.modules\n"
        "import cti_edits.search.settings as settings\n"
        "assert 'torch' not in sys.modules\n"
        "assert callable(cti_edits.search) and cti_edits.search.settings is settings\n"
    )
    run_python("-c", code)


def test_the_registry_of_tasks_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.tasks

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the registry was asked")

    monkeypatch.setattr(lm_eval.tasks.TaskManager, "__init__", refuse)
    search(tiny_model("gptj"), rows=ANSWERS[:4])


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "notebook", "shown"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_bars_are_for_terminals_and_notebooks(
    terminal: bool, notebook: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    phases: Sequence[int] = (1, 1)
    with Bars().phase("evaluations", 2) as advance:
        for steps in phases:
            advance(steps)
    assert ("evaluations: 100%" in stream.getvalue()) is shown
