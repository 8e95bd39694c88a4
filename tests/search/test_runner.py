"""A whole search on a tiny Llama, through lm-eval."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cti_edits.artifact.manifest import Edit, load
from cti_edits.cli import app
from cti_edits.errors import EditError
from cti_edits.harness.calibration import final_part, row_count, validation_part
from cti_edits.harness.lm import load_base, read_base
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.subspaces import k_subspaces
from cti_edits.models.apply import applied, target_matrices, target_matrix
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.examples import examples
from cti_edits.search.presets import find_preset, with_overrides
from cti_edits.search.rank_cuts import matrix_edit
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import SearchSettings
from tests.support.edits import cuts
from tests.support.small_searches import rank_cut
from tests.support.tiny_models import save_checkpoint

LAYERS = 3
CHOICES = ("yes", "no")
ROWS = 50


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def lm(checkpoint: Path) -> Any:
    return load_base(read_base(str(checkpoint), ""), device="cpu", dtype="auto", batch_size=16)


TASK = """task: {name}
custom_dataset: !function rows.rows
output_type: multiple_choice
{splits}
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: gold
target_delimiter: " "
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
ROWS_MODULE = f"""from datasets import Dataset, DatasetDict

def rows(**_):
    made = [
        {{"question": f"Is {{7 * i % 51}} more than {{chr(97 + 11 * i % 26)}}", "gold": 1 - i * i % 3}}
        for i in range({ROWS})
    ]
    return DatasetDict({{
        "validation": Dataset.from_list(made[:20]), "test": Dataset.from_list(made[20:]),
    }})
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two-choice tasks whose answers a random model gets right about every second time."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "rows.py").write_text(ROWS_MODULE)
    for name, splits in (
        ("two_parts", "validation_split: validation\ntest_split: test"),
        ("one_part", "test_split: test"),
    ):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, splits=splits))
    return str(folder)


@pytest.fixture(autouse=True)
def weights_stay(lm: Any) -> Iterator[None]:
    """Whatever a test does, every weight has its former bits afterwards."""
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    yield
    after = lm.model.state_dict()
    assert list(after) == list(before)
    for key, value in before.items():
        assert torch.equal(after[key].view(torch.uint8), value.view(torch.uint8)), key


def searched(
    lm: Any, task: Any, settings: SearchSettings, final: bool = False, limit: int | None = None
) -> SearchResult:
    """Every candidate to its end: what is stopped has no outcome to look at."""
    chosen = examples(task, settings)
    return run_search(
        lm,
        chosen.evaluations,
        settings,
        name="tiny",
        base_id="tiny-llama",
        gradient_examples=chosen.gradients,
        test=final_part(task, limit) if final else None,
        exact_stop=False,
    )


def preset(name: str, **overrides: object) -> SearchSettings:
    return with_overrides(find_preset(name).settings("causal"), overrides)


# What the model gives, computed here without lm-eval.


def answer_loss(lm: Any, context: str, answer: str) -> torch.Tensor:
    """Mean NLL of the answer's bytes after the context, differentiable."""
    tokens = lm.tokenizer(context + answer, add_special_tokens=False).input_ids
    length = len(answer.encode())
    logits = lm.model(input_ids=torch.tensor([tokens])).logits[0]
    return torch.nn.functional.cross_entropy(logits[-length - 1 : -1], torch.tensor(tokens[-length:]))


