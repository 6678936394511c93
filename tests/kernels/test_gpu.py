"""The Triton kernels on a CUDA device (pytest -m gpu): every operator against its definition.

The same lengths and options as under the interpreter, in three types, and bit-for-bit repeatable.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels import attention, delta, path, scan, selective_scan, served

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LENGTHS = [1, 2, 15, 16, 17, 31, 33, 62, 63, 64, 65, 100, 129, 257]
BOUND = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}  # tf32x3 and ieee dots
CONSTANT = ("slopes", "window")
Inputs = dict[str, Any]


def attention_inputs(T: int, dtype: torch.dtype, d: int) -> Inputs:
    everything = {"alibi": True, "window": True, "forget": True, "gate": "elementwise"}
    return attention.example_inputs(2, T, 4, d, G=2, e=48, **everything, dtype=dtype)


def path_inputs(T: int, dtype: torch.dtype, d: int) -> Inputs:
    options = {"forget": True, "gate": "elementwise", "repeat": 3}
    return path.example_inputs(2, T, 4, d, G=2, e=48, **options, dtype=dtype)


def delta_inputs(T: int, dtype: torch.dtype, d: int) -> Inputs:
    return delta.example_inputs(2, T, 2, d, 48, dtype=dtype, distinct=3)


def scan_inputs(T: int, dtype: torch.dtype, d: int) -> Inputs:
    return scan.example_inputs(3, T, 2 * d, dtype=dtype)


def selective_inputs(T: int, dtype: torch.dtype, d: int) -> Inputs:
    return selective_scan.example_inputs(2, T, d, 16, dtype=dtype)


OPERATORS: dict[str, tuple[Any, Callable[[int, torch.dtype, int], Inputs]]] = {
    "attention": (attention, attention_inputs),
    "path": (path, path_inputs),
    "delta": (delta, delta_inputs),
    "scan": (scan, scan_inputs),
    "selective_scan": (selective_scan, selective_inputs),
}
operators = pytest.mark.parametrize("name", OPERATORS)


def results(function: Any, inputs: Inputs, **options: Any) -> dict[str, torch.Tensor]:
    """All outputs, and the gradient of every input for one fixed direction of the outputs."""
    leaves = {
        n: x if n in CONSTANT else x.detach().clone().requires_grad_() for n, x in inputs.items()
    }
    found = function(**leaves, **options)
    outputs = found if isinstance(found, tuple) else (found,)
    wanted = [x for n, x in leaves.items() if n not in CONSTANT]
    ups = [
        torch.sin(torch.arange(y.numel(), device=y.device)).view_as(y).to(y.dtype) for y in outputs
    ]
    grads = torch.autograd.grad(outputs, wanted, ups)
    names = [n for n in leaves if n not in CONSTANT]
    named = {f"output {i}": y.detach() for i, y in enumerate(outputs)}
    return named | {f"d{n}": g for n, g in zip(names, grads, strict=True)}


def gap(got: torch.Tensor, want: torch.Tensor) -> float:
    """Relative RMS difference; absolute where `want` is zero up to rounding."""
    want = want.double()
    size = want.norm().item()
    return (got.double() - want).norm().item() / (size if size > 1e-6 else 1.0)


def on_device(inputs: Inputs) -> Inputs:
    return {n: x.to(DEVICE) for n, x in inputs.items()}


@operators
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("d", [16, 32, 64, 128])
def test_against_the_definition(name: str, dtype: torch.dtype, d: int) -> None:
    file, make = OPERATORS[name]
    operator = getattr(file, name)
    for T in LENGTHS:
        inputs = on_device(make(T, dtype, d))
        got = results(operator, inputs, impl="triton")
        assert served()[name] == "triton"
        exact = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
        want = results(file.definition, exact)
        gaps = {n: gap(got[n], want[n]) for n in want}
        assert {n: g for n, g in gaps.items() if not g < BOUND[dtype]} == {}, f"T = {T}"


@operators
@pytest.mark.parametrize("d", [32, 64])
def test_twenty_repetitions_are_the_same_bits(name: str, d: int) -> None:
    file, make = OPERATORS[name]
    inputs = on_device(make(257, torch.bfloat16, d))
    first = results(getattr(file, name), inputs)
    for _ in range(20):
        again = results(getattr(file, name), inputs)
        assert all(torch.equal(first[n], again[n]) for n in first)


@operators
def test_auto_serves_the_kernel(name: str) -> None:
    file, make = OPERATORS[name]
    getattr(file, name)(**on_device(make(33, torch.float32, 32)))
    assert served()[name] == "triton"


@operators
def test_an_unsupported_type_raises(name: str) -> None:
    file, make = OPERATORS[name]
    inputs = on_device(make(9, torch.float64, 16))
    with pytest.raises(ValueError, match="float64"):
        getattr(file, name)(**inputs, impl="triton")


def test_heads_wider_than_the_kernels_run() -> None:
    """The width of GPT-2's one head in the claim cot-parity, in the type that it trains in."""
    inputs = on_device(attention.example_inputs(2, 33, 1, 720, dtype=torch.bfloat16))
    got = results(attention.attention, inputs)
    assert served()["attention"] == "reference"
    want = results(attention.definition, {n: x.double() for n, x in inputs.items()})
    assert all(gap(got[n], want[n]) < BOUND[torch.bfloat16] for n in want)


SANITIZED = """
import torch, test_gpu_kernels as t
for name, (file, make) in t.OPERATORS.items():
    for T in (33, 65):
        t.results(getattr(file, name), t.on_device(make(T, torch.bfloat16, {d})), impl="triton")
torch.cuda.synchronize()
"""


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="no compute-sanitizer")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("d", [32, 64])
def test_no_stray_access_and_no_race(tool: str, d: int) -> None:
    here = Path(__file__).resolve().parent
    sanitizer = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    done = subprocess.run(
        [*sanitizer, sys.executable, "-c", SANITIZED.format(d=d)],
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
