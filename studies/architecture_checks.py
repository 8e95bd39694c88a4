"""Whether everything works on a type of model: each check is on a tiny random model, against an independent reference.

`check` does them all and says how it went; an AssertionError says what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from cti_edits import api
from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit
from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, draw
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.logit_rounding import CLOSE
from cti_edits.harness.masked_lm import EditedMaskedLM
from cti_edits.harness.own_rows import own_rows, rows_task
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.seq2seq_lm import EditedSeq2SeqLM
from cti_edits.linalg.directions import Directions
from cti_edits.models.apply import applied
from cti_edits.models.architectures import Kind, family_of
from cti_edits.models.identity import checkpoint_of
from cti_edits.models.targets import TargetMatrix, target_matrices
from cti_edits.models.verify import verify
from cti_edits.progress import Silent
from cti_edits.replay.encoder_decoder_evaluator import EncoderDecoderEvaluator
from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import Session, replaced_weight
from cti_edits.replay.sigma_gradients import SingularVectors
from cti_edits.search.candidates import RankCut
from cti_edits.search.direction_trials import matrix_edit as directions_edit
from cti_edits.search.rank_cuts import matrix_edit as rank_cut_edit
from studies.tiny.model import TinyModel
from studies.tiny.tokenizer import byte_tokenizer, save_checkpoint

FAST: Mapping[type[Evaluator], str] = {ReplayEvaluator: "replay", EncoderDecoderEvaluator: "encoder once"}
"""The fast evaluators, and what tables call them."""
CLUSTERS, RHO = 2, 0.3
DIRECTIONS = ((0, 1.5), (2, 0.25))
"""Which singular values of each matrix get which factor."""
STEP = 5e-3
"""How far a singular value is changed for the slope of the loss: so little that tokens stay with their experts."""
ROWS = (
    ("The cow", ("moo", "woof", "baa"), 0),
    ("The dog on the farm", ("moo", "woof", "baa"), 1),
    ("A sheep", ("moo", "woof", "baa"), 2),
    ("Yesterday the old cow", ("moo", "woof", "baa"), 0),
    ("It goes", ("moo", "woof", "baa"), 1),
)


@dataclass(frozen=True)
class Checked:
    """What works on a type of model.

    Attributes:
        model_type: transformers' name.
        kind: of language models.
        group: see `tiny.TinyModel`.
        stacks: the lists of blocks.
        roles: the matrices that were edited.
        experts: how many experts have matrices of their own in a block; 0 where none has.
        evaluator: a value of `FAST`, or "reference".
        reason: why it is the reference.
        seconds: that the checks took.
    """

    model_type: str
    kind: str
    group: str
    stacks: tuple[str, ...]
    roles: tuple[str, ...]
    experts: int
    evaluator: str
    reason: str
    seconds: float


def check(tiny: TinyModel, folder: Path) -> Checked:
    """Every check on one type of model.

    Args:
        tiny: the type.
        folder: an empty one, for checkpoints.

    Raises:
        AssertionError: something is wrong; it says what.
        EditError: something is refused that should not be.
    """
    start = time.perf_counter()
    model = tiny.build()
    targets = one_of_each(model)
    check_applied(model, targets)
    check_exported(tiny, model, folder)
    lm = language_model(tiny, model)
    rows = calibration(masked=tiny.kind == "masked")
    check_batches(lm, rows)
    check_gradients(lm, targets, rows)
    evaluator, reason = check_evaluators(lm, targets, rows)
    family = family_of(tiny.model_type)
    return Checked(
        tiny.model_type,
        tiny.kind,
        tiny.group,
        tuple(name or "one" for name in family.stack_names),
        tuple(dict.fromkeys(target.matrix for target in targets)),
        max((target.experts for target in targets if target.expert is not None), default=0),
        evaluator,
        reason,
        time.perf_counter() - start,
    )


def one_of_each(model: Any) -> list[TargetMatrix]:
    """For each role of each stack the last layer's matrix, and the last expert's of the last layer that has some."""
    family = family_of(model.config.model_type)
    roles = tuple(dict.fromkeys(role for stack in family.stacks.values() for role in stack.matrices))
    there = [role for role in roles if _has(model, role)]
    found = {(target.stack, target.matrix, target.experts): target for target in target_matrices(model, tuple(there))}
    assert {"U_in", "U_out"} <= set(there), f"expected an MLP, found {there}"
    return list(found.values())


def _has(model: Any, role: str) -> bool:
    try:
        return bool(target_matrices(model, (role,)))
    except EditError as error:
        if f"no layer of the model has {role} " in str(error):
            return False
        raise


def edits_of(target: TargetMatrix, checkpoint: Any = None) -> Iterator[MatrixEdit]:
    """A rank cut, and two directions, of one matrix."""
    yield rank_cut_edit(target, RankCut(target.id, CLUSTERS, RHO), ROW_BLOCKS, checkpoint)
    sigma = np.linalg.svd(target.weight.double().numpy(), compute_uv=False)
    index = [one for one, _ in DIRECTIONS]
    chosen = Directions(index, [scale for _, scale in DIRECTIONS], [float(sigma[one]) for one in index])
    yield directions_edit(target, [chosen], checkpoint)


def reference_weight(weight: np.ndarray[Any, Any], one: MatrixEdit) -> np.ndarray[Any, Any]:
    """Ŵ by numpy's decomposition in float64."""
    if isinstance(one, BlockSvdEdit):
        blocks = []
        for block, rank in zip(np.array_split(weight, one.clusters), one.block_ranks, strict=True):
            u, s, v = np.linalg.svd(block, full_matrices=False)
            blocks.append((u[:, :rank] * s[:rank]) @ v[:rank])
        return np.concatenate(blocks)
    assert isinstance(one, DirectionsEdit)
    u, s, v = np.linalg.svd(weight, full_matrices=False)
    s[list(one.index)] *= one.scale
    edited: np.ndarray[Any, Any] = (u * s) @ v
    return edited


