"""projection: oneDNN's product and torch's own against the sum in float64, and which one runs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels import _native, served
from kernels.projection import LEAST, definition, example_inputs, projection
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import allowed, check_close, cotangent, doubled, with_gradients

IMPLS = [pytest.param("native", marks=COMPILER), "reference"]


@pytest.mark.parametrize("impl", IMPLS)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_it_is_the_sum_over_channels(
    impl: str, B: int, T: int, K: int, N: int, biased: bool
) -> None:
    inputs = example_inputs(B, T, K, N)
    if not biased:
        del inputs["b"]
    got = with_gradients(projection, inputs, impl=impl)
    assert served()["projection"] == impl
    want = with_gradients(definition, doubled(inputs))
    x, W, g = (abs(inputs["x"]), abs(inputs["W"]), abs(cotangent(got["output 0"])))
    g = g.flatten(0, 1)
    # The terms of each sum by size: what is rounded, before it cancels.
    terms = {"output 0": x @ W.T, "x": g @ W, "W": g.T @ x.flatten(0, 1), "b": g.sum(0)}
    n = max(B * T, K, N)
    bounds = {
        name: allowed(torch.float32, 1, n, terms[name].norm() / max(want[name].norm(), 1e-30))
        for name in want
    }
    check_close(got, want, bounds)


@pytest.mark.parametrize("impl", IMPLS)
def test_views_and_empty_inputs(impl: str) -> None:
    r = torch.Generator().manual_seed(0)
    whole, W = torch.randn(4, 6, 10, generator=r), torch.randn(9, 20, generator=r)[:, ::2]
    for x in (whole, whole.transpose(0, 1), whole[:, ::2], whole[0], whole[0, 0], whole[:0]):
        for weight in (W, W[:1], W[2:7]):
            y = projection(x, weight, impl=impl)
            want = definition(x.double(), weight.double())
            assert y.shape == want.shape and torch.allclose(y.double(), want, atol=1e-5)


@COMPILER
def test_it_stays_inside_its_inputs_and_has_one_answer() -> None:
    def run(tensors: list[Tensor]) -> tuple[Tensor, ...]:
        leaves = [x.requires_grad_() for x in tensors]
        y = projection(*leaves, impl="native")
        return y, *torch.autograd.grad(y, leaves, inside(torch.ones_like(y)))

    inputs = list(example_inputs(3, 7, 17, 33).values())
    want = run([x.clone() for x in inputs])
    for gaps in (0, 1, 2):  # other places in memory, other strides
        found = run([inside(x, gaps if x.ndim > 1 else 0) for x in inputs])
        assert all(x.isfinite().all() for x in found)
        if gaps == 0:
            assert all(torch.equal(x, y) for x, y in zip(found, want, strict=True))


@COMPILER
def test_only_what_learns_has_a_gradient() -> None:
    x, W, b = example_inputs().values()
    y = projection(x, W.requires_grad_(), b, impl="native")
    y.sum().backward()
    assert W.grad is not None and torch.allclose(W.grad[0], x.sum((0, 1)), atol=1e-5)
    assert x.grad is None and b.grad is None


@COMPILER
def test_large_products_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    W = torch.ones(512, 512)
    few, many = torch.ones(LEAST // W.numel() - 1, 512), torch.ones(LEAST // W.numel(), 512)
    for x, chosen in ((few, "reference"), (many, "native")):
        assert torch.equal(projection(x, W), x @ W.T) and served()["projection"] == chosen
    with torch.autocast("cpu", torch.bfloat16):
        assert projection(many, W).dtype == torch.bfloat16
    for x, weight in ((many.double(), W.double()), (many.bfloat16(), W.bfloat16())):
        assert projection(x, weight).dtype == x.dtype and served()["projection"] == "reference"
    torch.func.vmap(projection, (0, None))(many[None], W)
    assert served()["projection"] == "reference"
    monkeypatch.setattr(_native, "compiler", lambda: None)
    projection(many, W)
    assert served()["projection"] == "reference"


def test_refusals() -> None:
    x, W, b = example_inputs(dtype=torch.float64).values()
    with pytest.raises(ValueError, match=r"projection: .* not torch\.float64 on cpu"):
        projection(x, W, b, impl="native")
    with pytest.raises(ValueError, match=r"no Triton kernel|needs CUDA"):
        projection(x, W, b, impl="triton")
