"""The selective scan as an operator of torch, by its kernels or its reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels._launch import blocks
from kernels._register import register
from kernels.selective_scan.plans import CHUNK, KERNEL_CHUNK


class Inputs(NamedTuple):
    """Row b uses entry b // (B / P) of A [P,D,N] and Dskip [P,D], so that vmap over models, each
    with its own A, folds into the rows."""

    u: Tensor
    delta: Tensor
    A: Tensor
    Bm: Tensor
    Cm: Tensor
    Dskip: Tensor | None
    h0: Tensor | None
    triton: bool


def made(i: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the state before every chunk [B,chunks,N,D], not filled."""
    (B, T, D), N = i.u.shape, i.A.shape[2]
    wide = torch.promote_types(i.u.dtype, torch.float32)
    chunks = blocks(T, KERNEL_CHUNK if i.triton else CHUNK)
    last, kept = (i.u.new_empty(s, dtype=wide) for s in ((B, D, N), (B, chunks, N, D)))
    return i.u.new_empty(B, T, D), last, kept


_run = register("selective_scan", Inputs, made, ("y", "last", "kept"), public=2, kept=("kept",))


def run(*tensors: Any, triton: bool) -> tuple[Tensor, Tensor]:
    """y and h_last of one model's tensors, differentiable."""
    u, delta, A, Bm, Cm, Dskip, h0 = tensors
    Dskip = None if Dskip is None else Dskip[None]
    y, last, _ = _run(Inputs(u, delta, A[None], Bm, Cm, Dskip, h0, triton))
    return y, last