def edit_of(model: Any, *edits: MatrixEdit, base: str = "studies/tiny") -> Edit:
    """An edit of ``model``."""
    return Edit("tiny", "", BaseModel(base, None, type(model).__name__, "float32"), edits)


def check_applied(model: Any, targets: Sequence[TargetMatrix]) -> None:
    """Ŵ is numpy's; nothing else changes; afterwards every bit is as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for target in targets:
        weight = target.weight.double().numpy()
        for one in edits_of(target):
            where = f"{target.module}, {target.matrix}, {one.method}"
            with applied(edit_of(model, one), model):
                error = np.abs(target.weight.double().numpy() - reference_weight(weight, one)).max()
                assert error <= 1e-6 * max(1.0, np.abs(weight).max()), f"{where}: Ŵ is {error:.2g} from numpy's"
                changed = target.weight.clone()
                rest = target.parameter.detach().clone()
            assert not torch.equal(changed, target.weight), f"{where}: changes nothing"
            _put_back(target, rest)
            others = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
            assert not others, f"{where}: {others[0]} is not as it was"


def _put_back(target: TargetMatrix, edited: torch.Tensor) -> None:
    """Outside the matrix, the edited parameter has the bits that the unedited one has."""
    whole = target.parameter.detach().clone()
    with torch.no_grad():
        target.parameter.copy_(edited)
        target.put(target.oriented(whole))
        same = torch.equal(target.parameter, whole)
        target.parameter.copy_(whole)
    assert same, f"{target.module}: an edit of {target.matrix} changed other parts of the parameter"


def check_exported(tiny: TinyModel, model: Any, folder: Path) -> None:
    """Save, verify, export, and reload by plain transformers: the logits are those of the edit in memory."""
    base = save_checkpoint(folder / "base", model, tiny.kind == "masked", tiny.kind == "seq2seq")
    loader = getattr(transformers, tiny.model_class)
    loaded = loader.from_pretrained(base).eval()
    assert torch.equal(_logits(tiny, loaded), _logits(tiny, model)), "a reloaded checkpoint gives other logits"
    checkpoint = checkpoint_of(loaded)
    edits = [list(edits_of(target, checkpoint))[number % 2] for number, target in enumerate(one_of_each(loaded))]
    edit = edit_of(loaded, *edits, base=str(base))
    assert checkpoint is not None
    wrong = [one for one in verify(edit, checkpoint) if one.verdict != "ok"]
    assert not wrong, f"{wrong[0].matrix_edit.module}: {wrong[0].why}"
    with applied(edit, loaded) as in_force:
        assert in_force.verified
        logits = _logits(tiny, loaded)
    api.export(edit, folder / "export")
    assert torch.equal(_logits(tiny, loader.from_pretrained(folder / "export").eval()), logits), (
        "the export gives other logits than the edit in memory"
    )
    assert not torch.equal(logits, _logits(tiny, model)), "the edit changes no logit"


def _logits(tiny: TinyModel, model: Any) -> torch.Tensor:
    tokens = torch.arange(5, 25)[None]
    more = {"decoder_input_ids": tokens[:, :6]} if tiny.kind == "seq2seq" else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=tokens, **more).logits
    return logits


def language_model(tiny: TinyModel, model: Any) -> EditedHFLM:
    """lm-eval's model of a tiny one."""
    classes: dict[Kind, type[EditedHFLM]] = {"causal": EditedLM, "masked": EditedMaskedLM, "seq2seq": EditedSeq2SeqLM}
    wrapped = classes[tiny.kind]
    tokenizer = byte_tokenizer(tiny.kind == "masked", tiny.kind == "seq2seq")
    lm: EditedHFLM = wrapped(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=4)
    return lm


