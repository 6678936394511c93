"""The native selective scan against the definition in float64, and its rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels.selective_scan import definition, example_inputs, selective_scan
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import (
    allowed,
    check_against_definition,
    check_equal,
    doubled,
    with_gradients,
)

pytestmark = COMPILER


def run(*inputs: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """The operator on inputs that lie inside NaN; the gradients go through to the originals."""
    return selective_scan(
        *(_Inside.apply(x) for x in inputs),
        **{n: _Inside.apply(x) if isinstance(x, Tensor) else x for n, x in named.items()},
    )


class _Inside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return inside(x, gaps=int(x.ndim == 3))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return dy


@given(
    T=st.integers(1, 40),
    D=st.integers(6, 40),
    N=st.integers(1, 19),
    absent=st.sets(st.sampled_from(["h0", "Dskip"])),
    seed=st.integers(0, 1000),
)
def test_native_equals_definition(T: int, D: int, N: int, absent: set[str], seed: int) -> None:
    """Any width, any length; nothing is read beside an input."""
    # All are sums: of few tokens or channels, every one might cancel.
    inputs: dict[str, Any] = example_inputs(1 + 40 // T, T, D, N, seed)
    inputs |= dict.fromkeys(absent)
    check_against_definition("selective_scan", run, definition, inputs, "native")


@pytest.mark.parametrize("size", [(1, 1, 1), (9, 2, 3), (17, 5, 8), (8, 1, 64)])
def test_few_channels(size: tuple[int, int, int]) -> None:
    check_against_definition("selective_scan", run, definition, example_inputs(2, *size), "native")


@pytest.mark.parametrize("scale", [0.0, 1e-4, 20.0, 1e4])
def test_decays_from_one_to_nothing(scale: float) -> None:
    inputs: dict[str, Any] = example_inputs(2, 70, 18, 9)
    inputs["delta"] = inputs["delta"] * scale
    check_against_definition("selective_scan", selective_scan, definition, inputs, "native")


@pytest.mark.parametrize("output", [0, 1])
def test_unused_outputs(output: int) -> None:
    j = {n: x.requires_grad_() for n, x in example_inputs(2, 19, 21).items()}
    y = selective_scan(**j, impl="native")[output]
    grads = torch.autograd.grad(y.sum(), list(j.values()), materialize_grads=True)
    k = doubled(j)
    y = definition(**k)[output]
    want = torch.autograd.grad(y.sum(), list(j.values()), materialize_grads=True)
    bound = allowed(torch.float32, 2, 19 + 16)
    check_equal(dict(zip(j, grads, strict=True)), dict(zip(j, want, strict=True)), bound)


def test_the_same_bits_again_whoever_keeps_what() -> None:
    inputs = example_inputs(3, 37, 21, 11)
    first = with_gradients(selective_scan, inputs, impl="native")
    check_equal(with_gradients(selective_scan, inputs, impl="native"), first, 0.0)
    y, last = selective_scan(**inputs, impl="native")  # no gradient is wanted
    assert torch.equal(y, first["output 0"]) and torch.equal(last, first["output 1"])


def test_a_step_that_has_gone_wrong_is_seen() -> None:
    for name in ("u", "delta", "A", "Bm"):
        for bad in (torch.nan, torch.inf):
            inputs = example_inputs(1, 20, 18, 3)
            inputs[name].view(-1)[0] = bad
            y, _ = selective_scan(**inputs, impl="native")
            assert not y[0, 1:, 0].isfinite().any(), (name, bad)


def test_other_types_take_the_reference() -> None:
    with pytest.raises(ValueError, match="float32"):
        selective_scan(**doubled(example_inputs(1, 3, 4, 5)), impl="native")
