"""Diagonal gated linear recurrence, the core of gated RNNs:

    h_t = a_t * h_{t-1} + x_t        h_{-1} = h0, or 0

a [B,T,D] (meant for 0 <= a <= 1), x [B,T,D], h0 [B,D] or None -> h [B,T,D]. Nothing divides by a
product of gates, so that a gate of exactly zero is a clean reset. Used so by HGRN (arXiv
2311.04823) and by minGRU (arXiv 2410.01201) with a = 1 - z and x = z * candidate.

The state is float32 whatever the inputs are (float64 for float64 inputs); h has the type of x.
The gradient is the same recurrence backwards: g_t = dh_t + a_{t+1} g_{t+1}, dx = g,
da_t = g_t h_{t-1}.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels import COUNTS, Impl, choose, has_triton

if has_triton():
    import triton
    import triton.language as tl

# Elements of state that one step of the reference touches: rows beyond it wait for the next block,
# so that a block's strided steps stay in cache.
_BLOCK = 8192


def definition(a: Tensor, x: Tensor, h0: Tensor | None = None) -> Tensor:
    """The formula, one token at a time, in the type of x."""
    h = torch.zeros_like(x[:, 0]) if h0 is None else h0
    out = []
    for t in range(x.shape[1]):
        h = a[:, t] * h + x[:, t]
        out.append(h)
    return torch.stack(out, 1)


def step(a: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """One token: a, x, h [B,D] -> the new h [B,D]."""
    return a * h + x


def reference(a: Tensor, x: Tensor, h0: Tensor | None = None) -> Tensor:
    """A loop over time into one preallocated tensor; the gradient is a loop too.

    On a CPU the loop moves every number once, where doubling would move it log2(T) times.
    """
    return _run(a, x, h0, False)


def scan(a: Tensor, x: Tensor, h0: Tensor | None = None, *, impl: Impl = "auto") -> Tensor:
    """h [B,T,D] with h_t = a_t * h_{t-1} + x_t, for a [B,T,D], x [B,T,D], h0 [B,D] or None."""
    if a.shape != x.shape or x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"scan: a {list(a.shape)} and x {list(x.shape)} must be one [B,T,D]")
    if h0 is not None and h0.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"scan: h0 {list(h0.shape)} must be [{x.shape[0]}, {x.shape[2]}]")
    no = "float64 is more than the kernel's float32" if x.dtype == torch.float64 else None
    if x[0].numel() >= 2**31:
        no = f"T * D = {x[0].numel()} is beyond the kernel's 32-bit offsets"
    return _run(a, x, h0, choose("scan", impl, x.device, no))


def _run(a: Tensor, x: Tensor, h0: Tensor | None, triton: bool) -> Tensor:
    # The compiler takes the operator with its registered gradient; torch.func.grad does not.
    run = _scan if torch.compiler.is_compiling() else _Scan.apply
    return run(a, x, h0, triton)


def example_inputs(
    B: int = 2, T: int = 64, D: int = 64, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `scan`: gates in [0, 1] with exact zeros and ones among them."""
    g = torch.Generator().manual_seed(seed)
    a = torch.sigmoid(torch.randn(B, T, D, generator=g, dtype=torch.float64) + 2)
    pick = torch.rand(B, T, D, generator=g)
    a = a.masked_fill(pick < 0.05, 0.0).masked_fill(pick > 0.95, 1.0)
    x = torch.randn(B, T, D, generator=g, dtype=torch.float64)
    h0 = torch.randn(B, D, generator=g, dtype=torch.float64)
    return {"a": a.to(dtype), "x": x.to(dtype), "h0": h0.to(dtype)}


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _loop(a: Tensor, x: Tensor, h0: Tensor | None, h: Tensor) -> None:
    """Fill h; all of one type."""
    rows = max(1, _BLOCK // x.shape[2])
    for r in range(0, x.shape[0], rows):
        at, xt, ht = (v[r : r + rows].unbind(1) for v in (a, x, h))
        if h0 is None:
            ht[0].copy_(xt[0])
        else:
            torch.addcmul(xt[0], at[0], h0[r : r + rows], out=ht[0])
        for t in range(1, len(xt)):
            torch.addcmul(xt[t], at[t], ht[t - 1], out=ht[t])


def _loop_back(a: Tensor, dh: Tensor, g: Tensor) -> None:
    """Fill g_t = dh_t + a_{t+1} g_{t+1}; all of one type."""
    rows = max(1, _BLOCK // dh.shape[2])
    for r in range(0, dh.shape[0], rows):
        at, dt, gt = (v[r : r + rows].unbind(1) for v in (a, dh, g))
        gt[-1].copy_(dt[-1])
        for t in range(len(gt) - 2, -1, -1):
            torch.addcmul(dt[t], at[t + 1], gt[t + 1], out=gt[t])


if has_triton():

    @triton.jit(do_not_specialize=COUNTS)
    def _forward_kernel(  # type: ignore[no-untyped-def]
        A, X, H0, H, T, D, INITIAL: tl.constexpr, BD: tl.constexpr, U: tl.constexpr, S: tl.constexpr
    ):
        """One row's block of BD channels, token by token; U tokens are fetched S stages ahead."""
        row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
        A, X, H = A + row * T * D, X + row * T * D, H + row * T * D
        h = tl.zeros([BD], tl.float32)
        if INITIAL:
            h = tl.load(H0 + row * D + d, mask=d < D, other=0.0).to(tl.float32)
        for first in tl.range(0, T, U, num_stages=S):
            for j in tl.static_range(U):
                t = first + j
                here = t * D + d
                inside = (t < T) & (d < D)
                a = tl.load(A + here, mask=inside, other=0.0).to(tl.float32)
                x = tl.load(X + here, mask=inside, other=0.0).to(tl.float32)
                h = a * h + x
                tl.store(H + here, h.to(H.dtype.element_ty), mask=inside)

    @triton.jit(do_not_specialize=COUNTS)
    def _backward_kernel(  # type: ignore[no-untyped-def]
        A,
        H,
        H0,
        DH,
        DA,
        DX,
        DH0,
        T,
        D,
        INITIAL: tl.constexpr,
        BD: tl.constexpr,
        U: tl.constexpr,
        S: tl.constexpr,
    ):
        """The same from the last token to the first; kept is a_{t+1} g_{t+1}."""
        row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
        A, H, DH = A + row * T * D, H + row * T * D, DH + row * T * D
        DA, DX = DA + row * T * D, DX + row * T * D
        h0 = tl.zeros([BD], tl.float32)
        if INITIAL:
            h0 = tl.load(H0 + row * D + d, mask=d < D, other=0.0).to(tl.float32)
        kept = tl.zeros([BD], tl.float32)
        for first in tl.range(0, T, U, num_stages=S):
            for j in tl.static_range(U):
                t = T - 1 - first - j
                here = t * D + d
                inside = (t >= 0) & (d < D)
                a = tl.load(A + here, mask=inside, other=0.0).to(tl.float32)
                dh = tl.load(DH + here, mask=inside, other=0.0).to(tl.float32)
                before = tl.load(H + here - D, mask=(t > 0) & (d < D), other=0.0).to(tl.float32)
                before = tl.where(t == 0, h0, before)
                g = dh + kept
                kept = tl.where(t >= 0, a * g, kept)
                tl.store(DX + here, g.to(DX.dtype.element_ty), mask=inside)
                tl.store(DA + here, (g * before).to(DA.dtype.element_ty), mask=inside)
        if INITIAL:
            tl.store(DH0 + row * D + d, kept.to(DH0.dtype.element_ty), mask=d < D)


# One warp of 64 channels: many small programs, each with several tokens under way from memory.
_FORWARD = {"BD": 64, "U": 8, "S": 4}
_BACKWARD = {"BD": 64, "U": 8, "S": 3}
_LAUNCH = {"num_warps": 1, "num_stages": 1}


def _launch(a: Tensor, x: Tensor, h0: Tensor | None) -> Tensor:
    a, x = a.contiguous(), x.contiguous()
    h = torch.empty_like(x)
    B, T, D = x.shape
    first = h if h0 is None else h0.contiguous()
    _forward_kernel[(B, triton.cdiv(D, _FORWARD["BD"]))](
        a, x, first, h, T, D, h0 is not None, **_FORWARD, **_LAUNCH
    )
    return h


def _launch_back(
    a: Tensor, h: Tensor, h0: Tensor | None, dh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    a, dh = a.contiguous(), dh.contiguous()
    da, dx = torch.empty_like(a), torch.empty_like(h)
    dh0 = a.new_empty(len(a), 0) if h0 is None else h0.new_empty(h0.shape)
    B, T, D = h.shape
    first = h if h0 is None else h0.contiguous()
    _backward_kernel[(B, triton.cdiv(D, _BACKWARD["BD"]))](
        a, h, first, dh, da, dx, dh0, T, D, h0 is not None, **_BACKWARD, **_LAUNCH
    )
    return da, dx, dh0


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time; spill_free is for sm_90."""
    kernels = ((_forward_kernel, _FORWARD), (_backward_kernel, _BACKWARD))
    found = []
    for dtype, (kernel, blocks) in itertools.product(("bf16", "fp32"), kernels):
        constexprs = {"INITIAL": True, **blocks}
        types = dict.fromkeys(set(kernel.arg_names) - set(constexprs), f"*{dtype}")
        found.append(
            {
                "name": f"scan {kernel.__name__.strip('_')} {dtype}",
                "kernel": kernel,
                "signature": types | {"T": "i32", "D": "i32"},
                "divisible": ("D",),
                "constexprs": constexprs,
                "spill_free": True,
                **_LAUNCH,
            }
        )
    return found


@torch.library.custom_op("kernels::scan", mutates_args=())
def _scan(a: Tensor, x: Tensor, h0: Tensor | None, triton: bool) -> Tensor:
    if triton:
        with torch.cuda.device_of(x):
            return _launch(a, x, h0)
    a_, x_ = _wide(a), _wide(x)
    h = torch.empty(x.shape, dtype=x_.dtype, device=x.device)
    _loop(a_, x_, None if h0 is None else h0.to(x_.dtype), h)
    return h.to(x.dtype)


@torch.library.custom_op("kernels::scan_backward", mutates_args=())
def _scan_backward(
    a: Tensor, h: Tensor, h0: Tensor | None, dh: Tensor, triton: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """da, dx and dh0 (empty where there is no h0)."""
    if triton:
        with torch.cuda.device_of(h):
            return _launch_back(a, h, h0, dh)
    a_, h_, dh_ = _wide(a), _wide(h), _wide(dh)
    g = torch.empty(dh.shape, dtype=dh_.dtype, device=dh.device)
    _loop_back(a_, dh_, g)
    da = torch.empty_like(g)
    torch.mul(g[:, 1:], h_[:, :-1], out=da[:, 1:])
    if h0 is None:
        da[:, 0].zero_()
        dh0 = g.new_empty(len(g), 0)
    else:
        torch.mul(g[:, 0], h0, out=da[:, 0])
        dh0 = (g[:, 0] * a_[:, 0]).to(h0.dtype)
    return da.to(a.dtype), g.to(h.dtype), dh0


@_scan.register_fake
def _(a: Tensor, x: Tensor, h0: Tensor | None, triton: bool) -> Tensor:
    return x.new_empty(x.shape)


@_scan_backward.register_fake
def _(
    a: Tensor, h: Tensor, h0: Tensor | None, dh: Tensor, triton: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dh0 = a.new_empty(len(a), 0) if h0 is None else h0.new_empty(h0.shape)
    return a.new_empty(a.shape), h.new_empty(h.shape), dh0


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    a, _, h0, ctx.triton = inputs
    ctx.save_for_backward(a, output, h0)


def _autograd(ctx, dh):  # type: ignore[no-untyped-def]
    a, h, h0 = ctx.saved_tensors
    da, dx, dh0 = _scan_backward(a, h, h0, dh, ctx.triton)
    return da, dx, None if h0 is None else dh0, None


_scan.register_autograd(_autograd, setup_context=_setup)


class _Scan(torch.autograd.Function):
    """The same gradient in the form that torch.func.grad takes."""

    generate_vmap_rule = True
    forward = staticmethod(lambda a, x, h0, triton: _scan(a, x, h0, triton))
    setup_context = staticmethod(_setup)
    backward = staticmethod(once_differentiable(_autograd))  # type: ignore[assignment]


@_scan.register_vmap
def _(info, in_dims, a, x, h0, triton):  # type: ignore[no-untyped-def]
    n = info.batch_size
    a, x, h0 = (_fold(v, dim, n) for v, dim in zip((a, x, h0), in_dims[:3], strict=True))
    return _scan(a, x, h0, triton).unflatten(0, (n, -1)), 0


@_scan_backward.register_vmap
def _(info, in_dims, a, h, h0, dh, triton):  # type: ignore[no-untyped-def]
    n = info.batch_size
    folded = [_fold(v, dim, n) for v, dim in zip((a, h, h0, dh), in_dims[:4], strict=True)]
    da, dx, dh0 = (v.unflatten(0, (n, -1)) for v in _scan_backward(*folded, triton))
    return (da, dx, dh0), (0, 0, 0)


def _fold(v: Tensor | None, dim: int | None, n: int) -> Tensor | None:
    """The vmapped dimension of v (or n copies) folded into its rows."""
    if v is None:
        return None
    v = v.expand(n, *v.shape) if dim is None else v.movedim(dim, 0)
    return v.reshape(-1, *v.shape[2:])