def calibration(masked: bool) -> CalibrationSet:
    """Five rows with three choices."""
    mask = " says <mask>" if masked else " says"
    rows = [{"prompt": text + mask, "choices": list(choices), "gold": gold} for text, choices, gold in ROWS]
    return draw(rows_task("tiny", own_rows(rows)), len(rows), 0)


def check_batches(lm: EditedHFLM, rows: CalibrationSet) -> None:
    """An answer is as likely beside longer ones, where its text is padded, as alone."""
    with torch.no_grad():
        together = lm.answer_losses(rows.gold)
        alone = torch.cat([lm.answer_losses([request]) for request in rows.gold])
    error = float((together - alone).abs().max())
    assert error <= CLOSE, f"the loss of an answer depends on what else is in its batch (by {error:.2g})"


def check_gradients(lm: EditedHFLM, targets: Sequence[TargetMatrix], rows: CalibrationSet) -> None:
    """σ-gradients are uᵀ G v with autograd's G; the largest of U_out is the slope of the loss, too."""
    vectors, expected = [], []
    for target in targets:
        u, _, v = torch.linalg.svd(target.weight.double(), full_matrices=False)
        vectors.append([[SingularVectors(u.float(), v.mT.contiguous().float())]])
    required = [target.parameter.requires_grad for target in targets]
    for target in targets:
        target.parameter.requires_grad_(True)
    with torch.enable_grad():
        loss = lm.answer_losses(rows.gold).mean()
        wholes = torch.autograd.grad(loss, [target.parameter for target in targets])
    for target, needed in zip(targets, required, strict=True):
        target.parameter.requires_grad_(needed)
    for target, whole, ((block,),) in zip(targets, wholes, vectors, strict=True):
        G = target.oriented(whole).double()
        expected.append((block.U.double() * (G @ block.V.double())).sum(dim=0))
    with Session(lm) as session:
        found = session.sigma_gradients(targets, vectors, rows.gold)
    for target, ((ours,),), theirs in zip(targets, found, expected, strict=True):
        scale = float(theirs.abs().max())
        assert scale > 0, f"{target.module}: the loss does not depend on {target.matrix}"
        error = float((ours - theirs).abs().max()) / scale
        assert error < 1e-3, f"{target.module}: σ-gradients of {target.matrix} are {error:.2g} from autograd's"
    last = max(index for index, target in enumerate(targets) if target.matrix == "U_out")
    check_slope(lm, targets[last], vectors[last][0][0], found[last][0][0], rows)


def check_slope(
    lm: EditedHFLM, target: TargetMatrix, vectors: SingularVectors, found: torch.Tensor, rows: CalibrationSet
) -> None:
    """Along the singular direction with the largest gradient, the loss goes up and down as the gradient says."""
    index = int(found.abs().argmax())
    direction = torch.outer(vectors.U[:, index], vectors.V[:, index]).to(target.weight.dtype)
    losses = []
    for step in (STEP, -STEP):
        with torch.no_grad(), replaced_weight(target, target.weight + step * direction):
            losses.append(float(lm.answer_losses(rows.gold).mean()))
    slope = (losses[0] - losses[1]) / (2 * STEP)
    expected = float(found[index])
    assert abs(slope - expected) < 0.02 * abs(expected) + 1e-4, (
        f"{target.module}: the loss changes by {slope:.4g} a unit of a singular value, its gradient is {expected:.4g}"
    )


class _Notes(Silent):
    """Keeps why the reference evaluator takes over."""

    reason = ""

    def note(self, what: str) -> None:
        """See `Progress.note`."""
        self.reason = what.partition(": ")[2]


def check_evaluators(lm: EditedHFLM, targets: Sequence[TargetMatrix], rows: CalibrationSet) -> tuple[str, str]:
    """The fast evaluator gives what the reference one gives, example by example; its name, and why it is not used."""
    reference, notes = ReferenceEvaluator(lm, rows), _Notes()
    with Session(lm, progress=notes) as session:
        fast = session.evaluator(rows)
        if isinstance(fast, ReferenceEvaluator):
            return "reference", notes.reason
        _assert_same(fast.evaluate(), reference.evaluate(), "unedited")
        for target in targets:
            if target.matrix not in ("U_in", "U_out", "W_v", "W_o"):
                continue
            with session.replaced_weight(target, target.weight * 0.5):
                _assert_same(fast.evaluate(target.layer), reference.evaluate(), f"{target.module} halved")
    return FAST[type(fast)], ""


def _assert_same(ours: Evaluation | None, theirs: Evaluation | None, where: str) -> None:
    assert ours is not None
    assert theirs is not None
    assert ours.predicted == theirs.predicted, f"{where}: the fast evaluator predicts something else"
    assert ours.correct == theirs.correct, where
    assert abs(ours.nll - theirs.nll) <= 1e-5 + 2e-5 * abs(theirs.nll), f"{where}: NLL {ours.nll}, not {theirs.nll}"
