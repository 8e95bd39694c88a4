from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.lm import EditedLM
from cti_edits.models.apply import target_matrices, target_matrix
from cti_edits.replay.gradients import loss_gradients
from tests.support.tiny_models import byte_tokenizer, tiny_model

# Lengths of contexts and answers differ, and not in the same order.
REQUESTS = (
    GoldRequest(3, "Is the claim that water is wet true or false? The claim is", " true"),
    GoldRequest(5, "Yes", " no"),
    GoldRequest(8, "", " maybe"),
    GoldRequest(9, "The capital of France is ", "Paris, of course"),
    GoldRequest(17, "It is so", "."),
)
PREFIX = 1


def lm_of(model: Any, **arguments: Any) -> Any:
    return EditedLM(pretrained=model, tokenizer=byte_tokenizer(), device="cpu", batch_size=2, **arguments)


def token_ids(request: GoldRequest) -> tuple[list[int], int]:
    """Prefix or context, then the answer; blanks at the context's end belong to the answer, as lm-eval has it."""
    tokenizer = byte_tokenizer()
    context = request.context.rstrip()
    answer = tokenizer.encode(request.context[len(context) :] + request.continuation)
    return (tokenizer.encode(context) or [PREFIX]) + answer, len(answer)


def plain_loss(model: Any, request: GoldRequest, window: int | None = None) -> torch.Tensor:
    """One row, unpadded and alone, through the model's own forward."""
    tokens, answer = token_ids(request)
    tokens = tokens if window is None else tokens[-window:]
    log_probabilities = model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(dim=-1)
    terms = [log_probabilities[place - 1, tokens[place]] for place in range(len(tokens) - answer, len(tokens))]
    return -sum(terms, torch.zeros((), dtype=log_probabilities.dtype)) / answer


def plain_gradients(model: Any, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    loss = sum((plain_loss(model, request) for request in REQUESTS), torch.zeros(())) / len(REQUESTS)
    return list(torch.autograd.grad(loss, list(parameters)))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("model_type", ["gpt2", "opt"])
def test_gradients_are_those_of_a_plainly_written_loss(model_type: str, batch_size: int) -> None:
    model = tiny_model(model_type).double()
    targets = [target_matrix(model, "U_in", 0), target_matrix(model, "W_o", 1), target_matrix(model, "U_out", 2)]
    expected = plain_gradients(model, [target.parameter for target in targets])
    found = loss_gradients(lm_of(model), targets, REQUESTS, batch_size)
    for ours, theirs, target in zip(found, expected, targets, strict=True):
        assert ours.dtype == torch.float64
        assert theirs.abs().max() > 1e-4
        torch.testing.assert_close(ours, target.oriented(theirs), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("model_type", ["gptj", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gpt_neox", "phi"])
def test_gradients_of_the_other_causal_families(model_type: str) -> None:
    """In float32: some of these families compute parts of a float64 model in float32 anyway."""
    model = tiny_model(model_type)
    targets = target_matrices(model, ("U_in", "U_out", "W_o"))
    expected = plain_gradients(model, [target.parameter for target in targets])
    found = loss_gradients(lm_of(model), targets, REQUESTS, 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("matrix", ["W_o", "U_in"])
def test_the_gradient_of_gpt2_has_output_features_as_rows(matrix: str) -> None:
    model = tiny_model("gpt2").double()
    target = target_matrix(model, matrix, 1)
    (stored,) = plain_gradients(model, [target.parameter])
    (found,) = loss_gradients(lm_of(model), [target], REQUESTS, 5)
    assert found.shape == target.weight.shape
    torch.testing.assert_close(found, stored.T)
    if matrix == "W_o":
        assert not torch.allclose(found, stored)


def test_progress_counts_every_example_once() -> None:
    model = tiny_model("gpt2")
    steps: list[int] = []
    loss_gradients(lm_of(model), [target_matrix(model, "U_in", 0)], REQUESTS, 2, steps.append)
    assert steps == [2, 2, 1]


def mixed_flags(model: Any) -> list[bool]:
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 != 0)
    return [parameter.requires_grad for parameter in model.parameters()]


def test_the_model_is_left_as_it_was_found() -> None:
    model = tiny_model("gpt2")
    lm = lm_of(model)
    flags = mixed_flags(model)
    targets = target_matrices(model, ("U_in", "U_out"))
    assert {target.parameter.requires_grad for target in targets} == {True, False}
    former = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        loss_gradients(lm, targets, REQUESTS, 2)
        assert not torch.is_grad_enabled()
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, former[name]) for name, tensor in model.state_dict().items())


def test_only_the_targets_need_gradients_in_the_pass() -> None:
    model = tiny_model("gpt2")
    lm = lm_of(model)
    target = target_matrix(model, "U_in", 1)
    seen: list[list[torch.nn.Parameter]] = []
    model.register_forward_pre_hook(lambda *_: seen.append([p for p in model.parameters() if p.requires_grad]))
    loss_gradients(lm, [target], REQUESTS, 9)
    assert len(seen) == 1
    assert len(seen[0]) == 1
    assert seen[0][0] is target.parameter


def test_flags_are_restored_after_an_error() -> None:
    model = tiny_model("gpt2")
    lm = lm_of(model)
    flags = mixed_flags(model)
    with pytest.raises(EditError, match="has no tokens"):
        loss_gradients(lm, [target_matrix(model, "U_in", 0)], [GoldRequest(0, "a", "")], 1)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("inf"), "nan")])
