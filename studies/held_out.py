"""Searches, and what they are compared with, on rows that none of them saw: one line of JSON for each system.

    python -m studies.held_out --model CHECKPOINT --tasks qa_wikidata,counterfact --seeds 0,1,2 --output FILE

Systems: base, sigma-step, opposite (the same step with the other sign), random (a step on as many directions drawn at
random), sigma-fit, lora (rank 8, all roles, learning rate and epochs chosen by the folds of sigma-fit), a preset of
rank cuts such as cl-100g-100e, or any preset with another selector, sigma-step+one-standard-error. All have the same
calibration rows, and all are measured on the same held-out rows. A line that is in FILE already is not measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from cti_edits.harness.calibration import CalibrationSet, draw, final_part
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import applied, target_matrices
from cti_edits.progress import Silent
from cti_edits.replay.session import Session
from cti_edits.search.candidates import MatrixId
from cti_edits.search.cross_validation import folds_of
from cti_edits.search.direction_gradients import direction_gradients
from cti_edits.search.direction_trials import DirectionTrials, Step
from cti_edits.search.directions import Direction, chosen_directions, random_directions, step_scales
from cti_edits.search.evaluate import completed, evaluate
from cti_edits.search.presets import find_preset
from cti_edits.search.runner import run_search
from cti_edits.search.settings import DROPS
from cti_edits.stats import mcnemar_p_value, paired_interval

LORA_RATES = (3e-4, 1e-3)
LORA_EPOCHS = 4
HELD_OUT_SEED = 123


def held_out_rows(full: CalibrationSet, count: int) -> CalibrationSet:
    """So many rows of a test part, drawn at random with a fixed seed; all of them if there are fewer."""
    ids = sorted(random.Random(HELD_OUT_SEED).sample(full.doc_ids, min(count, len(full.doc_ids))))
    places = {doc_id: place for place, doc_id in enumerate(full.doc_ids)}

    def those(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[places[doc_id]] for doc_id in ids)

    return dataclasses.replace(
        full,
        doc_ids=tuple(ids),
        gold=those(full.gold),
        gold_index=those(full.gold_index),
        row_hashes=those(full.row_hashes),
        prompt_hashes=those(full.prompt_hashes),
    )


class Study:
    """One task and seed on one model."""

    def __init__(self, lm: EditedLM, task: str, seed: int, rows: int, samples: int) -> None:
        loaded = load_task(task)
        self.lm, self.seed = lm, seed
        self.calibration = draw(loaded, samples, seed)
        self.test = held_out_rows(final_part(loaded), rows)
        self.targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, ("U_in", "U_out"))}

    def measured(self) -> Evaluation:
        """The model as it stands, on the held-out rows."""
        with Session(self.lm) as session:
            return completed(session.evaluator(self.test).evaluate())

    def preset(self, name: str) -> tuple[dict[str, Any], Callable[[], Evaluation]]:
        """What a search with a preset, or PRESET+SELECTOR, found, and how it does on the held-out rows."""
        preset, _, selector = name.partition("+")
        settings = dataclasses.replace(find_preset(preset).settings(self.lm.kind), seed=self.seed)
        settings = dataclasses.replace(settings, selector=selector or settings.selector)
        start = time.perf_counter()
        result = run_search(self.lm, self.calibration, settings, "study", "base", Silent())
        seconds = time.perf_counter() - start

        def measure() -> Evaluation:
            with applied(result.edit, self.lm.model):
                return self.measured()

        size = len(json.dumps(result.edit.to_json(), separators=(",", ":")))
        found = {
            "found": str(result.best.candidate or "no edit"),
            "calibration": result.best.accuracy,
            "seconds": seconds,
        }
        return {**found, "bytes": size, "matrices": len(result.edit.edits)}, measure

    def steps(self, how: str) -> tuple[dict[str, Any], Callable[[], Evaluation]]:
        """The best step of a control: the other sign, or directions drawn at random."""
        settings = find_preset("sigma-step").settings(self.lm.kind)
        with Session(self.lm) as session:
            gradients = direction_gradients(session, self.calibration, 1, self.targets, SpectrumCache(), Silent())
            found: dict[Any, dict[Direction, float]] = {}
            for count in settings.directions:
                if how == "random":
                    chosen = random_directions(gradients, count, self.seed)
                else:
                    chosen = chosen_directions(gradients, count)
                for drop in DROPS:
                    scales = step_scales(gradients, chosen, drop)
                    found[Step(count, drop)] = scales if how == "random" else {one: 2 - s for one, s in scales.items()}
            trials = DirectionTrials(self.targets, gradients, found)
            evaluated = evaluate(session, session.evaluator(self.calibration), trials, False, Silent())
        best = max(evaluated.outcomes, key=lambda outcome: (outcome.accuracy, -outcome.nll))
        assert best.candidate is not None
        (trial,) = trials.trials([best.candidate])

        def measure() -> Evaluation:
            with Session(self.lm) as session, contextlib.ExitStack() as replaced:
                evaluator = session.evaluator(self.test)
                for target, weight in trial.weights:
                    replaced.enter_context(session.replaced_weight(target, weight))
                return completed(evaluator.evaluate())

        return {"found": str(best.candidate), "calibration": best.accuracy}, measure

    def lora(self) -> tuple[dict[str, Any], Callable[[], Evaluation]]:
        """LoRA of rank 8 on all linear layers of the blocks, by peft."""
        gold = self.calibration.gold
        folds = folds_of(len(gold), self.seed)
        start = time.perf_counter()
        losses: dict[tuple[float, int], list[float]] = {}
        for rate in LORA_RATES:
            for held_out in range(len(folds)):
                rows = [row for number, fold in enumerate(folds) if number != held_out for row in fold]
                for epoch, _ in enumerate(self._lora_epochs(rate, rows), start=1):
                    with torch.no_grad():
                        losses.setdefault((rate, epoch), []).extend(
                            loss
                            for at in range(0, len(folds[held_out]), 10)
                            for loss in self.lm.answer_losses([gold[r] for r in folds[held_out][at : at + 10]]).tolist()
                        )
        rate, epochs = min(losses, key=lambda name: sum(losses[name]))

        weights: dict[str, torch.Tensor] = {}
        size = 0
        former = {name: p.detach().clone() for name, p in self.lm.model.named_parameters()}
        for epoch, adapted in enumerate(self._lora_epochs(rate, list(range(len(gold)))), start=1):
            if epoch == epochs:
                size = sum(p.numel() * 4 for p in adapted.parameters() if p.requires_grad)
                adapted.merge_adapter()
                weights = {
                    name.replace("base_model.model.", "").replace(".base_layer", ""): p.detach().clone()
                    for name, p in adapted.named_parameters()
                    if "lora_" not in name
                }
                adapted.unmerge_adapter()
                break
        seconds = time.perf_counter() - start
        self._set(former)

        def measure() -> Evaluation:
            self._set(weights)
            try:
                return self.measured()
            finally:
                self._set(former)

        return {"found": f"rate {rate:g}, {epochs} epochs", "seconds": seconds, "bytes": size}, measure

    def _set(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.lm.model.named_parameters():
                parameter.copy_(weights[name])

    def _lora_epochs(self, rate: float, rows: list[int]) -> Iterator[Any]:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(self.seed)
        config = LoraConfig(
            r=8,
            lora_alpha=16,
            lora_dropout=0.0,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        )
        required = [(p, p.requires_grad) for p in self.lm.model.parameters()]
        adapted = get_peft_model(self.lm.model, config)
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=rate)
        order, generator = list(rows), random.Random(self.seed)
        try:
            for _ in range(LORA_EPOCHS):
                generator.shuffle(order)
                for at in range(0, len(order), 10):
                    with torch.enable_grad():
                        batch = [self.calibration.gold[row] for row in order[at : at + 10]]
                        loss = self.lm.answer_losses(batch).mean()
                        optimizer.zero_grad()
                        torch.autograd.backward(loss)
                        optimizer.step()
                yield adapted
        finally:
            adapted.unload()
            for parameter, needed in required:
                parameter.requires_grad_(needed)


def main() -> None:
    """Measure what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", default="qa_wikidata,counterfact")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--systems", default="base,sigma-step,sigma-fit,random,opposite,lora")
    parser.add_argument("--rows", type=int, default=1000, help="held-out rows")
    parser.add_argument("--samples", type=int, default=100, help="calibration rows")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lines = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    done = {(one["task"], one["seed"], one["system"]): one for one in lines}
    lm = EditedLM.for_checkpoint(pretrained=options.model, dtype="float32", batch_size=16)
    for task in options.tasks.split(","):
        for seed in map(int, options.seeds.split(",")):
            study = None
            for system in options.systems.split(","):
                if (task, seed, system) in done:
                    continue
                study = study or Study(lm, task, seed, options.rows, options.samples)
                line = measured_line(study, task, seed, system, done)
                done[task, seed, system] = line
                with options.output.open("a") as stream:
                    stream.write(json.dumps(line) + "\n")
                print(json.dumps({key: value for key, value in line.items() if key != "correct"}), flush=True)


def measured_line(study: Study, task: str, seed: int, system: str, done: dict[Any, Any]) -> dict[str, Any]:
    """One system, measured."""
    found: dict[str, Any] = {}
    measure: Callable[[], Evaluation] = study.measured
    if system in ("random", "opposite"):
        found, measure = study.steps(system)
    elif system == "lora":
        found, measure = study.lora()
    elif system != "base":
        found, measure = study.preset(system)
    test = measure()
    line = {"task": task, "seed": seed, "system": system, **found, "n": len(test.correct), "accuracy": test.accuracy}
    line |= {"nll": test.nll, "majority": study.test.majority_class}
    base = done.get((task, seed, "base"))
    if base is not None:
        former = tuple(bit == "1" for bit in base["correct"])
        line["p"] = mcnemar_p_value(former, test.correct)
        line["ci95"] = paired_interval(former, test.correct)
    line["correct"] = "".join("1" if one else "0" for one in test.correct)
    return line


if __name__ == "__main__":
    main()
