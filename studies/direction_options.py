"""What else a step on singular values, or a fit of their factors, could be: each way measured on held-out rows.

    python -m studies.direction_options --model CHECKPOINT --task qa_wikidata --seed 0 --output FILE

One line of JSON for each way; one that is in FILE already is not measured again. The defaults of the presets sigma-step
and sigma-fit rest on it: docs/findings/direction_options.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cti_edits.harness.calibration import GoldRequest, draw, final_part
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import target_matrices
from cti_edits.models.architectures import family_of
from cti_edits.progress import Silent
from cti_edits.replay.session import Session
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import BlockGradients, DirectionGradients, direction_gradients
from cti_edits.search.direction_trials import DirectionTrials, Step
from cti_edits.search.directions import Direction, chosen_directions, random_directions, step_scales
from cti_edits.search.evaluate import completed
from cti_edits.search.scale_fit import FitSettings, ScaleFit
from studies.held_out import held_out_rows

MLP = ("U_in", "U_out")
EPOCHS = (1, 2, 4)
ALL = 1 << 30


@dataclass(frozen=True)
class Way:
    """One way to change directions.

    Attributes:
        how: "step", "random", "opposite", "steps" (gradients taken anew after each), "fit" or "gradient".
        count: N.
        drop: f of a step.
        relative: whether |σ g| is what counts, and the step is one on log σ.
        roles: "mlp" or "all".
        clusters: K.
        rate: Adam's learning rate.
        decay: the share that each epoch takes off s − 1.
        log_scale: whether the factors are exp(p).
    """

    how: str
    count: int = 1024
    drop: float = 1.0
    relative: bool = False
    roles: str = "mlp"
    clusters: int = 1
    rate: float = 0.05
    decay: float = 0.0
    log_scale: bool = False


def ways() -> list[Way]:
    """What is measured, each apart from the default by one thing."""
    counts, large = (64, 256, 1024, 4096, ALL), (1024, 4096)
    return [
        *(Way("step", count, drop) for count in counts for drop in (0.3, 1.0)),
        *(Way("step", count, 3.0) for count in (64, 1024)),
        *(Way("random", count) for count in (64, 1024, 4096)),
        *(Way("opposite", count) for count in (64, 1024)),
        *(Way("fit", count) for count in (256, *large, ALL)),
        *(Way("fit", count, rate=rate) for rate in (0.02, 0.2) for count in large),
        *(Way("steps", count) for count in (64, 1024)),
        *(Way("step", count, relative=True) for count in (256, *large)),
        *(Way("step", count, roles="all") for count in (256, *large)),
        *(Way("fit", count, roles="all") for count in large),
        *(Way("fit", count, log_scale=True) for count in large),
        *(Way("fit", 4096, decay=decay) for decay in (0.1, 0.3)),
        *(Way("step", 1024, clusters=4), Way("fit", 1024, clusters=4)),
        *(Way("gradient", rank, drop) for rank in (1, 8) for drop in (0.3, 1.0)),
    ]


class LogFit(ScaleFit):
    """Factors exp(p) in the place of 1 + p."""

    def factors(self) -> torch.Tensor:
        """See `ScaleFit.factors`."""
        return self.p.detach().exp()

    def gradient(self, requests: Sequence[GoldRequest]) -> torch.Tensor:
        """See `ScaleFit.gradient`."""
        return super().gradient(requests) * self.factors()


def relative(gradients: DirectionGradients) -> DirectionGradients:
    """The gradients by log σ, σ g, in the place of those by σ."""
    blocks = {
        place: [BlockGradients(one.spectrum, one.gradients * one.spectrum.values.cpu()) for one in of_matrix]
        for place, of_matrix in gradients.blocks.items()
    }
    return DirectionGradients(blocks, gradients.loss)


def relative_scales(gradients: DirectionGradients, chosen: Sequence[Direction], drop: float) -> dict[Direction, float]:
    """The factors after one step on log σ: exp(−η σ_i g_i), with η Σ (σ_i g_i)² = f loss."""
    slopes = [float(gradients.blocks[one.target][one.block].gradients[one.index]) for one in chosen]
    eta = drop * gradients.loss / math.fsum(slope**2 for slope in slopes)
    return {one: math.exp(-eta * slope) for one, slope in zip(chosen, slopes, strict=True)}


class Options:
    """One task and seed on one model."""

    def __init__(self, lm: EditedLM, task: str, seed: int, rows: int, samples: int) -> None:
        loaded = load_task(task)
        self.lm, self.seed = lm, seed
        self.calibration = draw(loaded, samples, seed)
        self.session = Session(lm)
        self.test = self.session.evaluator(held_out_rows(final_part(loaded), rows))
        self.gradients = cache(self._gradients)
        self.cache = SpectrumCache()

    def targets(self, roles: str) -> Mapping[MatrixId, Any]:
        """The matrices."""
        wanted = MLP if roles == "mlp" else tuple(family_of(self.lm.model.config.model_type).matrices)
        return {MatrixId(t.layer, t.matrix): t for t in target_matrices(self.lm.model, wanted)}

    def _gradients(self, roles: str, clusters: int) -> DirectionGradients:
        return direction_gradients(self.session, self.calibration, clusters, self.targets(roles), self.cache, Silent())

    def measured(self, weights: Sequence[tuple[Any, torch.Tensor]] = ()) -> Evaluation:
        """The model with these weights replaced, on the held-out rows."""
        with ExitStack() as replaced:
            for target, weight in weights:
                replaced.enter_context(self.session.replaced_weight(target, weight))
            return completed(self.test.evaluate())

    def of_scales(self, way: Way, scales: Mapping[Direction, float]) -> Evaluation:
        """The model with these factors."""
        name = Step(len(scales), way.drop)
        trials = DirectionTrials(self.targets(way.roles), self.gradients(way.roles, way.clusters), {name: scales})
        (trial,) = trials.trials([name])
        return self.measured(trial.weights)

    def run(self, way: Way) -> Iterator[tuple[int, float, Evaluation]]:
        """(steps or epochs done, seconds so far, the held-out result) of one way."""
        if way.how == "gradient":
            yield 1, 0.0, self.measured(self.gradient_step(way))
            return
        gradients = self.gradients(way.roles, way.clusters)
        if way.how == "random":
            chosen = random_directions(gradients, way.count, self.seed)
        else:
            chosen = chosen_directions(relative(gradients) if way.relative else gradients, way.count)
        if way.how == "fit":
            yield from self.fitted(way, chosen)
        elif way.how == "steps":
            yield from self.several_steps(way, chosen)
        else:
            if way.relative:
                scales = relative_scales(relative(gradients), chosen, way.drop)
            else:
                scales = step_scales(gradients, chosen, way.drop)
            if way.how == "opposite":
                scales = {one: 2 - factor for one, factor in scales.items()}
            yield 1, 0.0, self.of_scales(way, scales)

    def fit(self, way: Way, chosen: Sequence[Direction]) -> ScaleFit:
        """One that is about to begin."""
        kind = LogFit if way.log_scale else ScaleFit
        gradients, settings = self.gradients(way.roles, way.clusters), FitSettings(rate=way.rate)
        targets, rows = self.targets(way.roles), self.calibration.gold
        return kind(self.session, targets, gradients, chosen, rows, settings, self.seed)

    def fitted(self, way: Way, chosen: Sequence[Direction]) -> Iterator[tuple[int, float, Evaluation]]:
        """A fit, after some of its epochs. With a decay, each epoch also draws the factors toward 1."""
        fit, seconds = self.fit(way, chosen), 0.0
        for epoch in range(1, max(EPOCHS) + 1):
            start = time.perf_counter()
            fit.run_epoch()
            seconds += time.perf_counter() - start
            with torch.no_grad():
                fit.p *= 1 - way.decay
            fit.show_factors()
            if epoch in EPOCHS:
                yield epoch, seconds, self.of_scales(way, fit.scales())

    def several_steps(self, way: Way, chosen: Sequence[Direction]) -> Iterator[tuple[int, float, Evaluation]]:
        """Steps on the same directions, each with gradients and loss of the model as it stands."""
        fit, rows = self.fit(way, chosen), self.calibration.gold
        for step in range(1, 6):
            slopes = fit.gradient(rows)  # by p, σ g
            g = slopes / fit.sigma
            eta = way.drop * math.fsum(fit.losses(rows)) / len(rows) / float(g.square().sum())
            with torch.no_grad():
                fit.p -= eta * g / fit.sigma
            fit.show_factors()
            if step in (2, 3, 5):
                yield step, 0.0, self.of_scales(way, fit.scales())

    def gradient_step(self, way: Way) -> list[tuple[Any, torch.Tensor]]:
        """W − η G_r of every matrix: G_r the best rank-r part of its gradient, LoRA-One's first step."""
        targets = list(self.targets(way.roles).values())
        parts = []
        for target, whole in zip(targets, self.whole_gradients(way.roles), strict=True):
            U, sigma, V = torch.linalg.svd(whole.to(target.weight.device).double(), full_matrices=False)
            parts.append((U[:, : way.count] * sigma[: way.count]) @ V[: way.count])
        total = sum(float(part.square().sum()) for part in parts)
        eta = way.drop * self.gradients(way.roles, 1).loss / total
        return [
            (target, (target.weight.double() - eta * part).to(target.weight.dtype))
            for target, part in zip(targets, parts, strict=True)
        ]

    def whole_gradients(self, roles: str) -> list[torch.Tensor]:
        """G of every matrix."""
        from cti_edits.replay.gradients import loss_gradients

        return list(loss_gradients(self.lm, list(self.targets(roles).values()), self.calibration.gold, 10))


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", default="qa_wikidata")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=500, help="held-out rows")
    parser.add_argument("--samples", type=int, default=100, help="calibration rows")
    parser.add_argument("--only", default="", help="ways of this kind alone, such as fit")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lines = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    done = {json.dumps(line["way"]) for line in lines}
    lm = EditedLM.for_checkpoint(pretrained=options.model, dtype="float32", batch_size=16)
    study = Options(lm, options.task, options.seed, options.rows, options.samples)
    for way in ways():
        if json.dumps(vars(way)) in done or options.only not in way.how:
            continue
        for stage, seconds, result in study.run(way):
            line = {"task": options.task, "seed": options.seed, "way": vars(way), "stage": stage, "seconds": seconds}
            line |= {"n": len(result.correct), "accuracy": result.accuracy, "nll": result.nll}
            with options.output.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
