"""Which K wins for each matrix, against evaluating every cut to its end."""

from __future__ import annotations

from pathlib import Path

from cti_edits.artifact.ranks import block_ranks, kept_parameters
from cti_edits.linalg.lowrank import truncate
from cti_edits.search.evaluate import completed
from cti_edits.studies import clusters
from cti_edits.studies.clusters import BestCut
from tests.support.small_studies import records_of, small_context, small_question


def test_the_best_cut_of_a_matrix_is_the_best_of_all(tmp_path: Path) -> None:
    question = small_question("clusters", test_rows=None, clusters=(1, 2, 4), seed=1)
    with small_context(question, tmp_path) as context:
        records = records_of(question, tmp_path, context)
        rows = context.evaluated(1)
        for record, (place, target) in zip(records, context.targets().items(), strict=True):
            assert isinstance(record, BestCut)
            assert (record.layer, record.matrix) == (place.layer, place.matrix)
            shape = (target.weight.shape[0], target.weight.shape[1])
            found: list[tuple[tuple[float, float, int], int | None, float | None]] = [
                ((-rows.unedited.accuracy, rows.unedited.nll, 0), None, None)
            ]
            for number in (1, 2, 4):
                for rho in (0.5, 0.1):
                    ranks = block_ranks(shape, number, rho)
                    with context.session.replaced_weight(target, truncate(target.weight, ranks)):
                        one = completed(rows.evaluator.evaluate())
                    added = kept_parameters(shape, ranks) - shape[0] * shape[1]
                    found.append(((-one.accuracy, one.nll, added), number, rho))
            (accuracy, nll, _), number_of_best, rho_of_best = min(found, key=lambda entry: entry[0])
            assert (record.clusters, record.rho) == (number_of_best, rho_of_best)
            assert (record.accuracy, record.nll) == (-accuracy, nll)
            assert (record.baseline, record.baseline_nll) == (rows.unedited.accuracy, rows.unedited.nll)


def test_the_table_counts_who_wins() -> None:
    def best(matrix: str, layer: int, number: int | None) -> BestCut:
        rho = None if number is None else 0.5
        return BestCut(
            seed=0, matrix=matrix, layer=layer, clusters=number, rho=rho, accuracy=0.6, nll=1.0, baseline=0.5,
            baseline_nll=1.0,
        )  # fmt: skip

    table = clusters.table([best("U_in", 0, 16), best("U_out", 0, 2), best("U_in", 1, 16), best("U_out", 1, None)])
    assert table.headings == ("K", "U_in", "U_out", "matrices", "share")
    assert table.rows == (
        ("none", "0", "1", "1", "25.0 %"),
        ("2", "0", "1", "1", "25.0 %"),
        ("16", "2", "0", "2", "50.0 %"),
    )
    assert "seed 0, U_out of layer 1: K none" in table.notes
    assert "seed 0, U_in of layer 1: K 16, ρ 0.5, 50.0 → 60.0 %" in table.notes