def test_a_loss_that_is_not_finite_names_its_row(value: float, shown: str, batch_size: int) -> None:
    model = tiny_model("gpt2")
    rows = [GoldRequest(request.doc_id, request.context.replace("Z", "z"), "?") for request in REQUESTS]
    rows[3] = GoldRequest(41, "A Zebra is", " an animal")
    with torch.no_grad():
        model.transformer.wte.weight[byte_tokenizer().encode("Z")[0]] = value
    flags = mixed_flags(model)
    with pytest.raises(EditError) as caught:
        loss_gradients(lm_of(model), [target_matrix(model, "U_in", 0)], rows, batch_size)
    assert str(caught.value) == (
        f"the loss of the unedited model on row 41 is {shown}; a wider dtype (dtype=float32) may help"
    )
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


def test_an_infinite_loss_names_its_row() -> None:
    model = tiny_model("gptj")
    with torch.no_grad():
        model.lm_head.bias[byte_tokenizer().encode("Z")[0]] = -float("inf")
    rows = [GoldRequest(6, "abc", "d"), GoldRequest(7, "abc", "Z")]
    with pytest.raises(EditError, match="the loss of the unedited model on row 7 is inf; "):
        loss_gradients(lm_of(model), [target_matrix(model, "U_in", 0)], rows, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_are_summed_in_float32(dtype: torch.dtype) -> None:
    model = tiny_model("gpt2").to(dtype)
    lm = lm_of(model)
    target = target_matrix(model, "U_out", 1)
    count = 16
    rows = [GoldRequest(index, f"Row number {index:02d} ends in", f" {chr(97 + index)}") for index in range(count)]
    alone = [loss_gradients(lm, [target], [row], 1)[0] for row in rows]
    (found,) = loss_gradients(lm, [target], rows, 1)
    assert found.dtype == torch.float32
    wide = torch.zeros_like(found)
    narrow = torch.zeros_like(found, dtype=dtype)
    for gradient in alone:
        wide += gradient
        narrow += gradient.to(dtype)
    assert torch.equal(found, wide / count)
    assert not torch.equal(narrow.float(), wide)


def test_small_gradients_in_float16_survive_a_mean_over_many_rows() -> None:
    model = tiny_model("gpt2").half()
    lm = lm_of(model)
    target = target_matrix(model, "U_out", 1)
    row = GoldRequest(0, "It is", " so")
    with torch.no_grad():
        # Gradients of about 1e-6, whose hundredth float16 would hold with one digit or none.
        model.lm_head.weight.mul_(1e-5)
    (alone,) = loss_gradients(lm, [target], [row], 1)
    assert 0 < float(alone.abs().max()) < 1e-4
    (found,) = loss_gradients(lm, [target], [row] * 100, 1)
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=0.0)


