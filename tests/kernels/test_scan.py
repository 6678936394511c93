"""scan and selective_scan: definitions against other derivations, references against them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import kernels
from kernels import scan as scan_file
from kernels import selective_scan as selective_file
from kernels.scan import scan
from kernels.selective_scan import selective_scan

LENGTHS = [1, 2, 15, 16, 17, 31, 33, 64, 100]


def scan_inputs(T: int, initial: bool = True, B: int = 3, D: int = 5) -> dict[str, Any]:
    inputs = scan_file.example_inputs(B, T, D, seed=T, dtype=torch.float64)
    return inputs if initial else {**inputs, "h0": None}


def selective_inputs(T: int, initial: bool = True, B: int = 3, D: int = 5) -> dict[str, Any]:
    inputs = selective_file.example_inputs(B, T, D, 4, seed=T, dtype=torch.float64)
    return inputs if initial else {**inputs, "h0": None, "Dskip": None}


def with_gradients(
    operator: Callable[..., Any], inputs: dict[str, Any], **options: Any
) -> dict[str, torch.Tensor]:
    """Every output and the gradient of every input, by name, under fixed random cotangents."""
    leaves = {
        name: x.detach().clone().requires_grad_() if torch.is_tensor(x) else x
        for name, x in inputs.items()
    }
    outputs = operator(**leaves, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(9)
    total = sum(
        (y * torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)).sum()
        for y in outputs
    )
    wanted = {name: x for name, x in leaves.items() if torch.is_tensor(x)}
    gradients = torch.autograd.grad(total, list(wanted.values()))
    result = {f"output {n}": y.detach() for n, y in enumerate(outputs)}
    return result | dict(zip(wanted, gradients, strict=True))


def check_equal(
    got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], bound: float
) -> None:
    """Relative RMS error of each tensor within the bound; absolute where all is rounding."""
    assert got.keys() == wanted.keys()
    for name, x in got.items():
        y = wanted[name]
        assert x.shape == y.shape and torch.isfinite(x).all(), name
        size = y.double().norm().item()
        error = (x.double() - y.double()).norm().item() / (size if size > 1e-6 else 1.0)
        assert error <= bound, f"{name}: {error:.2e}"


@pytest.mark.parametrize("initial", [True, False])
def test_scan_definition_is_the_sum_over_paths(initial: bool) -> None:
    inputs = scan_inputs(20, initial)
    a, x = inputs["a"].numpy(), inputs["x"].numpy()
    wanted = np.zeros_like(x)
    for t in range(20):
        for j in range(t + 1):
            wanted[:, t] += np.prod(a[:, j + 1 : t + 1], axis=1) * x[:, j]
        if initial:
            wanted[:, t] += np.prod(a[:, : t + 1], axis=1) * inputs["h0"].numpy()
    assert np.abs(scan_file.definition(**inputs).numpy() - wanted).max() < 1e-12


@pytest.mark.parametrize("initial", [True, False])
def test_selective_definition_is_the_scalar_loop(initial: bool) -> None:
    inputs = selective_inputs(12, initial)
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
    got = selective_file.definition(**inputs)
    assert np.abs(got[0].numpy() - y).max() < 1e-12 and np.abs(got[1].numpy() - h).max() < 1e-12


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("T", LENGTHS)
def test_references_equal_definitions(T: int, initial: bool) -> None:
    for file, inputs in (
        (scan_file, scan_inputs(T, initial)),
        (selective_file, selective_inputs(T, initial)),
    ):
        got = with_gradients(file.reference, inputs)
        check_equal(got, with_gradients(file.definition, inputs), 1e-10)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for file, inputs in ((scan_file, scan_inputs(20)), (selective_file, selective_inputs(20))):
        wanted = with_gradients(file.definition, inputs)
        for block in (1, 2 * 16 * 4 * 5):
            monkeypatch.setattr(file, "_BLOCK", block)
            check_equal(with_gradients(file.reference, inputs), wanted, 1e-10)


def test_gradcheck() -> None:
    for operator, inputs in (
        (scan, scan_inputs(5, B=2, D=3)),
        (scan, scan_inputs(1, False, B=2, D=3)),
        (selective_scan, selective_inputs(5, B=2, D=3)),
        (selective_scan, selective_inputs(6, False, B=2, D=3)),
    ):
        leaves = [None if x is None else x.requires_grad_() for x in inputs.values()]
        assert torch.autograd.gradcheck(operator, leaves)


def test_gates_of_zero_and_one_are_exact() -> None:
    a = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]).view(1, 5, 1)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).view(1, 5, 1)
    h = scan(a, x, torch.full((1, 1), 7.0))
    assert h.flatten().tolist() == [1.0, 3.0, 6.0, 4.0, 9.0]


def test_steps_equal_the_parallel_form() -> None:
    i = scan_inputs(9)
    h = i["h0"]
    for t in range(9):
        h = scan_file.step(i["a"][:, t], i["x"][:, t], h)
        assert (h - scan(**i)[:, t]).abs().max() < 1e-12
    i = selective_inputs(9)
    y, last = selective_scan(**i)
    h = i["h0"]
    for t in range(9):
        one = [i[name][:, t] for name in ("u", "delta", "Bm", "Cm")]
        got, h = selective_file.step(*one[:2], i["A"], *one[2:], i["Dskip"], h)
        assert (got - y[:, t]).abs().max() < 1e-12
    assert (h - last).abs().max() < 1e-12


def test_two_halves_equal_the_whole() -> None:
    i = selective_inputs(33)
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
    bound = 4 * torch.finfo(dtype).eps
    i = scan_file.example_inputs(2, 300, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = scan(**i)
    assert got.dtype == dtype
    wanted = scan_file.definition(**{n: x.double() for n, x in i.items()})
    assert (got.double() - wanted).norm() <= bound * wanted.norm()
    j = selective_file.example_inputs(2, 300, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, last = selective_scan(**j)
    assert y.dtype == dtype and last.dtype == torch.float32
    wanted, state = selective_file.definition(**{n: x.double() for n, x in j.items()})
    assert (y.double() - wanted).norm() <= bound * wanted.norm()
    assert (last.double() - state).norm() <= 1e-5 * state.norm()


@pytest.mark.parametrize(
    ("operator", "make", "shared"),
    [(scan, scan_inputs, {"x"}), (selective_scan, selective_inputs, {"Bm", "Dskip"})],
)
def test_vmap_folds_into_the_rows(
    operator: Callable[..., Any], make: Callable[..., Any], shared: set[str]
) -> None:
    """Three models at once, some inputs shared: values and gradients equal three single calls."""
    base = make(17)
    generator = torch.Generator().manual_seed(0)
    noise = {n: torch.rand(3, *x.shape, generator=generator) for n, x in base.items()}
    inputs = [x if n in shared else x * noise[n] for n, x in base.items()]
    dims = tuple(None if n in shared else 0 for n in base)
    which = tuple(range(len(inputs)))

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        out = operator(*inputs)
        return sum(y.sin().sum() for y in (out if isinstance(out, tuple) else (out,)))

    got = torch.func.vmap(torch.func.grad(loss, which), dims)(*inputs)
    for n in range(3):
        single = [x if dim is None else x[n] for x, dim in zip(inputs, dims, strict=True)]
        for g, w in zip(got, torch.func.grad(loss, which)(*single), strict=True):
            assert (g[n] - w).abs().max() < 1e-12


def test_operators_are_registered_soundly() -> None:
    i, j = scan_inputs(4, B=2, D=3), selective_inputs(4, B=2, D=3)
    i["a"] = i["a"].mT.contiguous().mT
    j["u"] = j["u"].mT.contiguous().mT
    full = [j["u"], j["delta"], j["A"][None], j["Bm"], j["Cm"], j["Dskip"][None], j["h0"]]
    bare = [*full[:5], None, None]
    for op, inputs in (
        (scan_file._scan, [*i.values()]),
        (scan_file._scan, [i["a"], i["x"], None]),
        (selective_file._selective_scan, full),
        (selective_file._selective_scan, bare),
    ):
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        torch.library.opcheck(op, (*leaves, False))
    kept, last = torch.zeros(2, 1, 4, 3, dtype=torch.float64), torch.zeros_like(j["h0"])
    for op, inputs in (
        (scan_file._scan_backward, [i["a"], i["x"], i["h0"], i["x"]]),
        (scan_file._scan_backward, [i["a"], i["x"], None, i["x"]]),
        (selective_file._selective_scan_backward, [*full, kept, j["u"], last]),
        (selective_file._selective_scan_backward, [*bare, kept, j["u"], last]),
    ):
        tests = ("test_schema", "test_faketensor")
        torch.library.opcheck(op, (*inputs, False), test_utils=tests)


@pytest.mark.parametrize(
    ("operator", "make"), [(scan, scan_inputs), (selective_scan, selective_inputs)]
)
def test_compiled_in_one_graph(operator: Callable[..., Any], make: Callable[..., Any]) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(operator, backend="aot_eager", fullgraph=True)
    for inputs in (make(18), make(19, False)):
        check_equal(with_gradients(compiled, inputs), with_gradients(operator, inputs), 1e-12)


def test_bad_shapes_and_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match="h0"):
        scan(x, x, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[B,T,D\]"):
        scan(x, x[:, :3])
    with pytest.raises(ValueError, match="impl = 'triton'"):
        scan(x, x, impl="triton")
    j = selective_inputs(4)
    with pytest.raises(ValueError, match="Cm"):
        selective_scan(**{**j, "Cm": j["Cm"][:, :3]})
    scan(x, x, impl="reference")
    assert kernels.served()["scan"] == "reference"


def test_imports_and_runs_without_triton() -> None:
    code = """
