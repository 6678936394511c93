"""The kernels of the gated delta rule under Triton's interpreter, against the definition."""

from __future__ import annotations

import os
import sys

import pytest

if "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
elif os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("triton was imported without TRITON_INTERPRET=1", allow_module_level=True)

from typing import Any

import torch
from test_interpreter_scan import LENGTHS, check, without
from test_interpreter_scan import poison as poison
from test_scan import check_equal

from kernels import delta as file
from kernels.delta import _Plan, definition, delta

BOUND = {torch.float32: 4e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def make(T: int, d: int, e: int, dtype: torch.dtype, distinct: int | None = None) -> dict[str, Any]:
    """Odd lengths without decay or without a first state, in turn."""
    inputs: dict[str, Any] = file.example_inputs(
        1, T, 2 if T < 62 else 1, d, e, seed=T, dtype=dtype, distinct=distinct
    )
    return without(inputs, *{1: ["log_decay"], 2: ["S0"], 3: []}[T % 3 or 3])


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("prepared", [False, True])
def test_float32(T: int, prepared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to invert; the prepared one is shipped for 16-bit numbers only."""
    if prepared:
        monkeypatch.setattr(file, "_plan", lambda d, e, dtype: _Plan(32, True, 32, 4, 16))
    inputs = make(T, 24, 40, torch.float32)
    check(delta, definition, inputs, BOUND[torch.float32], scale=0.7)


@pytest.mark.parametrize("T", [2, 33, 65])
@pytest.mark.parametrize(("d", "e"), [(24, 40), (40, 72), (72, 20)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, d: int, e: int, T: int) -> None:
    check(delta, definition, make(T, d, e, dtype), BOUND[dtype])


@pytest.mark.parametrize("distinct", [1, 3])
@pytest.mark.parametrize("prepared", [False, True])
def test_repeated_keys_and_resets(
    distinct: int, prepared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """beta near 2 on few keys, where powers of L explode; decays of nearly 1 and of exactly 0."""
    if prepared:
        monkeypatch.setattr(file, "_plan", lambda d, e, dtype: _Plan(32, True, 32, 4, 16))
    inputs = make(129, 16, 16, torch.float32, distinct)
    inputs["beta"] = torch.full_like(inputs["beta"], 1.99)
    pick = torch.rand(1, 129, 1, generator=torch.Generator().manual_seed(0))
    decay = torch.full((1, 129, 1), -1e-3)
    inputs["log_decay"] = torch.where(pick < 0.05, -torch.inf, decay)
    check(delta, definition, inputs, 2e-5)


def test_only_what_is_asked_for() -> None:
    """Without gradients nothing is saved; a loss on one output alone works."""
    i = file.example_inputs(1, 33, 1, 16, 16)
    with torch.no_grad():
        plain = delta(**i, impl="triton")
    leaves = {n: x.requires_grad_() for n, x in i.items()}
    for output in (0, 1):
        both = []
        for impl in ("triton", "reference"):
            out = delta(**leaves, impl=impl)
            grads = torch.autograd.grad(
                out[output].sum(), list(leaves.values()), materialize_grads=True
            )
            both.append(dict(zip(leaves, grads, strict=True)))
            if impl == "triton":
                assert torch.equal(out[output], plain[output])
        check_equal(*both, 4e-6)


@pytest.mark.parametrize("bare", [False, True])
def test_vmap(bare: bool) -> None:
    i = make(17, 8, 8, torch.float32)
    i = without(i, "log_decay", "S0") if bare else i
    names = [n for n, x in i.items() if x is not None and n != "v"]
    many = [i[n] * torch.tensor([1.0, 0.5, 0.9]).view(3, *[1] * i[n].ndim) for n in names]

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        o, last = delta(**i | dict(zip(names, tensors, strict=True)), impl="triton")
        return o.sin().sum() + last.cos().sum()

    which = tuple(range(len(names)))
    got = torch.func.vmap(torch.func.grad(loss, which))(*many)
    for n in range(3):
        single = torch.func.grad(loss, which)(*(x[n] for x in many))
        for g, w in zip(got, single, strict=True):
            assert torch.allclose(g[n], w, atol=1e-5)


def test_operators_are_registered_soundly() -> None:
    i = file.example_inputs(1, 5, 2, 4, 4)
    i["k"] = i["k"].mT.contiguous().mT
    full = [*i.values()]
    bare = [*full[:4], None, None]
    for inputs in (full, bare):
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        torch.library.opcheck(file._delta, (*leaves, 0.5, True))
        torch.library.opcheck(file._delta, (*inputs, 0.5, False), test_utils=("test_faketensor",))
        o, last, *saved = file._delta(*inputs, 0.5, True)
        tests = ("test_schema", "test_faketensor")
        arguments = (*inputs, *saved, o, last, 0.5)
        torch.library.opcheck(file._delta_backward, arguments, test_utils=tests)


def test_what_the_kernels_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        delta(**file.example_inputs(1, 3, 1, 4, 4, dtype=torch.float64), impl="triton")
    with pytest.raises(ValueError, match="129"):
        delta(**file.example_inputs(1, 3, 1, 4, 129), impl="triton")
