from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lm_eval.api.instance import Instance

from cti_edits.harness.task import by_row


def test_requests_are_put_together_by_row_and_in_their_order() -> None:
    made = [(7, 1), (3, 0), (7, 0), (3, 2), (3, 1)]
    task: Any = SimpleNamespace(
        instances=[Instance("loglikelihood", {}, ("a", "b"), idx, ("a_task", row, 1)) for row, idx in made]
    )
    found = [[(one.doc_id, one.idx) for one in group] for group in by_row(task)]
    assert found == [[(3, 0), (3, 1), (3, 2)], [(7, 0), (7, 1)]]
