"""taylor: native code and reference against the formula in float64, the state against the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import taylor as file
from kernels.taylor import taylor
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import (
    check_against_definition,
    check_close,
    check_equal,
    doubled,
    limits,
    with_gradients,
)

IMPLS = [pytest.param("native", marks=COMPILER), "reference"]


@pytest.mark.parametrize("impl", IMPLS)
@given(
    st.integers(1, 2), st.integers(1, 40), st.integers(1, 2), st.integers(1, 20), st.integers(1, 20)
)
def test_operators_are_the_definition(impl: str, B: int, T: int, H: int, f: int, e: int) -> None:
    inputs = file.example_inputs(B, T, H, f, e, seed=T)
    check_against_definition("taylor", taylor, file.definition, inputs, impl)


@COMPILER
def test_long_rows_and_views_are_read_in_place() -> None:
    whole = torch.randn(2, 300, 3, 12, generator=torch.Generator().manual_seed(0))
    views = dict(zip("qkv", whole.split([4, 4, 4], -1), strict=True))
    want = with_gradients(taylor, doubled(views))
    bounds = limits("taylor", views, want, torch.float32)
    leaf = whole.clone().requires_grad_()
    y = taylor(*leaf.split([4, 4, 4], -1), impl="native")
    y.backward(torch.sin(torch.arange(y.numel())).view_as(y))
    assert leaf.grad is not None
    parts = dict(zip("qkv", leaf.grad.split([4, 4, 4], -1), strict=True))
    check_close({"output 0": y.detach(), **parts}, want, bounds)


@COMPILER
@pytest.mark.parametrize(("T", "f", "e"), [(1, 1, 1), (5, 3, 7), (18, 16, 17)])
def test_native_code_stays_inside_its_inputs(T: int, f: int, e: int) -> None:
    inputs = {n: inside(x) for n, x in file.example_inputs(2, T, 2, f, e).items()}
    leaves = [x.requires_grad_() for x in inputs.values()]
    y = taylor(**inputs, impl="native")
    grads = torch.autograd.grad(y, leaves, inside(torch.ones_like(y)))
    assert all(x.isfinite().all() for x in (y, *grads))


@pytest.mark.parametrize("T", [1, 2, 9])
def test_the_state_and_one_more_token_are_the_whole(T: int) -> None:
    inputs = file.example_inputs(T=T + 1, dtype=torch.float64)
    want = file.definition(**inputs)[:, T:]
    S = file.state(inputs["k"][:, :T], inputs["v"][:, :T])
    y, _ = file.taylor_step(*(x[:, T:] for x in inputs.values()), S)
    check_equal({"y": y}, {"y": want}, 1e-12)


def test_wrong_inputs_are_named() -> None:
    x = file.example_inputs()
    with pytest.raises(ValueError, match="taylor: q has 2 heads and k 1"):
        taylor(x["q"], x["k"][:, :, :1], x["v"][:, :, :1])
    long = torch.ones(1, 1025, 1, 1)
    with pytest.raises(ValueError, match="T = 1025 is beyond the native operator's 1024"):
        taylor(long, long, long, impl="native")
