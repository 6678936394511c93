"""The native delta rule against the definition in float64, and its rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.delta import definition, delta, example_inputs
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


@given(
    T=st.integers(1, 30),
    H=st.integers(1, 3),
    d=st.integers(1, 20),
    e=st.integers(6, 40),
    absent=st.sets(st.sampled_from(["S0", "log_decay"])),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 1000),
)
def test_native_equals_definition(
    T: int, H: int, d: int, e: int, absent: set[str], scale: float | None, seed: int
) -> None:
    # All are sums: of few tokens or channels, every one might cancel.
    inputs: dict[str, Any] = example_inputs(1 + 40 // T, T, H, d, e, seed)
    inputs |= dict.fromkeys(absent)
    check_against_definition("delta", delta, definition, inputs, "native", scale=scale)


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (9, 2, 4, 16), (17, 1, 3, 5), (8, 2, 33, 33)])
def test_views_are_read_in_place_and_nothing_beside_them(size: Any) -> None:
    inputs: dict[str, Any] = example_inputs(2, *size)
    want = with_gradients(delta, inputs, impl="native")
    # Only q, k, v and the gradient of o are read by strides.
    views: dict[str, Any] = {n: inside(x, 2 * (n in "qkv")) for n, x in inputs.items()}
    outputs = delta(**{n: x.requires_grad_() for n, x in views.items()}, impl="native")
    directions = [inside(cotangent(outputs[0]), 2), inside(cotangent(outputs[1]))]
    grads = torch.autograd.grad(outputs, list(views.values()), directions)
    got = {f"output {i}": y.detach() for i, y in enumerate(outputs)}
    check_equal(got | dict(zip(views, grads, strict=True)), want, 0.0)
    kept_for_nobody = delta(**inputs, impl="native")
    check_equal({f"output {i}": y for i, y in enumerate(kept_for_nobody)}, got, 0.0)


@pytest.mark.parametrize("distinct", [1, 3])
def test_repeated_keys_and_writes_near_two(distinct: int) -> None:
    inputs: dict[str, Any] = example_inputs(3, 100, 2, 8, 20, distinct=distinct)
    inputs["beta"] = torch.full_like(inputs["beta"], 1.999)
    inputs["log_decay"] = None
    check_against_definition("delta", delta, definition, inputs, "native")


def test_decays_that_forget_all() -> None:
    inputs = example_inputs(2, 40, 2, 8, 20)
    inputs["log_decay"][:, 7::5] = -50.0
    inputs["log_decay"][:, 9::10] = -torch.inf
    check_against_definition("delta", delta, definition, inputs, "native")


@pytest.mark.parametrize("output", [0, 1])
def test_unused_outputs(output: int) -> None:
    check_one_output(delta, definition, example_inputs(2, 19, 2, 8, 20), output, 8, 19 + 8)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 on a CPU, not torch\.float64"):
        delta(**doubled(example_inputs(1, 3, 1, 4, 5)), impl="native")
