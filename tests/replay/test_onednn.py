"""Linear layers by oneDNN give what torch's give, but for rounding, and only where that is so."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from cti_edits.replay import onednn
from cti_edits.replay.onednn import linear_by_onednn


@pytest.fixture(autouse=True)
def any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN gives the same where it is not faster."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each product, whether it was oneDNN's."""
    seen: list[bool] = []

    def watched(function: Callable[..., torch.Tensor], by_onednn: bool) -> Callable[..., torch.Tensor]:
        def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
            seen.append(by_onednn)
            return function(x, weight, bias)

        return run

    monkeypatch.setattr(onednn, "product", watched(onednn.product, True))
    monkeypatch.setattr(torch.nn.functional, "linear", watched(torch.nn.functional.linear, False))
    return seen


def model(bias: bool = True, dtype: torch.dtype = torch.float32) -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = torch.nn.Linear(30, 70, bias), torch.nn.Tanh(), torch.nn.Linear(70, 5, bias)
    return torch.nn.Sequential(*layers).to(dtype)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 30), (40, 30), (2, 7, 30)])
def test_the_products(bias: bool, shape: tuple[int, ...], products: list[bool]) -> None:
    net = model(bias)
    x = torch.randn(shape).transpose(0, 1).contiguous().transpose(0, 1)
    with torch.no_grad():
        expected = net(x)
        with linear_by_onednn(net):
            found = net(x)
    assert found.shape == (*shape[:-1], 5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert products == [False, False, True, True]


def test_gradients_are_torchs(products: list[bool]) -> None:
    net = model()
    x = torch.randn(3, 30, requires_grad=True)
    with linear_by_onednn(net):
        net(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert products == [False, False]


def test_edits_count(products: list[bool]) -> None:
    net = model()
    x = torch.randn(3, 30)
    with torch.no_grad(), linear_by_onednn(net):
        before = net(x)
        net.get_parameter("0.weight").mul_(2.0)
        after = net(x)
    assert not torch.allclose(before, after)
    with torch.no_grad():
        torch.testing.assert_close(after, net(x), rtol=1e-5, atol=1e-6)
    assert products == [True, True, True, True, False, False]


class Odd(torch.nn.Linear):
    """Not the plain class: it may do anything."""


def others() -> Iterator[tuple[str, torch.nn.Sequential]]:
    yield "float64", model(dtype=torch.float64)
    yield "another class", torch.nn.Sequential(Odd(30, 4))
    replaced = torch.nn.Sequential(torch.nn.Linear(30, 4))
    replaced[0].forward = replaced[0].forward
    yield "replaced", replaced
    cut = torch.nn.Sequential(torch.nn.Linear(30, 4))
    cut[0].weight = torch.nn.Parameter(torch.ones(4, 31)[:, :30])
    yield "cut from a wider tensor", cut


@pytest.mark.parametrize(("name", "net"), others(), ids=lambda one: one if isinstance(one, str) else "")
def test_other_layers_are_left_alone(name: str, net: torch.nn.Sequential, products: list[bool]) -> None:
    x = torch.randn(3, 30, dtype=net.get_parameter("0.weight").dtype)
    former = dict(vars(net[0]))
    with torch.no_grad(), linear_by_onednn(net):
        assert vars(net[0]) == former, name
        net(x)
    assert products
    assert not any(products)


def test_mixed_precision_is_left_alone(products: list[bool]) -> None:
    net = model()
    with torch.no_grad(), linear_by_onednn(net), torch.autocast("cpu", torch.bfloat16):
        assert net(torch.randn(3, 30)).dtype == torch.bfloat16
    assert products == [False, False]


def test_float32_that_may_be_rounded_is_left_alone(products: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN would round it to bfloat16."""
    net = model()
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.no_grad(), linear_by_onednn(net):
            net(torch.randn(3, 30))
    finally:
        torch.set_float32_matmul_precision(former)
    assert products == [False, False]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with torch.no_grad(), linear_by_onednn(net):
        net(torch.randn(3, 30))
    assert products == [False, False, False, False]


@contextlib.contextmanager
def rounding_allowed(where: str) -> Iterator[None]:
    """The newer way; before torch 2.9, which has the older one alone, that."""
    former = torch.get_float32_matmul_precision()
    newer = getattr(torch.backends.mkldnn, "matmul", None)
    place: Any = functools.reduce(getattr, where.split("."), torch) if newer is not None else None
    if newer is not None:
        newer.fp32_precision = "none"
        place.fp32_precision = "tf32"
    else:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        if newer is not None:
            place.fp32_precision = "none"
        torch.set_float32_matmul_precision(former)


@pytest.mark.parametrize("where", ["backends", "backends.mkldnn", "backends.mkldnn.matmul"])
def test_the_newer_way_to_allow_rounding_counts_too(where: str, products: list[bool]) -> None:
    net = model()
    with rounding_allowed(where), torch.no_grad(), linear_by_onednn(net):
        net(torch.randn(3, 30))
    assert products == [False, False]
    with torch.no_grad(), linear_by_onednn(net):
        net(torch.randn(3, 30))
    assert products == [False, False, True, True]


def failing(net: torch.nn.Sequential) -> None:
    with linear_by_onednn(net):
        assert "forward" in vars(net[0])
        raise ZeroDivisionError


def test_layers_are_as_before_also_after_an_error() -> None:
    net = model()
    with pytest.raises(ZeroDivisionError):
        failing(net)
    assert "forward" not in vars(net[0])
    assert onednn._plain_linears(net) == [net[0], net[2]]
