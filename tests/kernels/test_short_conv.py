"""The short convolution: definition, reference and native code."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels import served
from kernels.short_conv import definition, example_inputs, reference, short_conv
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import (
    check_against_definition,
    check_equal,
    cotangent,
    doubled,
    with_gradients,
)


@pytest.mark.parametrize("taps", [1, 2, 5])
@pytest.mark.parametrize(("bias", "silu"), [(True, True), (False, False), (False, True)])
def test_the_definition_is_torchs_convolution_and_the_reference_agrees(
    monkeypatch: pytest.MonkeyPatch, taps: int, bias: bool, silu: bool
) -> None:
    def torchs(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
        y = F.conv1d(F.pad(x.mT, (taps - 1, 0)), weight.T[:, None], bias, groups=4).mT
        return F.silu(y) if silu else y

    # Blocks of two rows. The package's name `reference` is the function.
    monkeypatch.setattr(sys.modules["kernels.short_conv.reference"], "_BLOCK", 30)
    inputs: dict[str, Any] = example_inputs(5, 3, 4, taps, dtype=torch.float64)
    inputs |= {} if bias else {"bias": None}
    want = with_gradients(torchs, inputs, silu=silu)
    check_equal(with_gradients(definition, inputs, silu=silu), want, 1e-12)
    check_equal(with_gradients(reference, inputs, silu=silu), want, 1e-12)


@pytest.mark.parametrize("stacked", ["x", "weight", "all"])
def test_vmap_over_models_does_not_loop(stacked: str) -> None:
    """torch warns where it loops, and warnings are errors."""
    inputs: dict[str, Any] = example_inputs(5, 3, 4, dtype=torch.float64)
    many = {n for n in inputs if stacked in (n, "all")}
    inputs |= {n: torch.stack([inputs[n], inputs[n].flip(0), inputs[n].sin()]) for n in many}
    dims = tuple(0 if n in many else None for n in inputs)

    def at_once(**inputs: Tensor) -> Tensor:
        y: Tensor = torch.vmap(lambda *x: reference(*x, True), dims)(*inputs.values())
        return y

    def one_by_one(**inputs: Tensor) -> Tensor:
        each = [{n: x[i] if n in many else x for n, x in inputs.items()} for i in range(3)]
        return torch.stack([reference(**x, silu=True) for x in each])

    check_equal(with_gradients(at_once, inputs), with_gradients(one_by_one, inputs), 1e-12)


@torch.no_grad()
def test_half_types_are_summed_in_float32() -> None:
    inputs = example_inputs(4, 50, 64)
    x = inputs["x"].bfloat16()
    y = short_conv(x, inputs["weight"], inputs["bias"], silu=False)
    exact = definition(**doubled(inputs | {"x": x}), silu=False)
    assert y.dtype == torch.bfloat16
    assert (y != exact.bfloat16()).double().mean() < 1e-3


@COMPILER
@given(
    B=st.integers(2, 4),
    T=st.integers(1, 20),
    C=st.integers(6, 40),
    w=st.integers(1, 16),
    bias=st.booleans(),
    silu=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_native_equals_definition(
    B: int, T: int, C: int, w: int, bias: bool, silu: bool, seed: int
) -> None:
    inputs: dict[str, Any] = example_inputs(B, T, C, w, seed)
    inputs |= {} if bias else {"bias": None}
    check_against_definition("short_conv", short_conv, definition, inputs, "native", silu=silu)
    # A view is read in place, and so is a gradient.
    y = short_conv(**inputs, silu=silu, impl="native")
    leaves = inputs | {"x": inside(inputs["x"], 1).requires_grad_()}
    got = short_conv(**leaves, silu=silu, impl="native")
    assert torch.equal(got, y)
    want = with_gradients(short_conv, inputs, impl="native", silu=silu)["x"]
    dx = torch.autograd.grad(got, leaves["x"], inside(cotangent(y), 1))[0]
    assert torch.equal(dx, want)


@COMPILER
def test_what_native_code_cannot_take_is_refused() -> None:
    inputs: dict[str, Any] = example_inputs(1, 3, 4, 17)
    with pytest.raises(ValueError, match="at most 16 taps, not 17"):
        short_conv(**inputs, silu=True, impl="native")
    short_conv(**inputs, silu=True)
    assert served()["short_conv"] == "reference"


def test_bad_shapes_are_named() -> None:
    inputs = example_inputs(1, 3, 4)
    with pytest.raises(ValueError, match=r"weight \[4, 4\] are not"):
        short_conv(inputs["x"][..., :3], inputs["weight"], silu=True)
    with pytest.raises(ValueError, match=r"bias \[3\] must be \[4\]"):
        short_conv(inputs["x"], inputs["weight"], inputs["bias"][:3], silu=True)
