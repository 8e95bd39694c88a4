"""The search for an edit. `cti_edits.search(model, rows=…)` is `api.search`.

- api.py: a search on a model and rows that a program has in memory.
- runner.py: the order of the stages, and the result.
- trials.py: what a method gives a search to try, and what it is given for that; proposed_trials.py: that of the method
  which was asked for.
- rank_cuts.py: the trials of the paper, with gradients.py, scores.py and candidates.py, its stages in their order.
- direction_trials.py: those that change single singular values; direction_gradients.py: the gradients of all of them;
  directions.py: which are changed, and one step on them; scale_fit.py: their factors fitted by Adam;
  cross_validation.py: of how many, and for how long.
- evaluate.py, measure.py, record.py: the stages after it, the same for every method; control.py and label_bias.py:
  what the winner is measured beside.
- confirmation.py: the best few candidates again, on fresh rows, which choose among them.
- guard.py: what an edit does to other text, and the limit that a search may be given for that.
- selection_bias.py: what choosing the best of many adds, taken off where no rows are left to measure on.
- settings.py: what a search is asked to try; presets.py: such settings under a name, the paper's systems among them;
  cost.py: their forward passes.
- scorers.py, partitions.py, selectors.py: the parts that a search is made of, those of plugins too, by name.
- recorded.py: what a manifest says of its search, as what one is given; reproduce.py: that search once more;
  reproduction.py: what is the same then, and why not all.
- examples.py: which rows the gradients are taken on, and which every candidate is evaluated on.
- search_log.py: the finished steps of a search on the disk; log_header.py: what was asked; log_values.py: what a step
  gives, as JSON; logged_outcomes.py: those of candidates; time_budget.py: when no more candidates are tried.
- explanation.py: why these candidates were tried: the scores of all matrices, σ and g of one.
- details.py: what a search knows beside its manifest, for its page; details_json.py: the same in its log;
  finished_search.py: both, read from it.
- composition.py: several edits, each the best on top of those before.
- edited_weights.py: the weights of candidates, several from one decomposition.
- outcome.py: what an evaluation gave, and which is better; choice.py: which candidate wins, and which need not be
  evaluated to the end.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableRoom(ModuleType):
    """`cti_edits.search` is the name of this room, and of the function that users call."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """See `api.search`."""
        from cti_edits.search.api import search

        return search(*arguments, **named)


sys.modules[__name__].__class__ = _CallableRoom
