"""How many of the last singular values count for a score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cti_edits.linalg.block_spectra import BlockSpectrum
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import BlockGradients, DirectionGradients
from cti_edits.studies import last
from cti_edits.studies.last import Counted
from tests.studies.test_held_out_search import by_a_search, figures
from tests.support.small_studies import records_of, small_question


def test_with_twenty_it_is_the_paper_s_search(tmp_path: Path) -> None:
    question = small_question("last", clusters=(1, 2), seed=1)
    records = records_of(question, tmp_path)
    by_count = {record.last: record for record in records if isinstance(record, Counted)}
    assert list(by_count) == ["10", "20", "60", "100", "all"]
    assert figures(by_count["20"]) == vars(by_a_search(question, 1, 10, tmp_path))
    # No block has more than 32.
    assert by_count["60"].kept == by_count["100"].kept == by_count["all"].kept
    table = last.table(records)
    assert table.rows[1][2] == "4 of 4"
    shared = len(set(by_count["10"].kept) & set(by_count["20"].kept))
    assert table.rows[0][:3] == ("10", "1", f"{shared} of 4")


def test_scores_are_of_the_last_ones_alone() -> None:
    random = np.random.default_rng(0)
    slopes = [random.normal(size=size) for size in (30, 50)]
    spectra = [BlockSpectrum((size, 60), torch.zeros(size), torch.zeros(size, size)) for size in (30, 50)]
    blocks = [BlockGradients(one, torch.from_numpy(g)) for one, g in zip(spectra, slopes, strict=True)]
    place = MatrixId(0, "U_in")
    gradients = DirectionGradients({place: blocks}, 1.0)
    for name, count in (("10", 10), ("20", 20), ("60", 60), ("all", 50)):
        expected = np.mean([np.minimum(g[-count:], 0).sum() for g in slopes])
        np.testing.assert_allclose(last.scores_of(gradients, name)[place], expected)
