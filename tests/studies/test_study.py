"""What a study is asked, and the table that it prints."""

from __future__ import annotations

import pytest

from cti_edits.errors import EditError
from cti_edits.studies.study import Question, Table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples: expected 1 or more, got 0"),
        ({"seed": -1}, "seed: expected 0 or more and less than 2^53, got -1"),
        ({"seeds": 0}, "seeds: expected 1 or more, got 0"),
        ({"test_rows": 0}, "test_rows: expected 1 or more, got 0"),
        ({"top_q": 0}, "top_q: expected 1 or more, got 0"),
        ({"clusters": (1, 1)}, "clusters: a value is given twice in 1, 1"),
        ({"rates": (1.5,)}, "rates: expected above 0 and at most 1, got 1.5"),
        ({"matrices": ()}, "matrices: expected at least one value"),
    ],
)
def test_a_question_that_cannot_be_asked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EditError) as refused:
        Question("sigma", "fever", "tiny", **changes)  # type: ignore[arg-type]
    assert str(refused.value) == message


def test_a_table_in_words_has_every_figure() -> None:
    table = Table(("scorer", "seed", "p"), (("paper", "0", "0.1"), ("random", "1", "")), left=("scorer",))
    assert table.in_words() == "scorer: paper, seed: 0, p: 0.1; scorer: random, seed: 1"
    assert table.right == ("seed", "p")
