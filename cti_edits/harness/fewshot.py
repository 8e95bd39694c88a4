"""Few-shot examples: drawn by lm-eval, except that a row is never an example before its own prompt."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

from cti_edits.errors import EditError
from cti_edits.harness.task import Doc, Sampler, Task


class OtherRowsSampler:
    """Draws what lm-eval's sampler draws, with another row where the row of the prompt itself was drawn.

    lm-eval leaves that row out only where the task's file names one split for both examples and tests; not where the
    examples come from the evaluated rows by default, or where a task is evaluated on its validation rows. The other
    row is drawn by a generator of its own, so that every other draw stays lm-eval's.
    """

    def __init__(self, sampler: Sampler, leaves_out: bool) -> None:
        """Wrap ``sampler``.

        Args:
            sampler: lm-eval's, of the task.
            leaves_out: whether lm-eval would tell it to leave the row of the prompt out.
        """
        self._sampler = sampler
        self._leaves_out = leaves_out
        self._seed: int | None = None

    def sample(self, n: int, eval_doc: Doc | None = None, **more: Any) -> Sequence[Doc]:
        """``n`` rows that are not ``eval_doc``.

        Raises:
            EditError: there are not so many.
        """
        drawn = list(self._sampler.sample(n=n, eval_doc=eval_doc if self._leaves_out else None, **more))
        if eval_doc not in drawn:
            return drawn
        kept = [row for row in drawn if row != eval_doc]
        spare = [row for row in self._sampler.fewshot_docs() if row != eval_doc and row not in kept]
        if len(spare) < n - len(kept):
            raise EditError(f"num_fewshot: expected at most {len(kept) + len(spare)}, the rows to draw from, got {n}")
        return kept + random.Random(self._seed).sample(spare, n - len(kept))

    def set_rnd(self, rnd: int | None) -> OtherRowsSampler:
        """Seed the draws."""
        self._seed = rnd
        self._sampler.set_rnd(rnd)
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)


def leave_out_own_rows(view: Task) -> None:
    """Give ``view``, a copy of a task, an `OtherRowsSampler`, if it has a sampler; old tasks draw by themselves."""
    fewshot = getattr(view, "fewshot_cfg", None)
    if fewshot is None or not hasattr(view, "sampler"):
        return
    view.sampler = OtherRowsSampler(view.sampler, leaves_out=fewshot.split == view.config.test_split)
    # lm-eval hands the row of the prompt to the sampler only where the splits are equal.
    view.fewshot_cfg = copy.copy(fewshot)
    view.fewshot_cfg.split = view.config.test_split
