"""selective_scan: its definition against a scalar loop, its reference against the definition."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest
import torch

import kernels
from kernels.selective_scan import definition, example_inputs, reference, selective_scan, step
from tests.kernels.rounding import allowed, check_equal, with_gradients

LENGTHS = [1, 2, 15, 16, 17, 31, 33, 64, 100]


def make(T: int, initial: bool = True, B: int = 3, D: int = 5) -> dict[str, Any]:
    inputs: dict[str, Any] = example_inputs(B, T, D, 4, seed=T, dtype=torch.float64)
    return inputs if initial else {**inputs, "h0": None, "Dskip": None}


@pytest.mark.parametrize("initial", [True, False])
def test_definition_is_the_scalar_loop(initial: bool) -> None:
    inputs = make(12, initial)
    i = {name: None if x is None else x.numpy() for name, x in inputs.items()}
    B, T, D = i["u"].shape
    y, h = np.zeros((B, T, D)), np.zeros((B, D, 4))
    for b, c, n in itertools.product(range(B), range(D), range(4)):
        state = i["h0"][b, c, n] if initial else 0.0
        for t in range(T):
            size = i["delta"][b, t, c]
            state *= np.exp(size * i["A"][c, n])
            state += size * i["Bm"][b, t, n] * i["u"][b, t, c]
            y[b, t, c] += i["Cm"][b, t, n] * state
        h[b, c, n] = state
    if initial:
        y += i["Dskip"] * i["u"]
    got = definition(**inputs)
    assert np.abs(got[0].numpy() - y).max() < 1e-12 and np.abs(got[1].numpy() - h).max() < 1e-12


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
        monkeypatch.setattr(sys.modules["kernels.selective_scan.reference"], "_BLOCK", block)
        check_equal(with_gradients(reference, inputs), want, 1e-10)


@pytest.mark.parametrize(("T", "initial"), [(5, True), (6, False)])
def test_gradcheck(T: int, initial: bool) -> None:
    leaves = [None if x is None else x.requires_grad_() for x in make(T, initial, 2, 3).values()]
    assert torch.autograd.gradcheck(selective_scan, leaves)


def test_steps_equal_the_parallel_form() -> None:
    i = make(9)
    y, last = selective_scan(**i)
    h = i["h0"]
    for t in range(9):
        one = [i[name][:, t] for name in ("u", "delta", "Bm", "Cm")]
        got, h = step(*one[:2], i["A"], *one[2:], i["Dskip"], h)
        assert (got - y[:, t]).abs().max() < 1e-12
    assert (h - last).abs().max() < 1e-12


def test_two_halves_equal_the_whole() -> None:
    i = make(33)
    y, last = selective_scan(**i)
    halves = []
    state = i["h0"]
    for s in (slice(0, 20), slice(20, 33)):
        part = {n: i[n][:, s] for n in ("u", "delta", "Bm", "Cm")}
        got, state = selective_scan(**part, A=i["A"], Dskip=i["Dskip"], h0=state)
        halves.append(got)
    assert (torch.cat(halves, 1) - y).abs().max() < 1e-12 and (state - last).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_state_is_float32(dtype: torch.dtype) -> None:
    """In half precision only inputs and outputs are rounded: 300 small steps are not lost."""
    bound = torch.finfo(dtype).eps + allowed(torch.float32, stages=2, terms=300)
    j = example_inputs(2, 300, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, last = selective_scan(**j)
    assert y.dtype == dtype and last.dtype == torch.float32
    wanted, state = definition(**{n: x.double() for n, x in j.items()})
    assert (y.double() - wanted).norm() <= bound * wanted.norm()
    assert (last.double() - state).norm() <= allowed(torch.float32, 2, 300 + 16) * state.norm()


def test_vmap_folds_into_the_rows() -> None:
    """Three models at once, some inputs shared: values and gradients equal three single calls."""
    base, shared = make(17), {"Bm", "Dskip"}
    generator = torch.Generator().manual_seed(0)
    noise = {n: torch.rand(3, *x.shape, generator=generator) for n, x in base.items()}
    inputs = [x if n in shared else x * noise[n] for n, x in base.items()]
    dims = tuple(None if n in shared else 0 for n in base)
    which = tuple(range(len(inputs)))

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        out = selective_scan(*inputs)
        return sum(y.sin().sum() for y in (out if isinstance(out, tuple) else (out,)))

    got = torch.func.vmap(torch.func.grad(loss, which), dims)(*inputs)
    for n in range(3):
        single = [x if dim is None else x[n] for x, dim in zip(inputs, dims, strict=True)]
        for g, w in zip(got, torch.func.grad(loss, which)(*single), strict=True):
            assert (g[n] - w).abs().max() < 1e-12


def test_operators_are_registered_soundly() -> None:
    j, operators = make(4, B=2, D=3), torch.ops.kernels
    j["u"] = j["u"].mT.contiguous().mT
    full = [j["u"], j["delta"], j["A"][None], j["Bm"], j["Cm"], j["Dskip"][None], j["h0"]]
    bare = [*full[:5], None, None]
    kept, last = torch.zeros(2, 1, 4, 3, dtype=torch.float64), torch.zeros_like(j["h0"])
    for inputs in (full, bare):
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        torch.library.opcheck(operators.selective_scan.default, (*leaves, False))
        tests = ("test_schema", "test_faketensor")
        arguments = (*inputs, False, kept, j["u"], last)
        backward = operators.selective_scan_backward.default
        torch.library.opcheck(backward, arguments, test_utils=tests)


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(selective_scan, backend="aot_eager", fullgraph=True)
    for inputs in (make(18), make(19, False)):
        check_equal(with_gradients(compiled, inputs), with_gradients(selective_scan, inputs), 1e-12)


def test_bad_shapes_are_named() -> None:
    j = make(4)
    with pytest.raises(ValueError, match="Cm"):
        selective_scan(**{**j, "Cm": j["Cm"][:, :3]})
    selective_scan(**j, impl="reference")
    assert kernels.served()["selective_scan"] == "reference"
