"""The kernels of scan under Triton's interpreter, against the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.scan import definition, example_inputs, scan
from tests.kernels.interpreter import LENGTHS, without
from tests.kernels.interpreter import poison as poison
from tests.kernels.rounding import (
    allowed,
    check_against_definition,
    check_equal,
    with_gradients,
)


def check(inputs: dict[str, Any]) -> None:
    check_against_definition("scan", scan, definition, inputs)


@pytest.mark.parametrize("T", LENGTHS)
def test_float32(T: int) -> None:
    inputs = example_inputs(2 if T < 64 else 1, T, 5, seed=T)
    check(without(inputs, "h0") if T % 2 else inputs)


def test_several_blocks_of_channels() -> None:
    check(example_inputs(2, 20, 130))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    check(example_inputs(2, 37, 20, dtype=dtype))


def test_transposed_memory() -> None:
    i = example_inputs(3, 10, 6)
    turned = {n: x.mT.contiguous().mT for n, x in i.items()}
    assert torch.equal(scan(**turned, impl="triton"), scan(**i, impl="triton"))


def test_vmap_over_models_of_their_own() -> None:
    x = example_inputs(2, 9, 6)["x"]
    a = torch.rand(3, 2, 9, 6, generator=torch.Generator().manual_seed(0))
    loss = lambda a: scan(a, x, impl="triton").sin().sum()  # noqa: E731
    got = torch.func.vmap(torch.func.grad(loss))(a)
    for n in range(3):
        check_equal({"a": got[n]}, {"a": torch.func.grad(loss)(a[n])}, allowed(torch.float32, 1, 9))


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(scan, backend="aot_eager", fullgraph=True)
    inputs = example_inputs(1, 6, 5)
    got = with_gradients(compiled, inputs, impl="triton")
    check_equal(got, with_gradients(scan, inputs, impl="triton"), 0.0)


def test_what_the_kernels_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        scan(**example_inputs(1, 3, 4, dtype=torch.float64), impl="triton")