import sys
sys.modules["triton"] = None
from kernels import delta, linear, scan, selective_scan
for file in (delta, linear, scan, selective_scan):
    getattr(file, file.__name__.split(".")[-1])(**file.example_inputs(1, 5))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 31, 33, 62, 63, 64, 65, 100, 129, 257])
def test_kernels_on_a_gpu(T: int, dtype: torch.dtype) -> None:
    if not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("needs a CUDA device and no interpreter")
    bound = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.2e-2}[dtype]
    cases: list[tuple[Callable[..., Any], Any, dict[str, Any]]] = [
        (scan, scan_file, scan_file.example_inputs(3, T, 130, seed=T, dtype=dtype)),
        *(
            (selective_scan, selective_file, selective_file.example_inputs(3, T, 70, N, T, dtype))
            for N in (4, 16, 33, 64)
        ),
    ]
    for operator, file, inputs in cases:
        inputs = (
            inputs if T % 2 else {n: None if n in ("h0", "Dskip") else x for n, x in inputs.items()}
        )
        check_on_gpu(operator, file.definition, inputs, bound)


def check_on_gpu(
    operator: Callable[..., Any],
    definition: Callable[..., Any],
    inputs: dict[str, Any],
    bound: float,
) -> None:
    """The kernels against the definition in float64, and the same bits in 20 runs."""
    there = {n: None if x is None else x.cuda() for n, x in inputs.items()}
    got = with_gradients(operator, there)
    assert kernels.served()[operator.__name__] == "triton"
    exact = {n: None if x is None else x.double() for n, x in inputs.items()}
    check_equal({n: x.cpu() for n, x in got.items()}, with_gradients(definition, exact), bound)
    for _ in range(20):
        again = with_gradients(operator, there)
        assert all(torch.equal(x, got[n]) for n, x in again.items()), "a run differs from the first"