def right_answers(lm: Any, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    correct = []
    with torch.no_grad():
        for row in rows:
            sums = [-float(answer_loss(lm, row["question"], f" {c}")) * len(f" {c}") for c in CHOICES]
            correct.append(int(np.argmax(sums)) == row["gold"])
    return correct


def test_the_capitals_search_ends_in_a_manifest(lm: Any, tmp_path: Path) -> None:
    settings = preset("cl-100g-100e", samples=8, top_q=2, clusters=(1, 4), rates=(0.5, 0.1))
    result = searched(lm, load_task("capitals"), settings)
    assert len(result.outcomes) == 2 * 2 * 2
    best = min((result.unedited, *result.outcomes), key=lambda o: (-o.accuracy, o.nll, o.added_parameters))
    assert result.best == best
    read = load(result.edit.write(tmp_path / "tiny.json"))
    assert read == result.edit
    assert read.search is not None
    assert (read.search.samples, read.search.evaluated_on, read.search.candidates) == (8, 8, 8)
    assert (read.search.top_q, read.search.preset, read.search.seed) == (2, None, 0)
    assert read.results.test is None
    if best.candidate is not None:
        (one,) = cuts(read)
        cut = rank_cut(best)
        assert (one.matrix, one.layer) == (cut.target.matrix, cut.target.layer)
        assert (one.clusters, one.rho) == (cut.clusters, cut.rho)


def without_origin(edit: Edit) -> dict[str, Any]:
    return {key: value for key, value in edit.to_json().items() if key != "provenance"}


def test_one_seed_gives_one_manifest(lm: Any, tasks: str) -> None:
    task = load_task("two_parts", tasks)
    settings = SearchSettings(samples=6, top_q=1, clusters=(2,), rates=(0.3,), seed=5)
    first = searched(lm, task, settings, final=True)
    again = searched(lm, load_task("two_parts", tasks), settings, final=True)
    assert without_origin(first.edit) == without_origin(again.edit)
    other = searched(lm, task, dataclasses.replace(settings, seed=6))
    assert other.edit.search is not None
    assert first.edit.search is not None
    assert other.edit.search.sample_ids_sha256 != first.edit.search.sample_ids_sha256


def test_the_edit_is_empty_where_nothing_beats_the_base(lm: Any, tasks: str) -> None:
    settings = SearchSettings(samples=6, top_q=2, clusters=(1, 3), rates=(1.0,))
    result = searched(lm, load_task("two_parts", tasks), settings, final=True)
    assert result.best is result.unedited
    assert result.edit.edits == ()
    test = result.edit.results.test
    assert test is not None
    assert test.baseline == test.edited
    assert test.p_value == 1.0


def test_top_q_are_the_matrices_with_the_most_negative_scores(lm: Any, tasks: str) -> None:
    """Against gradients by plain autograd and numpy's decompositions."""
    task = load_task("two_parts", tasks)
    settings = SearchSettings(samples=4, top_q=2, clusters=(1, 3), rates=(0.5,))
    gold = examples(task, settings).gradients.gold
    targets = target_matrices(lm.model, ("U_in", "U_out"))
    loss = torch.stack([answer_loss(lm, g.context, g.continuation) for g in gold]).mean()
    gradients = torch.autograd.grad(loss, [target.parameter for target in targets])
    result = searched(lm, task, settings)
    for clusters in settings.clusters:
        scores = {}
        for target, gradient in zip(targets, gradients, strict=True):
            parts = zip(
                np.array_split(target.weight.double().numpy(), clusters),
                np.array_split(gradient.double().numpy(), clusters),
                strict=True,
            )
            total = 0.0
            for block, slope in parts:
                U, _, Vh = np.linalg.svd(block, full_matrices=False)
                total += np.minimum(np.diag(U.T @ slope @ Vh.T)[-20:], 0.0).sum()
            scores[MatrixId(target.layer, target.matrix)] = total / clusters
        tried = [cut.target for cut in map(rank_cut, result.outcomes) if cut.clusters == clusters]
        assert tried == sorted(scores, key=lambda target: scores[target])[:2]


EVERY = {MatrixId(layer, matrix) for layer in range(LAYERS) for matrix in ("U_in", "U_out")}


@pytest.mark.parametrize(
    ("name", "matrices", "clusters", "gradient_rows", "evaluated_rows"),
    [
        ("laser", 6, (1,), 20, 20),
        ("laser-grads-se", 5, (1,), 20, 20),
        ("cl-laser", 6, (1, 2, 4, 8, 16), 20, 20),
    ],
)
def test_presets_on_the_whole_validation_part(
    lm: Any, tasks: str, name: str, matrices: int, clusters: tuple[int, ...], gradient_rows: int, evaluated_rows: int
) -> None:
    result = searched(lm, load_task("two_parts", tasks), preset(name, rates=(0.4,)))
    tried = {(cut.target, cut.clusters) for cut in map(rank_cut, result.outcomes)}
    for k in clusters:
        found = {target for target, tried_k in tried if tried_k == k}
        assert len(found) == matrices
        assert found <= EVERY
    assert len(result.outcomes) == matrices * len(clusters)
    assert len(result.unedited.correct) == evaluated_rows
    assert result.edit.search is not None
    assert result.edit.search.samples == gradient_rows
    assert result.edit.search.evaluated_on == evaluated_rows
    assert result.edit.search.top_q == (None if matrices == len(EVERY) else matrices)


def test_gradients_on_a_sample_and_evaluations_on_the_whole_part(lm: Any, tasks: str) -> None:
    task = load_task("two_parts", tasks)
    settings = preset("cl-100g-se", samples=5, rates=(0.4,), clusters=(2,))
    chosen = examples(task, settings)
    assert len(chosen.gradients.doc_ids) == 5
    assert chosen.evaluations.doc_ids == tuple(range(20))
    assert set(chosen.gradients.doc_ids) < set(chosen.evaluations.doc_ids)
    result = searched(lm, task, settings)
    assert result.edit.search is not None
    assert result.edit.search.samples == 5
    assert result.edit.search.sample_ids_sha256 == chosen.gradients.ids_sha256
    assert result.edit.search.evaluated_on == 20
    # seven are wanted, and there are six
    assert len(result.outcomes) == 6


def test_optimal_clustering_assigns_rows_and_its_manifest_repeats_the_winner(lm: Any, tasks: str) -> None:
    task = load_task("two_parts", tasks)
    settings = preset("optimal-clustering", rates=(0.3, 0.1), clusters=(1, 3), matrices=("U_in",))
    result = searched(lm, task, settings, final=True)
    tried = [outcome for outcome in result.outcomes if outcome.candidate]
    assert len(tried) == 3 * 2 * 2
    for outcome in tried:
        cut = rank_cut(outcome)
        target = target_matrix(lm.model, "U_in", cut.target.layer)
        assert outcome.partition == k_subspaces(target.weight, cut.clusters, cut.rho, 0)
    best = result.best
    assert best.candidate is not None, "this seed finds an edit"
    (one,) = cuts(result.edit)
    assert one.partition == best.partition
    evaluator = ReferenceEvaluator(lm, examples(task, settings).evaluations)
    with applied(result.edit, lm.model):
        measured = evaluator.evaluate()
    assert (measured.accuracy, measured.nll) == (best.accuracy, best.nll)


def test_a_preset_as_it_is_is_recorded(lm: Any, tasks: str) -> None:
    result = searched(lm, load_task("two_parts", tasks), preset("laser", seed=4))
    assert result.edit.search is not None
    assert result.edit.search.preset == "laser"
    assert len(result.outcomes) + len(result.stopped) == 6 * 9


@pytest.mark.parametrize(
    ("name", "start", "limit"), [("two_parts", 0, None), ("one_part", 6, None), ("two_parts", 0, 7)]
)
def test_final_measures_the_test_part(lm: Any, tasks: str, name: str, start: int, limit: int | None) -> None:
    """Against accuracies computed here, row by row, and McNemar's test by its definition."""
    task = load_task(name, tasks)
    settings = SearchSettings(samples=6, top_q=6, clusters=(1,), rates=(0.1, 0.05), seed=2)
    result = searched(lm, task, settings, final=True, limit=limit)
    assert result.edit.edits
    test = result.edit.results.test
    assert test is not None
    rows = list(task.dataset["test"])[start:][:limit]
    baseline = right_answers(lm, rows)
    with applied(result.edit, lm.model):
        edited = right_answers(lm, rows)
    assert test.n == len(rows)
    assert test.baseline == pytest.approx(sum(baseline) / len(rows))
    assert test.edited == pytest.approx(sum(edited) / len(rows))
    zeros = sum(row["gold"] == 0 for row in rows)
    assert test.majority_class == pytest.approx(max(zeros, len(rows) - zeros) / len(rows))
    gained = sum(e and not b for b, e in zip(baseline, edited, strict=True))
    lost = sum(b and not e for b, e in zip(baseline, edited, strict=True))
    assert gained + lost > 0, "the edit changes no answer, so this test shows nothing"
    assert test.p_value == pytest.approx(exact_mcnemar(gained, lost))
    assert test.ci95 is not None
    low, high = test.ci95
    assert low <= (sum(edited) - sum(baseline)) / len(rows) <= high
    assert low > -1
    assert high < 1


def exact_mcnemar(gained: int, lost: int) -> float:
    """Both tails of the binomial with p = 1/2."""
    n = gained + lost
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / float(2**n))