def test_half_precision_losses_are_taken_in_float32() -> None:
    model = tiny_model("gpt2").bfloat16()
    losses = lm_of(model).answer_losses(REQUESTS)
    assert losses.dtype == torch.float32
    assert not torch.equal(losses, losses.bfloat16().float())


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "llama"])
def test_answer_losses_are_those_of_each_row_alone(model_type: str) -> None:
    model = tiny_model(model_type)
    with torch.no_grad():
        found = lm_of(model).answer_losses(REQUESTS)
        expected = torch.stack([plain_loss(model, request) for request in REQUESTS])
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("max_length", [None, 24])
def test_answer_losses_agree_with_lm_evals_loglikelihood(max_length: int | None) -> None:
    lm = lm_of(tiny_model("gpt2"), max_length=max_length)
    instances = [
        Instance("loglikelihood", {}, (request.context, request.continuation), index)
        for index, request in enumerate(REQUESTS)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        likelihoods = [likelihood for likelihood, _ in lm.loglikelihood(instances, disable_tqdm=True)]
    lengths = [len(lm.gold_tokens(request).answer) for request in REQUESTS]
    assert lengths == [5, 3, 6, 17, 1]
    expected = torch.tensor([-likelihood / n for likelihood, n in zip(likelihoods, lengths, strict=True)])
    torch.testing.assert_close(lm.answer_losses(REQUESTS).detach(), expected, rtol=1e-4, atol=1e-4)


def test_an_empty_context_becomes_the_prefix_token() -> None:
    model = tiny_model("gpt2")
    lm = lm_of(model)
    assert lm.prefix_token_id == PREFIX
    tokens = torch.tensor([[PREFIX, *byte_tokenizer().encode("hm")]])
    with torch.no_grad():
        log_probabilities = model(input_ids=tokens[:, :-1]).logits[0].log_softmax(dim=-1)
        expected = -(log_probabilities[0, tokens[0, 1]] + log_probabilities[1, tokens[0, 2]]) / 2
        (found,) = lm.answer_losses([GoldRequest(0, "", "hm")])
    torch.testing.assert_close(found, expected)


def test_an_answer_that_brings_its_own_prefix_token_gets_no_second() -> None:
    lm = lm_of(tiny_model("gpt2"))
    with torch.no_grad():
        without, given = (lm.answer_losses([GoldRequest(0, "", text)]) for text in ("hm", "<s>hm"))
    assert len(lm.gold_tokens(GoldRequest(0, "", "<s>hm")).answer) == 2
    assert torch.equal(without, given)


def test_a_context_that_is_too_long_is_cut_on_the_left() -> None:
    model = tiny_model("gpt2")
    request = GoldRequest(0, "0123456789 abcdefghij klmnopqrst", " uvw")
    longest = 16
    lm = lm_of(model, max_length=longest)
    lengths: list[int] = []

    def record(module: Any, inputs: Any, named: dict[str, torch.Tensor]) -> None:
        lengths.append(named["input_ids"].shape[1])

    model.register_forward_pre_hook(record, with_kwargs=True)
    with torch.no_grad():
        (cut,) = lm.answer_losses([request])
        # The last answer token is predicted, not read: one token more than the model's length is used.
        expected = plain_loss(model, request, window=longest + 1)
        (whole,) = lm_of(model).answer_losses([request])
    assert lengths[0] == longest
    torch.testing.assert_close(cut, expected)
    assert abs(float(whole - cut)) > 1e-3


def test_an_answer_may_fill_the_model_but_not_exceed_it() -> None:
    model = tiny_model("gpt2")
    lm = lm_of(model, max_length=8)
    with torch.no_grad():
        (found,) = lm.answer_losses([GoldRequest(0, "abc", "x" * 8)])
        torch.testing.assert_close(found, plain_loss(model, GoldRequest(0, "abc", "x" * 8), window=9))
    with pytest.raises(EditError, match=r"^row 12: the answer has 9 tokens, more than the 8 that the model takes$"):
        lm.answer_losses([GoldRequest(0, "a", "b"), GoldRequest(12, "abc", "x" * 9)])


@pytest.mark.parametrize("context", ["", "abc"])
def test_an_answer_without_tokens_names_its_row(context: str) -> None:
    lm = lm_of(tiny_model("gpt2"))
    with pytest.raises(EditError, match=r"^row 12: the answer '' has no tokens$"):
        lm.answer_losses([GoldRequest(0, "a", "b"), GoldRequest(12, context, "")])
    with pytest.raises(EditError, match=r"^row 12: the answer '' has no tokens$"):
        lm.gold_tokens(GoldRequest(12, context, ""))
