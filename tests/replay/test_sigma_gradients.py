from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.linalg.lowrank import BlockDecomposition, decompose
from cti_edits.linalg.spectrum import sigma_gradients
from cti_edits.models.apply import TargetMatrix, target_matrices, target_matrix
from cti_edits.replay import sigma_gradients as module
from cti_edits.replay.gradients import loss_gradients
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.sigma_gradients import Gradients, SingularVectors, loss_sigma_gradients
from tests.support.small_searches import OUT_OF_MEMORY, failing, lm_of
from tests.support.tiny_models import EVERY, MASKED, byte_tokenizer, tiny_model

REQUESTS = (
    GoldRequest(3, "Is the claim that water is wet true or false? The claim is", " true"),
    GoldRequest(5, "Yes", " no"),
    GoldRequest(8, "", " maybe"),
    GoldRequest(9, "The capital of France is ", "Paris, of course"),
    GoldRequest(17, "Yes", " no"),
    GoldRequest(20, "Is the claim that water is dry true or false? The claim is", " false"),
)
CLUSTERS = (1, 3, 5)


def requests_for(model_type: str) -> list[GoldRequest]:
    if model_type not in MASKED:
        return list(REQUESTS)
    return [GoldRequest(r.doc_id, f"{r.context} <mask>", r.continuation) for r in REQUESTS]


def decompositions(targets: Sequence[TargetMatrix], clusters: Sequence[int]) -> list[list[list[BlockDecomposition]]]:
    return [[list(decompose(target.weight.double(), number)) for number in clusters] for target in targets]


def directions_of(blocks: Sequence[Sequence[Sequence[BlockDecomposition]]]) -> list[list[list[SingularVectors]]]:
    return [[[SingularVectors(block.U, block.Vh.mT) for block in way] for way in ways] for ways in blocks]


def expected_of(lm: Any, targets: list[TargetMatrix], requests: list[GoldRequest], blocks: Any) -> Gradients:
    """diag(UᵀGV) of autograd's G."""
    gradients = loss_gradients(lm, targets, requests, 3)
    return [
        [sigma_gradients(way, gradient.double()) for way in ways]
        for ways, gradient in zip(blocks, gradients, strict=True)
    ]


def assert_close(ours: Gradients, theirs: Gradients, close: float) -> None:
    for our_ways, their_ways in zip(ours, theirs, strict=True):
        for our_blocks, their_blocks in zip(our_ways, their_ways, strict=True):
            scale = max(float(g.abs().max()) for g in their_blocks)
            assert scale > 0
            for a, b in zip(our_blocks, their_blocks, strict=True):
                assert a.dtype == torch.float64
                torch.testing.assert_close(a, b, rtol=close, atol=close * scale)


