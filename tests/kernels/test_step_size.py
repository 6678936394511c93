"""step_size: native code and reference against the definition in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.step_size import definition, example_inputs, step_size
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import check_against_definition, check_equal, with_gradients

IMPLS = [pytest.param("native", marks=COMPILER), "reference"]


@pytest.mark.parametrize("impl", IMPLS)
@given(T=st.integers(1, 6), R=st.integers(1, 16), D=st.integers(1, 40), seed=st.integers(0, 99))
def test_step_sizes_are_their_definition(impl: str, T: int, R: int, D: int, seed: int) -> None:
    inputs = example_inputs(T, R, D, seed)
    check_against_definition("step_size", step_size, definition, inputs, impl)


@COMPILER
@pytest.mark.parametrize(("T", "R", "D"), [(1, 1, 1), (3, 4, 19), (5, 16, 33)])
def test_views_are_read_in_place_and_nothing_else(T: int, R: int, D: int) -> None:
    inputs = example_inputs(T, R, D)
    views = {n: inside(x, 1).requires_grad_() for n, x in inputs.items()}
    y = step_size(**views, impl="native")
    grads = torch.autograd.grad(y, list(views.values()), inside(torch.ones_like(y), 1))
    ones = {n: x.clone().requires_grad_() for n, x in inputs.items()}
    want = definition(**ones)
    wanted = torch.autograd.grad(want, list(ones.values()), torch.ones_like(want))
    for a, b in zip((y, *grads), (want, *wanted), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


@COMPILER
def test_exponents_of_any_size() -> None:
    x = torch.tensor([[-1e30], [-100.0], [-20.0], [0.0], [20.0], [100.0], [1e30], [torch.nan]])
    inputs = {"x": x[:-1], "W": torch.ones(1, 1), "b": torch.zeros(1)}
    got = with_gradients(step_size, inputs, impl="native")
    check_equal(got, with_gradients(step_size, inputs, impl="reference"), 1e-6)
    assert step_size(x, torch.ones(1, 1), torch.zeros(1), impl="native")[-1].isnan()


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"x \[2, 5, 3\], b \[20\] do not go with W \[20, 4\]"):
        step_size(**{**example_inputs(), "x": torch.ones(2, 5, 3)})
    with pytest.raises(ValueError, match="R = 17 is above the native operator's 16"):
        step_size(**example_inputs(R=17), impl="native")
