"""The calls whose kernels are compiled ahead of time (kernels/_aot.py), as they really launch them.

A and B are the shapes of the bench (lab/bench/kernels.py): long rows with heads of 64, short rows
with heads of 32. Inputs have shapes and types but no memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch._library.custom_ops import CustomOpDef
from torch._subclasses.fake_tensor import FakeTensorMode

from kernels._launch import Launch, recorded

OPERATORS = ("attention", "delta", "path", "scan", "selective_scan")
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gate": {"gate": "elementwise"},
    "all": {"gate": "elementwise", "alibi": True, "window": True, "forget": True},
}


class Call(NamedTuple):
    """One call of an operator: example inputs by their options, those that are absent, a type."""

    operator: str
    name: str
    dtype: torch.dtype
    options: dict[str, Any]
    absent: tuple[str, ...] = ()


def calls() -> Iterator[Call]:
    """Every call, those of the bench first."""
    low = torch.bfloat16
    for letter, (B, T, H, d) in (("A", (32, 2048, 8, 64)), ("B", (1024, 128, 4, 32))):
        heads = {"B": B, "T": T, "H": H, "d": d}
        yield Call("attention", letter, low, heads | {"gate": "elementwise"})
        yield Call("path", letter, low, heads)
        yield Call("delta", letter, low, heads | {"e": d}, ("S0",))
        yield Call("scan", letter, low, {"B": B, "T": T, "D": H * d}, ("h0",))
        yield Call("selective_scan", letter, low, {"B": B, "T": T, "D": H * d}, ("h0",))
    for dtype in (low, torch.float32):
        for d, T in ((32, 128), (32, 2048), (64, 2048), (128, 2048)):
            heads = {"B": 2, "T": T, "H": 4, "d": d}
            for name, options in OPTIONS.items():
                yield Call("attention", f"T {T} d {d} {name}", dtype, heads | options)
            if dtype == torch.float32 and d == 128:
                continue  # no kernel of PaTH
            yield Call("path", f"T {T} d {d} plain", dtype, heads)
            options = {"forget": True, "gate": "elementwise", "G": 2}
            yield Call("path", f"T {T} d {d} all", dtype, heads | options)
        short = {"B": 2, "T": 64, "H": 4, "d": 32, "forget": True, "gate": "elementwise"}
        yield Call("path", "T 64 d 32 all", dtype, short)
        for d, e in ((16, 16), (32, 32), (64, 32), (64, 64), (128, 128)):
            yield Call("delta", f"d {d} e {e}", dtype, {"T": 2048, "d": d, "e": e})
        yield Call("scan", "h0", dtype, {"T": 2048, "D": 512})
        for N in (16, 64):
            yield Call("selective_scan", f"N {N}", dtype, {"T": 2048, "D": 512, "N": N})


def launches(call: Call) -> tuple[list[Launch], list[Launch]]:
    """What the forward and the backward pass of a call launch.

    An operator of torch.library only makes the shapes of its outputs where tensors have no memory;
    here it runs the function that it was made of.
    """
    module = importlib.import_module(f"kernels.{call.operator}")
    through = patch.object(CustomOpDef, "__call__", lambda self, *inputs: self._init_fn(*inputs))
    with FakeTensorMode(), through, recorded() as found:
        inputs = module.example_inputs(**call.options, dtype=call.dtype)
        inputs = {n: x for n, x in inputs.items() if n not in call.absent}
        learned = [x.requires_grad_() for n, x in inputs.items() if n not in ("slopes", "window")]
        y = getattr(module, call.operator)(**inputs, impl="triton")
        outputs, forward = y if isinstance(y, tuple) else (y,), len(found)
        torch.autograd.grad(outputs, learned, [torch.ones_like(x) for x in outputs])
    return found[:forward], found[forward:]
