from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, draw
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.splits import validation_count
from cti_edits.harness.tasks import load_task
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.benchmark_files import write_jsonl
from tests.support.small_tasks import write_task
from tests.support.tiny_models import byte_tokenizer, tiny_model

ROWS = 40
WORDS = ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "yew")


@pytest.fixture
def lm() -> Any:
    return EditedLM(pretrained=tiny_model("gptj"), tokenizer=byte_tokenizer(), device="cpu", batch_size=4)


def logits(lm: Any, text: str) -> torch.Tensor:
    """Of each byte of ``text``, what the model says after it."""
    with torch.no_grad():
        found: torch.Tensor = lm.model(torch.tensor([byte_tokenizer().encode(text)])).logits[0]
    return found


def answer_likelihoods(lm: Any, context: str, answer: str) -> torch.Tensor:
    """Log-likelihood of each byte of ``answer`` after ``context``."""
    length = len(answer.encode())
    scores = logits(lm, context + answer)[-length - 1 : -1].log_softmax(-1)
    return scores[range(length), byte_tokenizer().encode(answer)]


def written(lm: Any, context: str, tokens: int) -> str:
    """What the model writes after ``context``, taking the likeliest byte each time."""
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(context)
    for _ in range(tokens):
        with torch.no_grad():
            following = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
        if following == tokenizer.eos_token_id:
            break
        ids.append(following)
    text: str = tokenizer.decode(ids[len(tokenizer.encode(context)) :], skip_special_tokens=True)
    return text


def calibrated(name: str, file: str, rows: list[dict[str, Any]], folder: Path, patch: pytest.MonkeyPatch) -> Any:
    write_jsonl(folder / file, rows)
    patch.setenv("CTI_EDITS_DATA", str(folder))
    return draw(load_task(name), validation_count(len(rows)) - 2, seed=1)


def mean_loss(lm: Any, calibration: CalibrationSet) -> float:
    losses = [-answer_likelihoods(lm, gold.context, gold.continuation).mean().item() for gold in calibration.gold]
    return sum(losses) / len(losses)


def test_choices_are_scored_as_by_hand(lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"claim": f"The {WORDS[n % 12]} is {n} years old", "label": n % 2} for n in range(ROWS)]
    calibration = calibrated("fever", "fever.jsonl", rows, tmp_path, monkeypatch)
    measured = ReferenceEvaluator(lm, calibration).evaluate()

    right = []
    for gold in calibration.gold:
        true, false = (answer_likelihoods(lm, gold.context, word).sum() for word in (" true", " false"))
        right.append((gold.continuation == " true") == bool(true >= false))
    assert measured.correct == tuple(right)
    assert calibration.labels == ("true", "false")
    assert measured.predicted is not None
    gold_and_predicted = zip(calibration.gold_index, measured.predicted, strict=True)
    assert tuple(gold == predicted for gold, predicted in gold_and_predicted) == tuple(right)
    assert measured.accuracy == sum(right) / len(right)
    assert 0 < measured.accuracy < 1
    assert measured.nll == pytest.approx(mean_loss(lm, calibration), rel=1e-5)


def test_likelihoods_are_scored_as_by_hand(lm: Any) -> None:
    calibration = draw(load_task("capitals"), 5, seed=0)
    measured = ReferenceEvaluator(lm, calibration).evaluate()
    assert measured.nll == pytest.approx(mean_loss(lm, calibration), rel=1e-5)
    greedy = [
        logits(lm, gold.context + gold.continuation)[-len(gold.continuation) - 1 : -1].argmax(-1).tolist()
        == byte_tokenizer().encode(gold.continuation)
        for gold in calibration.gold
    ]
    assert measured.correct == tuple(greedy)


@pytest.mark.parametrize(("name", "tokens"), [("counterfact", 1), ("qa_wikidata", 10), ("hotpotqa", 15)])
def test_generations_are_scored_as_by_hand(
    name: str, tokens: int, lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "counterfact": ("prompt", "answer"),
        "qa_wikidata": ("inputs", "target"),
        "hotpotqa": ("question", "answer"),
    }
    text, answer = fields[name]
    rows: list[dict[str, Any]] = []
    for n in range(ROWS):
        context = f"Number {n} {WORDS[n % 12]}" + (".? "[n % 3] if name == "hotpotqa" else "")
        row = {text: context, answer: "not this", "split": "validation"}
        if n % 2 and n < validation_count(ROWS):
            prompt = context.strip() + ("?" if n % 3 == 2 else "") + " The answer is" if name == "hotpotqa" else context
            row[answer] = written(lm, prompt, tokens).upper() or "none"
        rows.append(row)
    calibration = calibrated(name, f"{name}.jsonl", rows, tmp_path, monkeypatch)
    measured = ReferenceEvaluator(lm, calibration).evaluate()

    right = []
    for gold in calibration.gold:
        generation, wanted = written(lm, gold.context, tokens).strip().lower(), gold.continuation.strip().lower()
        right.append(generation == wanted if name == "counterfact" else wanted in generation)
    assert measured.correct == tuple(right)
    assert 0 < measured.accuracy < 1
    assert measured.nll == pytest.approx(mean_loss(lm, calibration), rel=1e-5)