def test_no_test_row_is_a_validation_row(tasks: str) -> None:
    for name, validation, rest in (("two_parts", range(20), range(30)), ("one_part", range(6), range(6, 30))):
        task = load_task(name, tasks)
        assert validation_part(task).doc_ids == tuple(validation)
        assert final_part(task, None).doc_ids == tuple(rest)
        assert final_part(task, 3).doc_ids == tuple(rest)[:3]
        assert row_count(task) == {"two_parts": ROWS, "one_part": 30}[name]
    questions = [{g.context for g in part.gold} for part in (validation_part(task), final_part(task, None))]
    drawn = [
        {task.doc_to_text(task.dataset["test"][i]) for i in part.doc_ids}
        for part in (validation_part(task), final_part(task, None))
    ]
    assert questions == drawn
    with pytest.raises(EditError, match="held_out: expected 1 or more"):
        final_part(task, 0)


def test_the_command_searches_with_a_preset_and_measures(checkpoint: Path, tasks: str, tmp_path: Path) -> None:
    output = tmp_path / "edits" / "mine.json"
    words = ["search", "--task", "two_parts", "--model", str(checkpoint), "--include-path", tasks]
    more = ["--preset", "laser-100e", "--samples", "6", "--rates", "0.4", "--device", "cpu", "--output", str(output)]
    result = CliRunner().invoke(app, [*words, *more, "--test-rows", "9"])
    assert result.exit_code == 0, result.output
    assert "test part: 9 examples; intervals are of 95 %\n" in result.stdout
    edit = load(output)
    assert edit.search is not None
    assert (edit.search.preset, edit.search.top_q, edit.search.candidates) == (None, None, 6)
    assert edit.results.test is not None
    assert edit.results.test.n == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset", "cl-100g-100"), "did you mean cl-100g-100e"),
        (("--preset", "optimal-clustering", "--clusters", "17"), "at most 16 with k-subspaces"),
        (("--test-rows", "some"), "held_out: expected a number from 1, all or none"),
        (("--preset", "laser", "--top-q", "0"), "top_q"),
    ],
)
def test_options_are_refused_before_anything_is_loaded(words: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["search", "--task", "no_such_task", "--model", "/no/such/model", *words])
    assert isinstance(result.exception, EditError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_every_override_reaches_the_search() -> None:
    """No two of the options' overrides cancel each other."""
    options: dict[str, object] = {"samples": 7, "top_q": 3, "clusters": (2,), "rates": (0.5,), "matrices": ("U_in",)}
    for chosen in itertools.combinations(options, 2):
        settings = preset("cl-100g-100e", **{key: options[key] for key in chosen})
        assert all(getattr(settings, key) == options[key] for key in chosen)
        assert settings.preset is None


def test_a_tie_at_the_cut_goes_into_the_manifest(lm: Any) -> None:
    target, candidate = target_matrix(lm.model, "U_in", 1), RankCut(MatrixId(1, "U_in"), 2, 0.5)
    assert matrix_edit(target, candidate, "row-blocks", None).tied_blocks is None
    former = target.weight.clone()
    half = len(former) // 2
    try:
        with torch.no_grad():
            target.weight[half:] = torch.eye(len(former) - half, former.shape[1])
        assert matrix_edit(target, candidate, "row-blocks", None).tied_blocks == (1,)
    finally:
        with torch.no_grad():
            target.weight.copy_(former)
