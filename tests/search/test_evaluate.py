"""All candidates are compared at one batch size, which the manifest records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.harness.evaluation import Evaluation
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.memory import GPU_ROWS, default_rows
from cti_edits.replay.packed_rows import ROW_TOKENS
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.search.candidates import RankCut
from cti_edits.search.evaluate import leading_line
from cti_edits.search.outcome import Outcome
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import OUT_OF_MEMORY, Notes, choices, lm_of

SETTINGS = SearchSettings(samples=7, top_q=2, clusters=(1, 2), rates=(0.6, 0.1))


def search(tmp_path: Path, rows: int | None = None, progress: Any = None, **more: Any) -> SearchResult:
    lm = lm_of("gptj")
    return run_search(
        lm, choices(tmp_path), SETTINGS, "tiny", "tiny", progress=progress, batch_rows=rows, exact_stop=False, **more
    )


def test_the_size_is_by_the_kind_of_device_alone() -> None:
    assert default_rows("cpu") == 1
    assert default_rows(torch.device("cuda:1")) == default_rows("mps") == GPU_ROWS


@pytest.mark.parametrize(("rows", "tokens"), [(None, ROW_TOKENS), (3, 3 * ROW_TOKENS)])
def test_the_manifest_records_the_size(rows: int | None, tokens: int, tmp_path: Path) -> None:
    recorded = search(tmp_path, rows).edit.provenance
    assert recorded.batch_tokens == tokens


def test_the_reference_evaluator_has_no_such_size(tmp_path: Path) -> None:
    recorded = search(tmp_path, evaluator="reference").edit.provenance
    assert recorded.batch_tokens is None


@contextmanager
def memory_exhausted_once(monkeypatch: pytest.MonkeyPatch, at_call: int) -> Iterator[list[int]]:
    """One measurement of the evaluator, the one of this number, does not fit the memory at first."""
    plain, calls = BlockReplay.logits, [0]
    measure = ReplayEvaluator.evaluate
    measured: list[int] = []

    def logits(self: BlockReplay, *arguments: Any, **named: Any) -> torch.Tensor:
        if len(measured) == at_call and calls[0] == 0:
            calls[0] = 1
            raise RuntimeError(OUT_OF_MEMORY)
        return plain(self, *arguments, **named)

    def counted(self: ReplayEvaluator, *arguments: Any, **named: Any) -> Evaluation | None:
        measured.append(0)
        return measure(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(BlockReplay, "logits", logits)
        patched.setattr(ReplayEvaluator, "evaluate", counted)
        yield measured


def test_where_the_memory_is_exhausted_on_the_way_all_are_evaluated_at_the_smaller_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    with memory_exhausted_once(monkeypatch, at_call=4) as measured:
        shrunk = search(tmp_path, 2, notes)
    recorded = shrunk.edit.provenance
    assert recorded.batch_tokens == ROW_TOKENS
    (line,) = [line for line in notes.lines if "starts again" in line]
    assert f"batches have {ROW_TOKENS} tokens now, they had {2 * ROW_TOKENS}" in line
    # Four before, and then the unedited model and every candidate.
    assert len(measured) >= 4 + 1 + len(shrunk.outcomes)
    small = search(tmp_path, 1)
    assert (shrunk.unedited, shrunk.outcomes, shrunk.best) == (small.unedited, small.outcomes, small.best)
    assert shrunk.edit.digest() == small.edit.digest()


class Leaders(Notes):
    """Keeps what leads, too."""

    def leader(self, what: str) -> None:
        self.lines.append(what)


def test_what_leads_is_told_beside_the_unedited_model(tmp_path: Path) -> None:
    unedited = Outcome(None, 0.25, 2.0, (True, False, False, False), 0)
    best = Outcome(RankCut(MatrixId(1, "U_in"), 2, 0.5), 0.75, 1.0, (True, True, True, False), -1)
    assert leading_line(unedited, best) == (
        "best so far 75.0 % (30.1 to 95.4), unedited 25.0 % (4.6 to 69.9): U_in of layer 1 at ρ = 0.5, K = 2"
    )
    progress = Leaders()
    found = search(tmp_path, progress=progress)
    leads = sorted(found.outcomes, key=Outcome.order)[0]
    said = [line for line in progress.lines if line.startswith("best so far")]
    assert said[-1] == leading_line(found.unedited, leads)
    assert len(set(said)) == len(said) <= len(found.outcomes)
