"""Fitting the factors of N directions by Adam on the calibration rows. It fits N numbers, and no more.

Factor i is 1 + p_i. The gradient of p_i is σ_i g_i, with g_i of the model as it stands: prompts, losses and batches are
those of the gradient pass. No weight is changed or copied while fitting (`added_directions`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.models.apply import TargetMatrix
from cti_edits.replay.added_directions import AddedDirections, added_directions
from cti_edits.replay.session import Session
from cti_edits.replay.sigma_gradients import SingularVectors
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import DirectionGradients, singular_vectors
from cti_edits.search.directions import SCALE_DIGITS, Direction, matrices_of, rounded

CLIP = 1.0
"""The most that the gradient of all p together may measure; longer ones are shortened to it."""


@dataclass(frozen=True)
class FitSettings:
    """How factors are fitted.

    Attributes:
        rate: Adam's learning rate.
        batch: rows of a step.
    """

    rate: float = 0.05
    batch: int = 10


@dataclass(frozen=True)
class FitState:
    """Where a fit stands between two epochs.

    Attributes:
        p: what is fitted, (N,) float64.
        mean: Adam's mean of the gradients, likewise.
        square: its mean of their squares, likewise.
    """

    p: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor


class ScaleFit:
    """N factors that are being fitted, epoch by epoch.

    Attributes:
        epoch: how many epochs are done.
        p: what is fitted, (N,) float64 on the CPU.
        sigma: σ of each direction, (N,) float64 on the CPU.
        added: what the model's layers add with the factors as they are; see `added_directions`.
    """

    def __init__(
        self,
        session: Session,
        targets: Mapping[MatrixId, TargetMatrix],
        gradients: DirectionGradients,
        directions: Sequence[Direction],
        requests: Sequence[GoldRequest],
        settings: FitSettings,
        seed: int,
    ) -> None:
        """Begin with every factor 1.

        Args:
            session: of the unedited model.
            targets: the matrices.
            gradients: of these; what is used are the decompositions.
            directions: those whose factors are fitted, ascending.
            requests: the rows that they are fitted on.
            settings: how.
            seed: of the order of the rows.
        """
        self._session, self._requests, self._settings = session, list(requests), settings
        self._directions = list(directions)
        self._order = random.Random(seed)
        # Known once for all steps; a model that does not heed the masks of packed rows is asked another way.
        self._packs = session.heeds_packed_rows(self._requests)
        self.epoch = 0
        places = sorted(matrices_of(directions))
        chosen = {
            place: [
                [one.index for one in directions if (one.target, one.block) == (place, number)]
                for number in range(len(gradients.blocks[place]))
            ]
            for place in places
        }
        self.sigma = torch.tensor(
            [float(gradients.blocks[one.target][one.block].spectrum.values[one.index]) for one in directions],
            dtype=torch.float64,
        )
        self.p = torch.zeros(len(directions), dtype=torch.float64, requires_grad=True)
        self._optimizer = torch.optim.Adam([self.p], lr=settings.rate)
        self._widths = [len(indices) for place in places for indices in chosen[place]]
        coefficients = torch.split(torch.zeros(len(directions), dtype=torch.float64), self._widths)
        self.added: list[AddedDirections] = []
        start = 0
        for place in places:
            count = len(chosen[place])
            vectors = singular_vectors(
                targets[place], [block.spectrum for block in gradients.blocks[place]], chosen[place]
            )
            own = [coefficients[start + number].to(targets[place].weight.device) for number in range(count)]
            self.added.append(AddedDirections(targets[place], vectors, own))
            start += count

    def scales(self) -> dict[Direction, float]:
        """The factors as they are."""
        factors = self.factors().tolist()
        return {one: rounded(factor, SCALE_DIGITS) for one, factor in zip(self._directions, factors, strict=True)}

    def run_epoch(self, advance: Callable[[int], None] = lambda _: None) -> None:
        """One pass over the rows.

        Raises:
            EditError: a loss, a gradient or a factor is not finite.
        """
        order = self._next_order()
        for start in range(0, len(order), self._settings.batch):
            rows = sorted(order[start : start + self._settings.batch])
            self._step([self._requests[row] for row in rows])
            advance(len(rows))
        self.epoch += 1

    def state(self) -> FitState:
        """Where the fit stands, after an epoch."""
        moments = self._optimizer.state[self.p]
        return FitState(self.p.detach().clone(), moments["exp_avg"].clone(), moments["exp_avg_sq"].clone())

    def skip_epoch(self, after: FitState) -> None:
        """Stand where the fit stood after its next epoch.

        Raises:
            EditError: a factor is not finite.
        """
        self._next_order()
        self.epoch += 1
        with torch.no_grad():
            self.p.copy_(after.p)
        done = self.epoch * math.ceil(len(self._requests) / self._settings.batch)
        self._optimizer.state[self.p] = {
            "step": torch.tensor(float(done)),
            "exp_avg": after.mean.clone(),
            "exp_avg_sq": after.square.clone(),
        }
        self.show_factors()

    def _next_order(self) -> list[int]:
        """The rows in the order of the next epoch."""
        order = list(range(len(self._requests)))
        self._order.shuffle(order)
        return order

    def gradient(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """The gradient of the mean loss of some rows by every p, with the factors as they are: (N,) float64.

        Raises:
            EditError: a loss or a gradient is not finite.
        """
        vectors: list[list[Sequence[SingularVectors]]] = [[one.blocks] for one in self.added]
        targets = [one.target for one in self.added]
        with added_directions(self._session.lm.model, self.added):
            found = self._session.sigma_gradients(targets, vectors, requests, packing_checked=self._packs)
        g = torch.cat([block for (blocks,) in found for block in blocks])
        return self.sigma * g

    def losses(self, requests: Sequence[GoldRequest]) -> list[float]:
        """The mean NLL of each gold answer's tokens with the factors as they are, nats."""
        lm = self._session.lm
        found: list[float] = []
        with torch.no_grad(), added_directions(lm.model, self.added):
            for start in range(0, len(requests), self._settings.batch):
                found += lm.answer_losses(list(requests[start : start + self._settings.batch])).tolist()
        return found

    def factors(self) -> torch.Tensor:
        """The factors as they are, (N,) float64."""
        return 1 + self.p.detach()

    def _step(self, rows: Sequence[GoldRequest]) -> None:
        self.p.grad = self.gradient(rows)
        torch.nn.utils.clip_grad_norm_([self.p], CLIP)
        self._optimizer.step()
        self.show_factors()

    def show_factors(self) -> None:
        """Have the model's layers add what the factors say, after ``p`` changed.

        Raises:
            EditError: a factor is not finite.
        """
        if not bool(torch.isfinite(self.p).all()):
            raise EditError("a factor is not finite any more; a smaller learning rate may help")
        for one, values in zip(
            (part for added in self.added for part in added.coefficients),
            torch.split((self.factors() - 1) * self.sigma, self._widths),
            strict=True,
        ):
            one.copy_(values)
