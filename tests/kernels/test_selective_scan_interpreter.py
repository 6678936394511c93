"""The kernels of selective_scan under Triton's interpreter, against the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.selective_scan import definition, example_inputs, selective_scan
from tests.kernels.interpreter import LENGTHS, without
from tests.kernels.interpreter import poison as poison
from tests.kernels.rounding import (
    allowed,
    check_against_definition,
    check_equal,
    with_gradients,
)


def check(inputs: dict[str, Any]) -> None:
    check_against_definition("selective_scan", selective_scan, definition, inputs)


@pytest.mark.parametrize("T", LENGTHS)
def test_float32(T: int) -> None:
    inputs = example_inputs(2 if T < 33 else 1, T, 6, 4, seed=T)
    check(without(inputs, "h0", "Dskip") if T % 2 else inputs)


@pytest.mark.parametrize(("B", "T", "D", "N"), [(2, 18, 70, 16), (1, 6, 3, 33)])
def test_several_blocks_of_channels(B: int, T: int, D: int, N: int) -> None:
    check(example_inputs(B, T, D, N))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    check(example_inputs(1, 37, 20, 5, dtype=dtype))


@pytest.mark.parametrize("output", [0, 1])
def test_unused_outputs(output: int) -> None:
    j = {n: x.requires_grad_() for n, x in example_inputs(1, 10, 6).items()}
    both = []
    for impl in ("triton", "reference"):
        y = selective_scan(**j, impl=impl)[output]
        grads = torch.autograd.grad(y.sum(), list(j.values()), materialize_grads=True)
        both.append(dict(zip(j, grads, strict=True)))
    check_equal(*both, allowed(torch.float32, 2, 10 + 16))


@pytest.mark.parametrize("bare", [False, True])
def test_vmap_over_models_of_their_own(bare: bool) -> None:
    """Three models, each with its own A, and rows of its own: equal to three calls."""
    inputs: dict[str, Any] = example_inputs(1, 5, 6, 4)
    inputs = without(inputs, "h0", "Dskip") if bare else inputs
    names = [n for n, x in inputs.items() if x is not None and n != "Bm"]
    many = [inputs[n] * torch.tensor([1.0, 0.5, 0.9]).view(3, *[1] * inputs[n].ndim) for n in names]

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        y, last = selective_scan(**inputs | dict(zip(names, tensors, strict=True)), impl="triton")
        return y.sin().sum() + last.cos().sum()

    which = tuple(range(len(names)))
    got = torch.func.vmap(torch.func.grad(loss, which))(*many)
    for n in range(3):
        single = torch.func.grad(loss, which)(*(x[n] for x in many))
        check_equal(
            {name: g[n] for name, g in zip(names, got, strict=True)},
            dict(zip(names, single, strict=True)),
            allowed(torch.float32, 2, 5 + 4),
        )


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(selective_scan, backend="aot_eager", fullgraph=True)
    inputs = example_inputs(1, 6, 5, 3)
    got = with_gradients(compiled, inputs, impl="triton")
    check_equal(got, with_gradients(selective_scan, inputs, impl="triton"), 0.0)


def test_what_the_kernels_cannot_take_is_refused() -> None:
    j = example_inputs(1, 3, 4, 65)
    with pytest.raises(ValueError, match="N = 65"):
        selective_scan(**j, impl="triton")
    with pytest.raises(ValueError, match="float64"):
        selective_scan(**{n: x.double() for n, x in j.items()}, impl="triton")
