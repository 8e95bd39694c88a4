"""What the devices are tried on, the pieces of work that are compared, and how a device is switched off."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CLUSTERS = (1, 2, 4, 8, 16)

Replacement = Callable[[], contextlib.AbstractContextManager[object]]
"""Switches a device off, for as long as it is open."""


@dataclass(frozen=True)
class Comparison:
    """A piece of work, done in several ways.

    Attributes:
        work: what the seconds of its parts are added up for.
        part: which part of that.
        ways: by name; the first is the one with the device.
        same: whether two ways gave the same.
        detail: more to say of what a way gave than how long it took.
        once: whether it takes so long that it is done once.
    """

    work: str
    part: str
    ways: Mapping[str, Callable[[], Any]]
    same: Callable[[Any, Any], bool]
    detail: Callable[[Any], str] | None = None
    once: bool = False


def seconds_text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


@contextlib.contextmanager
def replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    """Inside, ``owner`` has something else under this name."""
    former = owner.__dict__[name]
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, former)


@contextlib.contextmanager
def together(*replacements: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for replacement in replacements:
            stack.enter_context(replacement)
        yield


def nothing(*_: object, **__: object) -> contextlib.AbstractContextManager[None]:
    """In the place of a context manager that changes how something runs."""
    return contextlib.nullcontext()


def ran(replacement: Replacement, function: Callable[..., Any], *arguments: Any) -> Any:
    with replacement():
        return function(*arguments)


class Work:
    """What the devices are tried on, made when it is asked for."""

    def __init__(self, options: argparse.Namespace, lm: Any) -> None:
        self.options = options
        self.lm = lm
        self.tasks: list[str] = options.tasks.split(",")
        self.written: list[str] = options.written.split(",")

    @functools.cached_property
    def targets(self) -> Any:
        from cti_edits.models.apply import target_matrices
        from cti_edits.search.candidates import MatrixId

        return {MatrixId(t.layer, t.matrix): t for t in target_matrices(self.lm.model, ("U_in", "U_out"))}

    @functools.cached_property
    def weights(self) -> Any:
        from cti_edits.linalg.spectrum_cache import SpectrumCache
        from cti_edits.search.edited_weights import EditedWeights

        return EditedWeights(self.targets, SpectrumCache())

    @functools.cache  # noqa: B019
    def calibration(self, task: str) -> Any:
        from cti_edits.harness.calibration import draw
        from cti_edits.harness.tasks import load_task

        return draw(load_task(task, self.options.include_path), self.options.samples, seed=0)

    @functools.cached_property
    def directions(self) -> Any:
        """The singular vectors of the tails of every matrix at every K."""
        return self.triplets.vectors

    @functools.cached_property
    def triplets(self) -> Any:
        """The same, with the singular values."""
        return self.tail_triplets(None)

    def tail_directions(self, folder: Path | None) -> Any:
        """The singular vectors, with decompositions from and into this folder."""
        return self.tail_triplets(folder).vectors

    def tail_triplets(self, folder: Path | None) -> Any:
        """The same, with the singular values."""
        from cti_edits.linalg.spectrum_cache import SpectrumCache
        from cti_edits.progress import Silent
        from cti_edits.search.gradients import last_triplets

        return last_triplets(CLUSTERS, self.targets, SpectrumCache(folder), Silent())

    @property
    def layers(self) -> list[int]:
        """The first, a middle and the last."""
        depth = 1 + max(one.layer for one in self.targets)
        return sorted({0, depth // 2, depth - 1})

    def chosen(self) -> list[Any]:
        """A matrix of each of these layers, U_in and U_out by turns."""
        from cti_edits.search.candidates import MatrixId

        return [
            MatrixId(layer, role) for layer, role in zip(self.layers, itertools.cycle(("U_in", "U_out")), strict=False)
        ]

    def demo_weights(self) -> list[tuple[str, torch.Tensor]]:
        """The weights of the matrices that are chosen."""
        return [(f"{one.matrix} of layer {one.layer}", self.targets[one].weight) for one in self.chosen()]

    @functools.cached_property
    def big_weight(self) -> torch.Tensor:
        from benchmarks.decompositions import random_weight

        return random_weight(self.options.rows, self.options.columns)

    @property
    def big(self) -> str:
        return f"{self.options.rows} x {self.options.columns} float16"
