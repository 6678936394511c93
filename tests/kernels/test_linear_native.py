"""Native linear attention against the definition in float64, and its rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels.linear import definition, example_inputs, linear
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import (
    check_against_definition,
    check_equal,
    check_one_output,
    cotangent,
    doubled,
    with_gradients,
)

pytestmark = COMPILER


def decays(g: Tensor, kind: str) -> Tensor | None:
    """log_decay of one kind made from g [B,T,H,d]: "strong" keeps nothing, "reset" is -inf."""
    pick = torch.rand(g.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    return {
        "channel": g,
        "head": g[..., 0],
        "none": None,
        "strong": g.masked_fill(pick, -50.0),
        "reset": g.masked_fill(pick, -torch.inf),
        "head reset": g.masked_fill(pick, -torch.inf)[..., 0],
    }[kind]


@given(
    T=st.integers(1, 40),
    H=st.integers(1, 3),
    d=st.integers(1, 40),
    e=st.integers(6, 40),
    kind=st.sampled_from(["channel", "head", "none", "strong", "reset", "head reset"]),
    initial=st.booleans(),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 1000),
)
def test_native_equals_definition(
    T: int, H: int, d: int, e: int, kind: str, initial: bool, scale: float | None, seed: int
) -> None:
    # All are sums: of few tokens or channels, every one might cancel.
    inputs: dict[str, Any] = example_inputs(1 + 40 // T, T, H, d, e, seed)
    inputs["log_decay"] = decays(inputs["log_decay"], kind)
    inputs |= {} if initial else {"S0": None}
    check_against_definition("linear", linear, definition, inputs, "native", scale=scale)


@pytest.mark.parametrize("T", [64, 65, 200])
def test_rows_of_many_chunks(T: int) -> None:
    inputs: dict[str, Any] = example_inputs(1, T, 2, 20, 20)
    inputs["log_decay"] = decays(inputs["log_decay"] / 100, "reset" if T == 65 else "channel")
    check_against_definition("linear", linear, definition, inputs, "native")


@pytest.mark.parametrize("kind", ["channel", "head"])
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (9, 2, 4, 16), (17, 1, 3, 5), (8, 2, 33, 35)])
def test_views_are_read_in_place_and_nothing_beside_them(size: Any, kind: str) -> None:
    inputs: dict[str, Any] = example_inputs(2, *size)
    inputs["log_decay"] = decays(inputs["log_decay"], kind)
    want = with_gradients(linear, inputs, impl="native", scale=0.5)
    # Only q, k, v and the gradient of o are read by strides.
    views: dict[str, Any] = {n: inside(x, 2 * (n in "qkv")) for n, x in inputs.items()}
    leaves = {n: x.requires_grad_() for n, x in views.items()}
    outputs = linear(**leaves, impl="native", scale=0.5)
    directions = [inside(cotangent(outputs[0]), 2), inside(cotangent(outputs[1]))]
    grads = torch.autograd.grad(outputs, list(leaves.values()), directions)
    got = {f"output {i}": y.detach() for i, y in enumerate(outputs)}
    check_equal(got | dict(zip(leaves, grads, strict=True)), want, 0.0)


@pytest.mark.parametrize("output", [0, 1])
def test_unused_outputs(output: int) -> None:
    check_one_output(linear, definition, example_inputs(2, 19, 2, 8, 20), output, 4, 19 + 20)


def test_the_same_bits_whatever_ran_before() -> None:
    small, large = example_inputs(1, 19, 2, 24, 20), example_inputs(1, 90, 2, 40, 40)
    first = with_gradients(linear, small, impl="native")
    with_gradients(linear, {n: x * torch.nan for n, x in large.items()}, impl="native")
    check_equal(with_gradients(linear, small, impl="native"), first, 0.0)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 on a CPU, not torch\.float64"):
        linear(**doubled(example_inputs(1, 3, 1, 4, 5)), impl="native")
