"""The search of a study finds what a search finds, with the same figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.harness.calibration import draw, final_part
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from cti_edits.studies.held_out_search import Winner, winner_cells
from cti_edits.studies.study import Question
from tests.support.small_searches import lm_of
from tests.support.small_studies import FAMILY, records_of, small_question, small_task


def by_a_search(question: Question, seed: int, samples: int, folder: Path, scorer: str = "paper") -> Winner:
    """What `run_search` finds and measures on the test part."""
    task = small_task(folder)
    settings = SearchSettings(
        samples, question.top_q, question.clusters, question.rates, question.matrices, seed, scorer=scorer
    )
    result = run_search(
        lm_of(FAMILY), draw(task, samples, seed), settings, "x", "tiny", test=final_part(task, question.test_rows)
    )
    test, calibration = result.edit.results.test, result.edit.results.calibration
    assert test is not None
    assert calibration is not None
    edit = result.edit.edits[0] if result.edit.edits else None
    assert edit is None or isinstance(edit, BlockSvdEdit)
    assert test.baseline_nll is not None
    assert test.edited_nll is not None
    assert test.p_value is not None
    return Winner(
        matrix=None if edit is None else edit.matrix,
        layer=None if edit is None else edit.layer,
        clusters=None if edit is None else edit.clusters,
        rho=None if edit is None else edit.rho,
        candidates=len(result.outcomes) + len(result.stopped),
        calibration_rows=calibration.n,
        calibration_baseline=calibration.baseline,
        calibration_edited=calibration.edited,
        held_out_rows=test.n,
        baseline=test.baseline,
        edited=test.edited,
        baseline_nll=test.baseline_nll,
        edited_nll=test.edited_nll,
        p_value=test.p_value,
    )


def figures(record: object) -> dict[str, object]:
    """The fields of a winner, of a record that has more."""
    assert isinstance(record, Winner)
    return {name: getattr(record, name) for name in (one.name for one in dataclasses.fields(Winner))}


def test_scorers_matrices_and_samples_are_searches(tmp_path: Path) -> None:
    question = small_question("matrices", matrices=("U_out", "W_v"), seed=3, clusters=(1, 2))
    for role, found in zip(question.matrices, records_of(question, tmp_path), strict=True):
        one = small_question("matrices", matrices=(role,), clusters=(1, 2))
        assert figures(found) == vars(by_a_search(one, 3, 10, tmp_path)), role
    question = small_question("samples", seeds=2)
    for seed, found in enumerate(records_of(question, tmp_path)):
        assert figures(found) == vars(by_a_search(question, seed, 10, tmp_path))
    question = small_question("scorers", seed=1)
    scored = {record.key: record for record in records_of(question, tmp_path)}
    for scorer in ("paper", "predicted-change"):
        assert figures(scored["scorer", 1, scorer]) == vars(by_a_search(question, 1, 10, tmp_path, scorer))


def test_the_cells_say_what_won() -> None:
    none = Winner(
        matrix=None, layer=None, clusters=None, rho=None, candidates=4, calibration_rows=10, calibration_baseline=0.5,
        calibration_edited=0.5, held_out_rows=10, baseline=0.4, edited=0.4, baseline_nll=1.0, edited_nll=1.0,
        p_value=1.0,
    )  # fmt: skip
    assert winner_cells(none) == ("none", "50.0 → 50.0 %", "40.0 %", "40.0 %", "1")
    one = Winner(**{**vars(none), "matrix": "U_in", "layer": 0, "clusters": 2, "rho": 0.1, "edited": 0.6})
    assert winner_cells(one)[:4] == ("U_in of layer 0 at ρ = 0.1, K = 2", "50.0 → 50.0 %", "40.0 %", "60.0 %")