@pytest.mark.parametrize("model_type", EVERY)
def test_every_family_gives_what_autograd_gives(model_type: str) -> None:
    """48 and 32 rows in 3 and 5 blocks, which do not divide them."""
    lm = lm_of(model_type)
    targets = list(target_matrices(lm.model, ("U_in", "U_out", "W_o")))
    requests = requests_for(model_type)
    blocks = decompositions(targets, CLUSTERS)
    expected = expected_of(lm, targets, requests, blocks)
    steps: list[int] = []
    found = loss_sigma_gradients(lm, targets, directions_of(blocks), requests, steps.append, rows=2)
    assert_close(found, expected, 2e-4)
    assert sum(steps) == len(requests)


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("model_type", ["gpt2", "opt", "roberta"])
def test_in_float64_to_all_digits(model_type: str, rows: int) -> None:
    """The matrices of gpt2 are stored the other way round."""
    lm = lm_of(model_type, tiny_model(model_type).double(), dtype="float64")
    targets = [
        target_matrix(lm.model, "U_in", 1),
        target_matrix(lm.model, "W_o", 2),
        target_matrix(lm.model, "U_out", 1),
    ]
    requests = requests_for(model_type)
    blocks = decompositions(targets, (1, 7))
    expected = expected_of(lm, targets, requests, blocks)
    found = loss_sigma_gradients(lm, targets, directions_of(blocks), requests, rows=rows)
    assert_close(found, expected, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision(dtype: torch.dtype) -> None:
    lm = lm_of("gptj", tiny_model("gptj", spread=0.1).to(dtype), dtype=str(dtype).removeprefix("torch."))
    targets = [target_matrix(lm.model, "U_in", 1)]
    blocks = decompositions(targets, (2,))
    expected = expected_of(lm, targets, list(REQUESTS), blocks)
    found = loss_sigma_gradients(lm, targets, directions_of(blocks), REQUESTS)
    assert_close(found, expected, 0.1)


def test_padding_contributes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever token stands there: its embedding is huge, and the result has the same bits."""
    monkeypatch.setattr(module, "BatchSize", functools.partial(BatchSize, row_tokens=20))
    found = []
    for value in (1.0, 1e6):
        lm = lm_of("gptj")
        assert 0 not in byte_tokenizer().encode("".join(r.context + r.continuation for r in REQUESTS))
        with torch.no_grad():
            lm.model.transformer.wte.weight[0] = value
        targets = list(target_matrices(lm.model, ("U_in", "U_out")))
        found.append(loss_sigma_gradients(lm, targets, directions_of(decompositions(targets, (2,))), REQUESTS, rows=8))
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_a_model_that_cannot_be_given_packed_rows() -> None:
    """One that looks at a window of its own, shorter than the prompts."""
    lm = lm_of("mistral", tiny_model("mistral", sliding_window=6))
    targets = list(target_matrices(lm.model, ("U_in", "U_out")))
    blocks = decompositions(targets, (1, 3))
    expected = expected_of(lm, targets, list(REQUESTS), blocks)
    steps: list[int] = []
    found = loss_sigma_gradients(lm, targets, directions_of(blocks), REQUESTS, steps.append, rows=2)
    assert_close(found, expected, 1e-6)
    assert steps == [2, 2, 2]
    lm.model.model.layers[1].register_full_backward_pre_hook(lambda _, g: tuple(one * torch.nan for one in g))
    with pytest.raises(EditError, match=r"^model\.layers\.[01]\.mlp\.\S+: the gradient of the loss is not finite; a"):
        loss_sigma_gradients(lm, targets, directions_of(blocks), REQUESTS, rows=2)


@pytest.mark.parametrize(("model_type", "close"), [("t5", 1e-4), ("bart", 1e-9)])
def test_both_stacks_of_an_encoder_decoder_in_one_pass(model_type: str, close: float) -> None:
    """T5's norms are computed in float32, whatever the model's dtype."""
    lm = lm_of(model_type, tiny_model(model_type).double(), dtype="float64")
    targets = [*target_matrices(lm.model, ("U_in", "U_out")), target_matrix(lm.model, "W_crossk", 1, "decoder")]
    assert [target.stack for target in targets].count("encoder") in (4, 6)
    blocks = decompositions(targets, (1, 3))
    steps: list[int] = []
    found = loss_sigma_gradients(lm, targets, directions_of(blocks), REQUESTS, steps.append)
    assert sum(steps) == len(REQUESTS)
    losses = []
    for request in REQUESTS:
        # A blank at its end belongs to the answer.
        answer = byte_tokenizer().encode(" " * request.context.endswith(" ") + request.continuation)
        context = lm.tok_encode(request.context.rstrip()) if request.context else [1]
        given = [lm.model.config.decoder_start_token_id, *answer[:-1]]
        logits = lm.model(input_ids=torch.tensor([context]), decoder_input_ids=torch.tensor([given])).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(answer)))
    gradients = torch.autograd.grad(torch.stack(losses).mean(), [target.parameter for target in targets])
    expected: Gradients = [
        [sigma_gradients(way, gradient) for way in ways] for ways, gradient in zip(blocks, gradients, strict=True)
    ]
    assert_close(found, expected, close)


# Exhausted memory.


def small(model_type: str = "gptj") -> tuple[Any, list[TargetMatrix], list[list[list[SingularVectors]]], Gradients]:
    lm = lm_of(model_type)
    targets = list(target_matrices(lm.model, ("U_in", "U_out")))
    blocks = decompositions(targets, (1, 3))
    return lm, targets, directions_of(blocks), expected_of(lm, targets, list(REQUESTS), blocks)


@pytest.mark.parametrize("limit", [130, 90])
def test_rows_are_halved_and_then_shortened(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BatchSize", functools.partial(BatchSize, row_tokens=128))
    lm, targets, directions, expected = small()
    sizes: list[int] = []

    def fails(tokens: Any) -> bool:
        sizes.append(tokens.numel())
        return bool(tokens.numel() > limit)

    lm.model.forward = failing(lm.model.forward, fails)
    steps: list[int] = []
    assert_close(loss_sigma_gradients(lm, targets, directions, REQUESTS, steps.append, rows=8), expected, 2e-4)
    assert any(size > limit for size in sizes)
    assert sum(steps) == len(REQUESTS)


class Exhausted(torch.autograd.Function):
    """Fails in the backward pass, as long as it is told to."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, fails: Callable[[], bool]) -> torch.Tensor:
        ctx.fails = fails
        return hidden.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        if ctx.fails():
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return gradient, None


@pytest.mark.parametrize("model_type", ["gptj", "llama", "opt", "roberta", "distilbert"])
def test_activations_are_computed_twice_at_last(model_type: str) -> None:
    """Memory that suffices only where the blocks run again in the backward pass."""
    lm = lm_of(model_type)
    requests = requests_for(model_type)
    targets = list(target_matrices(lm.model, ("U_in", "U_out")))
    blocks = decompositions(targets, (2,))
    expected = expected_of(lm, targets, requests, blocks)
    again: list[int] = []
    used: list[bool] = []
    inner = lm.model.get_submodule(targets[0].module)
    plain = inner.forward

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        again.append(hidden.shape[0])
        count = len(again)

        def fails() -> bool:
            used.append(len(again) > count)
            return not used[-1]

        result: torch.Tensor = Exhausted.apply(plain(hidden), fails)  # type: ignore[no-untyped-call]
        return result

    inner.forward = counted
    found = loss_sigma_gradients(lm, targets, directions_of(blocks), requests)
    assert_close(found, expected, 2e-4)
    assert not used[0]
    assert used[-1]


def test_a_single_example_that_does_not_fit() -> None:
    lm, targets, directions, _ = small()
    lm.model.forward = failing(lm.model.forward, lambda tokens: tokens.numel() > 1)
    with pytest.raises(EditError) as caught:
        loss_sigma_gradients(lm, targets, directions, REQUESTS, rows=4)
    assert str(caught.value).startswith("the memory of cpu does not hold the gradients of row ")
    assert "a narrower dtype" in str(caught.value)


def test_equal_examples_of_one_token_end_too() -> None:
    """They share a row of one token, however short rows are."""
    lm, targets, directions, _ = small()
    lm.model.forward = failing(lm.model.forward, lambda tokens: bool((tokens != 0).any()))
    requests = [GoldRequest(1, "", "a"), GoldRequest(2, "", "a")]
    with pytest.raises(EditError, match="does not hold the gradients of row 1"):
        loss_sigma_gradients(lm, targets, directions, requests)


# What is not finite.


def test_an_infinite_weight_names_the_row() -> None:
    lm, targets, directions, _ = small()
    with torch.no_grad():
        lm.model.transformer.wte.weight[byte_tokenizer().encode("P")[0]] = float("inf")
    with pytest.raises(EditError, match=r"^the loss of the unedited model on row 9 is nan; a wider dtype"):
        loss_sigma_gradients(lm, targets, directions, REQUESTS)


class Broken(torch.autograd.Function):
    """Its gradient is not finite for one token."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        ctx.at = at
        return hidden.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return torch.where(ctx.at[..., None], torch.inf, gradient), None


def test_a_gradient_that_is_not_finite_names_matrix_and_row() -> None:
    lm, targets, directions, _ = small()
    wanted = byte_tokenizer().encode("P")[0]
    seen: list[torch.Tensor] = []
    lm.model.register_forward_pre_hook(lambda _, __, named: seen.append(named["input_ids"]), with_kwargs=True)
    block = lm.model.transformer.h[1]
    plain = block.forward

    def forward(hidden: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        if hidden.requires_grad:
            hidden = Broken.apply(hidden, seen[-1] == wanted)  # type: ignore[no-untyped-call]
        return plain(hidden, *arguments, **named)

    block.forward = forward
    former = left_behind(lm.model)
    with pytest.raises(EditError) as caught:
        loss_sigma_gradients(lm, targets, directions, REQUESTS)
    assert str(caught.value) == (
        f"{targets[1].module}: the gradient of the loss is not finite on row 9; a wider dtype (dtype=float32) may help"
    )
    assert left_behind(lm.model) == former


def test_a_product_that_overflows_names_the_matrix() -> None:
    """Each factor is finite."""
    lm, targets, directions, _ = small()
    wide = [[[SingularVectors(d.U * 1e30, d.V * 1e30) for d in way] for way in ways] for ways in directions]
    with pytest.raises(EditError, match=r"^transformer\.h\.2\.\S+: the gradient of the loss is not finite on row \d+"):
        loss_sigma_gradients(lm, targets, wide, REQUESTS)


# What is left of it.


def left_behind(model: Any) -> list[Any]:
    modules = [
        (name, part.__dict__.get("forward"), len(part._forward_pre_hooks), len(part._forward_hooks))
        for name, part in model.named_modules()
    ]
    return [*modules, *((p.requires_grad, p.grad) for p in model.parameters())]


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool, checkpointed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, targets, directions, expected = small()
    for index, parameter in enumerate(lm.model.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    weights = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    monkeypatch.setattr(module, "BatchSize", functools.partial(BatchSize, frugal=checkpointed))
    seen: list[list[bool]] = []

    def flags(*_: Any) -> None:
        # Passes without gradients look at what a block gives back, and at whether masks are heeded.
        if torch.is_grad_enabled():
            seen.append([p.requires_grad for p in lm.model.parameters()])
            if fails:
                raise ZeroDivisionError

    lm.model.lm_head.register_forward_hook(flags)
    former = left_behind(lm.model)
    with torch.no_grad():
        if fails:
            with pytest.raises(ZeroDivisionError):
                loss_sigma_gradients(lm, targets, directions, REQUESTS)
        else:
            assert_close(loss_sigma_gradients(lm, targets, directions, REQUESTS), expected, 2e-4)
        assert not torch.is_grad_enabled()
    assert left_behind(lm.model) == former
    assert seen
    assert not any(map(any, seen))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in lm.model.state_dict().items())


def test_blocks_before_the_first_target_are_not_in_the_backward_pass() -> None:
    lm = lm_of("gptj")
    targets = [target_matrix(lm.model, "U_in", 2)]
    needed: list[bool] = []
    lm.model.transformer.h[1].register_forward_hook(
        lambda _, __, output: needed.append((output[0] if isinstance(output, tuple) else output).requires_grad)
    )
    loss_sigma_gradients(lm, targets, directions_of(decompositions(targets, (1,))), REQUESTS)
    assert not any(needed)


def test_an_answer_without_tokens_is_refused() -> None:
    lm, targets, directions, _ = small()
    with pytest.raises(EditError, match="row 4: the answer '' has no tokens"):
        loss_sigma_gradients(lm, targets, directions, [GoldRequest(4, "a", "")])
