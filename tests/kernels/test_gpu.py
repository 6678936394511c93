"""The Triton kernels on a CUDA device (pytest -m gpu): every operator against its definition.

Every length and option in three types, bounds by tests/kernels/rounding.py, and the same bits in 20
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kernels import attention, delta, path, scan, selective_scan, served
from tests.kernels.rounding import (
    check_against_definition,
    check_close,
    doubled,
    limits,
    with_gradients,
)

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
# Tiles follow the length; lengths of one group share binaries, so workers share the compilation.
GROUPS = [(1, 2, 15, 16), (17, 31), (33, 62, 63, 64), (65, 100, 129, 257)]
LENGTHS = [T for group in GROUPS for T in group]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
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


def on_device(inputs: Inputs) -> Inputs:
    return {n: x.to(DEVICE) if torch.is_tensor(x) else x for n, x in inputs.items()}


def check(name: str, file: Any, inputs: Inputs) -> None:
    """The kernels against the definition in float64: every output and gradient."""
    inputs = on_device(inputs)
    check_against_definition(name, getattr(file, name), file.definition, inputs, gpu=True)


def check_repeats(name: str, file: Any, inputs: Inputs) -> None:
    """The same bits in 20 runs, by the kernels without being asked for."""
    inputs = on_device(inputs)
    first = with_gradients(getattr(file, name), inputs)
    assert served()[name] == "triton"
    for _ in range(20):
        again = with_gradients(getattr(file, name), inputs)
        assert all(torch.equal(first[n], again[n]) for n in first), "a run differs from the first"


@operators
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [16, 32, 64, 128])
@pytest.mark.parametrize("lengths", GROUPS)
def test_against_the_definition(
    name: str, dtype: torch.dtype, d: int, lengths: tuple[int, ...]
) -> None:
    file, make = OPERATORS[name]
    if (name, dtype, d) == ("path", torch.float32, 128):
        pytest.skip("no kernel: too wide in float32")
    for T in lengths:
        check(name, file, make(T, dtype, d))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("d", "e"), [(16, 16), (24, 40), (32, 32), (64, 64), (64, 128), (128, 64), (72, 20)]
)
@pytest.mark.parametrize("T", LENGTHS)
def test_delta_of_every_width(T: int, d: int, e: int, dtype: torch.dtype) -> None:
    for distinct in (None, 3):
        inputs: Inputs = delta.example_inputs(2, T, 3, d, e, T, dtype, distinct)
        inputs |= [{}, {"log_decay": None}, {"S0": None}][T % 3]
        check("delta", delta, inputs)
        check_repeats("delta", delta, inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("T", LENGTHS)
def test_scans_of_every_state(T: int, dtype: torch.dtype) -> None:
    cases: list[tuple[str, Any, Inputs]]
    cases = [("scan", scan, scan.example_inputs(3, T, 130, seed=T, dtype=dtype))]
    for N in (4, 16, 33, 64):
        inputs = selective_scan.example_inputs(3, T, 70, N, T, dtype)
        cases.append(("selective_scan", selective_scan, inputs))
    for name, file, inputs in cases:
        absent = {} if T % 2 else dict.fromkeys({"h0", "Dskip"} & inputs.keys())
        check(name, file, inputs | absent)
        check_repeats(name, file, inputs | absent)


@operators
@pytest.mark.parametrize("d", [32, 64])
def test_twenty_repetitions_are_the_same_bits(name: str, d: int) -> None:
    file, make = OPERATORS[name]
    check_repeats(name, file, make(257, torch.bfloat16, d))


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


def test_path_in_float32_with_wide_heads_runs() -> None:
    inputs = on_device(path_inputs(33, torch.float32, 128))
    with pytest.raises(ValueError, match="float32 exceed 64"):
        path.path(**inputs, impl="triton")
    got = with_gradients(path.path, inputs)
    assert served()["path"] == "reference"
    want = with_gradients(path.definition, doubled(inputs))
    check_close(got, want, limits("path", inputs, want, torch.float32, gpu=True))


def test_heads_wider_than_the_kernels_run() -> None:
    """The width of GPT-2's one head in the claim cot-parity, in the type that it trains in."""
    inputs = on_device(attention.example_inputs(2, 33, 1, 720, dtype=torch.bfloat16))
    got = with_gradients(attention.attention, inputs)
    assert served()["attention"] == "reference"
    want = with_gradients(attention.definition, doubled(inputs))
    check_close(got, want, limits("attention", inputs, want, torch.bfloat16, gpu=True))