@pytest.mark.parametrize(("batch_size", "expected"), [(4, [4, 2]), ("auto", [6])])
def test_gold_answers_of_generations_are_scored_in_batches_without_gradients(
    batch_size: Any, expected: list[int], lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"{'very ' * (n % 5)}old {n} is", "answer": WORDS[n % 12]} for n in range(ROWS)]
    calibration = calibrated("counterfact", "counterfact.jsonl", rows, tmp_path, monkeypatch)
    evaluator = ReferenceEvaluator(lm, calibration)
    calls: list[tuple[list[int], bool]] = []
    plain = lm.answer_losses

    def watched(requests: Any) -> Any:
        calls.append(([len(r.context) + len(r.continuation) for r in requests], torch.is_grad_enabled()))
        return plain(requests)

    monkeypatch.setattr(lm, "answer_losses", watched)
    monkeypatch.setattr(lm, "batch_size_per_gpu", batch_size)
    assert evaluator._gold_losses() == pytest.approx(
        [-answer_likelihoods(lm, gold.context, gold.continuation).mean().item() for gold in calibration.gold], rel=1e-5
    )
    assert [len(lengths) for lengths, _ in calls] == expected
    assert not any(gradients for _, gradients in calls)
    lengths = [length for batch, _ in calls for length in batch]
    assert lengths == sorted(lengths)


def test_nothing_is_drawn_on_the_terminal(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [{"inputs": f"Number {n} is", "target": "x"} for n in range(ROWS)]
    calibration = calibrated("qa_wikidata", "qa_wikidata.jsonl", rows, tmp_path, monkeypatch)
    capfd.readouterr()
    ReferenceEvaluator(lm, calibration).evaluate()
    assert "generate_until" not in capfd.readouterr().err


def test_the_first_of_several_filters_counts(lm: Any, tmp_path: Path) -> None:
    # The second filter finds nothing, so that by it no row would be right.
    more = """doc_to_target: answer
validation_split: validation
generation_kwargs: {max_gen_toks: 3, until: []}
process_results: !function ROWS.any_text
filter_list:
  - name: whole
    filter: [{function: take_first}]
  - name: nothing
    filter: [{function: regex, regex_pattern: "never(x)", fallback: ""}, {function: take_first}]
"""
    write_task(tmp_path, "filtered", "generate_until", more=more)
    with (tmp_path / "filtered_rows.py").open("a") as file:
        file.write("\ndef any_text(doc, results):\n    return {'acc': float(bool(results[0]))}\n")
    calibration = draw(load_task("filtered", str(tmp_path)), 4, seed=0)
    measured = ReferenceEvaluator(lm, calibration).evaluate()
    assert measured.correct == tuple(bool(written(lm, gold.context, 3)) for gold in calibration.gold)
    assert any(measured.correct)


def test_a_metric_between_right_and_wrong_is_refused(lm: Any, tmp_path: Path) -> None:
    more = 'doc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\nprocess_results: !function ROWS.half\n'
    calibration = draw(load_task(write_task(tmp_path, "halved", more=more), str(tmp_path)), 2, seed=0)
    with pytest.raises(EditError, match=r"a metric 'acc' that is 0 or 1 for each example; on row 0 it is 0\.5"):
        ReferenceEvaluator(lm, calibration).evaluate()


@pytest.mark.parametrize("name", ["capitals", "counterfact"])
def test_a_likelihood_that_is_no_number_is_refused(
    name: str, lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Number {n} is", "answer": "x"} for n in range(ROWS)]
    counterfact = calibrated("counterfact", "counterfact.jsonl", rows, tmp_path, monkeypatch)
    calibration = counterfact if name == "counterfact" else draw(load_task("capitals"), 3, seed=0)
    with torch.no_grad():
        lm.model.transformer.ln_f.weight.fill_(math.nan)
    with pytest.raises(EditError, match=rf"gold answer on row {calibration.doc_ids[0]} is nan"):
        ReferenceEvaluator(lm, calibration).evaluate()


def test_a_search_on_a_generation_task_ends_in_a_manifest(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Number {n} is", "answer": WORDS[n % 12][0]} for n in range(ROWS)]
    calibration = calibrated("counterfact", "counterfact.jsonl", rows, tmp_path, monkeypatch)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    settings = SearchSettings(samples=6, top_q=1, clusters=(1, 2), rates=(0.5,), matrices=("U_in", "U_out"), seed=1)
    result = run_search(lm, calibration, settings, "tiny", "tiny")

    assert len(result.outcomes) == 2
    assert result.unedited.nll == pytest.approx(mean_loss(lm, calibration), rel=1e-5)
    assert len({outcome.nll for outcome in (result.unedited, *result.outcomes)}) == 3
    assert isinstance(result.edit, Edit)
    assert result.edit.task is not None
    assert result.edit.task.name == "cti_counterfact"
    assert (result.edit.task.dataset.revision or "").startswith("sha256:")
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.model.state_dict().items())
    result.edit.write(tmp_path / "tiny.json")
