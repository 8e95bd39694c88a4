"""What an edit does to text that has nothing to do with its task: how far it moves the distributions of next tokens.

A next token is what the model predicts: of a causal model, each token of the text after those before it; of a masked
one, the tokens at masks in the text; of an encoder-decoder, the second half of each piece, whose first half the encoder
reads. The last two were trained for something else, so that their perplexity is only good to compare.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Guard
from cti_edits.errors import EditError
from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.evaluation import NotFiniteError
from cti_edits.harness.other_text import OtherText
from cti_edits.models.apply import TargetMatrix, applied, bind
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.search.candidates import Candidate
from cti_edits.search.choice import RefusedError
from cti_edits.search.log_values import fields_of, guard_from
from cti_edits.search.search_log import Steps
from cti_edits.search.settings import GUARD_PIECES

WIDTH = 128
"""Tokens of a piece of the text."""

LOGITS = 2**24
"""About so many logits are in memory at once, of each model."""

WIDENED = 2**21
"""So many of them are in float64 at once."""

DIGITS = 9
"""Figures are rounded to so many."""

Weights = Sequence[tuple[TargetMatrix, torch.Tensor]]
"""Matrices, each with Ŵ in the weight's own dtype."""


@dataclass
class _Sums:
    """Over the tokens so far, in float64."""

    tokens: int = 0
    kl: float = 0.0
    base_loss: float = 0.0
    edited_loss: float = 0.0

    def add(self, base: torch.Tensor, edited: torch.Tensor, answer: Sequence[int]) -> None:
        """The predictions of some tokens: logits (tokens, vocabulary) of both models, and the tokens."""
        wanted = torch.tensor(answer, device=base.device)
        step = max(1, WIDENED // base.shape[-1])
        for start in range(0, len(answer), step):
            rows = slice(start, start + step)
            p, q = (_log_probabilities(logits[rows]) for logits in (base, edited))
            # What the base never predicts counts nothing, whatever the edited model makes of it.
            self.kl += float(torch.where(p > -math.inf, p.exp() * (p - q), 0.0).sum())
            place = wanted[rows].to(p.device)[:, None]
            self.base_loss -= float(p.gather(-1, place).sum())
            self.edited_loss -= float(q.gather(-1, place).sum())
            self.tokens += len(place)


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    # Metal has no float64.
    return torch.log_softmax((logits.cpu() if logits.device.type == "mps" else logits).double(), dim=-1)


class TextGuard:
    """Compares edited models with the base on one text."""

    def __init__(self, session: Session, text: OtherText) -> None:
        """Cut the text into pieces.

        Args:
            session: of the unedited model.
            text: what is read; its first `GUARD_PIECES` pieces.

        Raises:
            EditError: it has too few tokens.
        """
        self._session = session
        self._name = text.name
        # A token has few characters, so that this is more than enough.
        self._pieces = session.lm.text_pieces(text.text[: 64 * WIDTH * GUARD_PIECES], WIDTH)[:GUARD_PIECES]
        if not self._pieces:
            raise EditError(f"guard: {text.name}: expected a text of two tokens or more")

    def measure(self, weights: Weights) -> Guard:
        """The base against the model with ``weights``; it has its own again when this returns or raises.

        Raises:
            NotFiniteError: a figure is not finite.
        """
        sums = _Sums()
        with torch.inference_mode():
            for batch in self._batches():
                base = self._session.lm.answer_logits(batch)
                with contextlib.ExitStack() as replaced:
                    for target, edited in weights:
                        replaced.enter_context(self._session.replaced_weight(target, edited))
                    found = self._session.lm.answer_logits(batch)
                for before, after, piece in zip(base, found, batch, strict=True):
                    sums.add(before, after, piece.answer)
        return self._figures(sums)

    def _batches(self) -> Iterator[Sequence[ScoredTokens]]:
        size = max(1, LOGITS // (WIDTH * max(1, self._session.lm.vocab_size)))
        for start in range(0, len(self._pieces), size):
            yield self._pieces[start : start + size]

    def _figures(self, sums: _Sums) -> Guard:
        means = [total / sums.tokens for total in (sums.kl, sums.base_loss, sums.edited_loss)]
        # exp of more than 700 is no float any more.
        if not all(math.isfinite(mean) and mean < 700 for mean in means):
            raise NotFiniteError(f"on {self._name}, a likelihood is 0 or not finite")
        kl, before, after = means
        figures = (max(0.0, kl), math.exp(before), math.exp(after))
        return Guard(self._name, sums.tokens, *(float(f"{one:.{DIGITS}g}") for one in figures))


@dataclass
class KlLimit:
    """How far a candidate may move the predictions of other text.

    Attributes:
        guard: measures that.
        most: the mean KL, in nats.
        steps: of a search log, with the `logged_outcomes.meaning` of the candidates.
    """

    guard: TextGuard
    most: float
    steps: Steps = field(default_factory=Steps)
    _known: dict[Candidate, float] = field(default_factory=dict, repr=False)

    def check(self, candidate: Candidate, weights: Weights) -> None:
        """Refuse a candidate that moves them farther.

        Raises:
            RefusedError: it does.
            NotFiniteError: a figure is not finite.
        """
        if candidate not in self._known:
            of, measure = {"candidate": fields_of(candidate)}, functools.partial(self.guard.measure, weights)
            self._known[candidate] = self.steps.once("guard", of, measure, asdict, guard_from).kl
        kl = self._known[candidate]
        if kl > self.most:
            raise RefusedError(f"{candidate}: its KL on other text is {kl:.4g} nats, above {self.most:g} (max_kl)")


def guarded(session: Session, guard: TextGuard, edit: Edit, progress: Progress) -> Guard | None:
    """What ``edit`` does to the text; None for an empty edit, or where a figure is not finite, which a note says."""
    if not edit.edits:
        return None
    with progress.phase("other text", 1) as advance:
        targets = bind(edit, session.lm.model, verify=False)
        with applied(edit, session.lm.model, **session.lm.checkpoint_location):
            weights = [(target, target.weight.detach().clone()) for target in targets]
        try:
            return guard.measure(weights)
        except NotFiniteError as error:
            progress.note(f"guard: {error}")
            return None
        finally:
            advance(1)
