"""The kernels of scan and selective_scan under Triton's interpreter, against the definitions."""

from __future__ import annotations

import os
import sys

import pytest

if "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
elif os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("triton was imported without TRITON_INTERPRET=1", allow_module_level=True)

from collections.abc import Callable
from typing import Any

import torch
from test_scan import check_equal, with_gradients

from kernels import delta as delta_file
from kernels import has_triton, served
from kernels import scan as scan_file
from kernels import selective_scan as selective_file
from kernels.scan import scan
from kernels.selective_scan import selective_scan

if not has_triton():
    pytest.skip("triton is not installed", allow_module_level=True)

LENGTHS = [1, 2, 15, 16, 17, 31, 33, 62, 63, 64, 65, 100, 129, 257]
BOUND = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN: an output that is not written fails."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        make = getattr(owner, name)

        def filled(*args: Any, make: Callable[..., Any] = make, **options: Any) -> Any:
            x = make(*args, **options)
            return x.fill_(float("nan")) if x.is_floating_point() else x

        monkeypatch.setattr(owner, name, filled)


def check(
    operator: Callable[..., Any],
    definition: Callable[..., Any],
    inputs: dict[str, Any],
    bound: float,
    **options: Any,
) -> None:
    """The kernel's outputs and gradients against the definition's in float64."""
    got = with_gradients(operator, inputs, impl="triton", **options)
    assert served()[operator.__name__] == "triton"
    exact = {n: None if x is None else x.double() for n, x in inputs.items()}
    check_equal(got, with_gradients(definition, exact, **options), bound)


def without(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return inputs | dict.fromkeys(names)


@pytest.mark.parametrize("T", LENGTHS)
def test_scan(T: int) -> None:
    inputs = scan_file.example_inputs(2 if T < 64 else 1, T, 5, seed=T)
    inputs = without(inputs, "h0") if T % 2 else inputs
    check(scan, scan_file.definition, inputs, BOUND[torch.float32])


@pytest.mark.parametrize("T", LENGTHS)
def test_selective_scan(T: int) -> None:
    inputs = selective_file.example_inputs(2 if T < 33 else 1, T, 6, 4, seed=T)
    inputs = without(inputs, "h0", "Dskip") if T % 2 else inputs
    check(selective_scan, selective_file.definition, inputs, BOUND[torch.float32])


def test_several_blocks_of_channels() -> None:
    inputs: dict[str, Any] = scan_file.example_inputs(2, 20, 130)
    check(scan, scan_file.definition, inputs, BOUND[torch.float32])
    inputs = selective_file.example_inputs(2, 18, 70, 16)
    check(selective_scan, selective_file.definition, inputs, BOUND[torch.float32])
    inputs = selective_file.example_inputs(1, 6, 3, 33)
    check(selective_scan, selective_file.definition, inputs, BOUND[torch.float32])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    inputs: dict[str, Any] = scan_file.example_inputs(2, 37, 20, dtype=dtype)
    check(scan, scan_file.definition, inputs, BOUND[dtype])
    inputs = selective_file.example_inputs(1, 37, 20, 5, dtype=dtype)
    check(selective_scan, selective_file.definition, inputs, BOUND[dtype])


def test_transposed_memory_and_unused_outputs() -> None:
    i = scan_file.example_inputs(3, 10, 6)
    turned = {n: x.mT.contiguous().mT for n, x in i.items()}
    assert torch.equal(scan(**turned, impl="triton"), scan(**i, impl="triton"))
    j = {n: x.requires_grad_() for n, x in selective_file.example_inputs(1, 10, 6).items()}
    names = list(j)
    for output in (0, 1):
        both = []
        for impl in ("triton", "reference"):
            y = selective_scan(**j, impl=impl)[output]
            both.append(torch.autograd.grad(y.sum(), list(j.values()), materialize_grads=True))
        check_equal(
            dict(zip(names, both[0], strict=True)), dict(zip(names, both[1], strict=True)), 2e-6
        )


@pytest.mark.parametrize("bare", [False, True])
def test_vmap_over_models_of_their_own(bare: bool) -> None:
    """Three models, each with its own A, and rows of its own: equal to three calls."""
    inputs: dict[str, Any] = selective_file.example_inputs(2, 5, 6, 4)
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
        for g, w in zip(got, single, strict=True):
            assert torch.allclose(g[n], w, atol=1e-5)

    x = scan_file.example_inputs(2, 9, 6)["x"]
    a = torch.rand(3, 2, 9, 6)
    got = torch.func.vmap(torch.func.grad(lambda a: scan(a, x, impl="triton").sin().sum()))(a)
    for n in range(3):
        w = torch.func.grad(lambda a: scan(a, x, impl="triton").sin().sum())(a[n])
        assert torch.allclose(got[n], w, atol=1e-6)


def test_compiled_in_one_graph() -> None:
    inputs: dict[str, Any]
    for operator, inputs in (
        (scan, scan_file.example_inputs(1, 6, 5)),
        (selective_scan, selective_file.example_inputs(1, 6, 5, 3)),
        (delta_file.delta, delta_file.example_inputs(1, 6, 1, 8, 8)),
    ):
        torch._dynamo.reset()
        compiled = torch.compile(operator, backend="aot_eager", fullgraph=True)
        got = with_gradients(compiled, inputs, impl="triton")
        check_equal(got, with_gradients(operator, inputs, impl="triton"), 0.0)


def test_what_the_kernels_cannot_take_is_refused() -> None:
    i = scan_file.example_inputs(1, 3, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="float64"):
        scan(**i, impl="triton")
    j = selective_file.example_inputs(1, 3, 4, 65)
    with pytest.raises(ValueError, match="N = 65"):
        selective_scan(**j, impl="triton")
    with pytest.raises(ValueError, match="float64"):
        selective_scan(**{n: x.double() for n, x in j.items()}, impl="triton")
