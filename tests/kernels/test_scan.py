"""scan: the definition against another derivation, the reference against the definition."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import kernels
from kernels.scan import definition, example_inputs, reference, scan, step
from tests.kernels.rounding import allowed, check_equal, with_gradients

LENGTHS = [1, 2, 15, 16, 17, 31, 33, 64, 100]


def make(T: int, initial: bool = True, B: int = 3, D: int = 5) -> dict[str, Any]:
    inputs: dict[str, Any] = example_inputs(B, T, D, seed=T, dtype=torch.float64)
    return inputs if initial else {**inputs, "h0": None}


@pytest.mark.parametrize("initial", [True, False])
def test_definition_is_the_sum_over_paths(initial: bool) -> None:
    inputs = make(20, initial)
    a, x = inputs["a"].numpy(), inputs["x"].numpy()
    wanted = np.zeros_like(x)
    for t in range(20):
        for j in range(t + 1):
            wanted[:, t] += np.prod(a[:, j + 1 : t + 1], axis=1) * x[:, j]
        if initial:
            wanted[:, t] += np.prod(a[:, : t + 1], axis=1) * inputs["h0"].numpy()
    assert np.abs(definition(**inputs).numpy() - wanted).max() < 1e-12


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("T", LENGTHS)
def test_reference_equals_definition(T: int, initial: bool) -> None:
    inputs = make(T, initial)
    check_equal(with_gradients(reference, inputs), with_gradients(definition, inputs), 1e-10)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make(20)
    want = with_gradients(definition, inputs)
    for block in (1, 2 * 16 * 4 * 5):
        # The package's name `reference` is the function.
        monkeypatch.setattr(sys.modules["kernels.scan.reference"], "_BLOCK", block)
        check_equal(with_gradients(reference, inputs), want, 1e-10)


@pytest.mark.parametrize(("T", "initial"), [(5, True), (1, False)])
def test_gradcheck(T: int, initial: bool) -> None:
    leaves = [None if x is None else x.requires_grad_() for x in make(T, initial, 2, 3).values()]
    assert torch.autograd.gradcheck(scan, leaves)


def test_gates_of_zero_and_one_are_exact() -> None:
    a = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]).view(1, 5, 1)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).view(1, 5, 1)
    h = scan(a, x, torch.full((1, 1), 7.0))
    assert h.flatten().tolist() == [1.0, 3.0, 6.0, 4.0, 9.0]


def test_steps_equal_the_parallel_form() -> None:
    i = make(9)
    h = i["h0"]
    for t in range(9):
        h = step(i["a"][:, t], i["x"][:, t], h)
        assert (h - scan(**i)[:, t]).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_state_is_float32(dtype: torch.dtype) -> None:
    """In half precision only inputs and outputs are rounded: 300 small steps are not lost."""
    bound = torch.finfo(dtype).eps + allowed(torch.float32, stages=1, terms=300)
    i = example_inputs(2, 300, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = scan(**i)
    assert got.dtype == dtype
    wanted = definition(**{n: x.double() for n, x in i.items()})
    assert (got.double() - wanted).norm() <= bound * wanted.norm()


def test_vmap_folds_into_the_rows() -> None:
    """Three models at once, some inputs shared: values and gradients equal three single calls."""
    base, shared = make(17), {"x"}
    generator = torch.Generator().manual_seed(0)
    noise = {n: torch.rand(3, *x.shape, generator=generator) for n, x in base.items()}
    inputs = [x if n in shared else x * noise[n] for n, x in base.items()]
    dims = tuple(None if n in shared else 0 for n in base)
    which = tuple(range(len(inputs)))

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        out = scan(*inputs)
        return sum(y.sin().sum() for y in (out if isinstance(out, tuple) else (out,)))

    got = torch.func.vmap(torch.func.grad(loss, which), dims)(*inputs)
    for n in range(3):
        single = [x if dim is None else x[n] for x, dim in zip(inputs, dims, strict=True)]
        for g, w in zip(got, torch.func.grad(loss, which)(*single), strict=True):
            assert (g[n] - w).abs().max() < 1e-12


def test_operators_are_registered_soundly() -> None:
    i = make(4, B=2, D=3)
    i["a"] = i["a"].mT.contiguous().mT
    for inputs in ([*i.values()], [i["a"], i["x"], None]):
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        torch.library.opcheck(torch.ops.kernels.scan.default, (*leaves, False))
    for h0 in (i["h0"], None):
        tests = ("test_schema", "test_faketensor")
        inputs = (i["a"], i["x"], h0, False, i["x"])
        torch.library.opcheck(torch.ops.kernels.scan_backward.default, inputs, test_utils=tests)


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(scan, backend="aot_eager", fullgraph=True)
    for inputs in (make(18), make(19, False)):
        check_equal(with_gradients(compiled, inputs), with_gradients(scan, inputs), 1e-12)


def test_bad_shapes_and_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match="h0"):
        scan(x, x, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[B,T,D\]"):
        scan(x, x[:, :3])
    with pytest.raises(ValueError, match="impl = 'triton'"):
        scan(x, x, impl="triton")
    scan(x, x, impl="reference")
    assert kernels.served()["scan"] == "reference"


def test_imports_and_runs_without_triton() -> None:
    code = """
import sys
sys.modules["triton"] = None
from kernels import attention, delta, linear, path, scan, selective_scan
for file in (attention, delta, linear, path, scan, selective_scan):
    getattr(file, file.__name__.split(".")[-1])(**file.example_inputs(1, 5))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
