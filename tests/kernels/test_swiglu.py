"""swiglu: native code and reference against the definition in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.swiglu import definition, example_inputs, swiglu
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import check_against_definition, check_equal, with_gradients

IMPLS = [pytest.param("native", marks=COMPILER), "reference"]


@pytest.mark.parametrize("impl", IMPLS)
@given(D=st.integers(3, 40), T=st.integers(1, 4), seed=st.integers(0, 1000))
def test_swiglu_is_its_definition(impl: str, D: int, T: int, seed: int) -> None:
    check_against_definition("swiglu", swiglu, definition, example_inputs(D, T, seed), impl)


@COMPILER
@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3, 19), (7,), (4, 20), (2, 1, 3, 33), (0, 3, 5)])
def test_views_of_any_shape(shape: tuple[int, ...]) -> None:
    inputs = {n: torch.linspace(-4, 5, 700)[: torch.Size(shape).numel()] for n in ("x", "gate")}
    inputs = {n: x.reshape(shape) for n, x in inputs.items()}
    views = {n: inside(x, 1).requires_grad_() for n, x in inputs.items()}
    y = swiglu(**views, impl="native")
    grads = torch.autograd.grad(y, list(views.values()), inside(torch.ones(shape), 1))
    ones = {n: x.clone().requires_grad_() for n, x in inputs.items()}
    want = definition(**ones)
    wanted = torch.autograd.grad(want, list(ones.values()), torch.ones(shape))
    for a, b in zip((y, *grads), (want, *wanted), strict=True):
        assert a.shape == shape and torch.allclose(a, b, atol=1e-5)


@COMPILER
def test_gates_of_any_size() -> None:
    gate = torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e30])
    got = with_gradients(swiglu, {"x": torch.ones(5), "gate": gate}, impl="native")
    want = with_gradients(swiglu, {"x": torch.ones(5), "gate": gate}, impl="reference")
    check_equal(got, want, 1e-6)


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"gate \[3\] must be \[2, 3\]"):
        swiglu(torch.ones(2, 3), torch.ones(3))
