"""Selective scan, the core of Mamba (arXiv 2312.00752, equations 2a, 2b and algorithm 2):

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        h_{-1} = h0, or 0
    y_t = C_t h_t + D u_t

u, delta [B,T,D] (delta already positive), A [D,N] (negative), Bm, Cm [B,T,N], Dskip [D] or None,
h0 [B,D,N] or None -> y [B,T,D] and h_last [B,D,N]. D channels, N numbers of state per channel; each
of the D x N numbers is its own recurrence. As in Mamba's own code, B_t is discretised by Euler
(delta_t B_t), A by zero-order hold.

The state, A and all sums are float32 whatever the inputs are (float64 for float64 inputs); y has
the type of u, h_last is float32. The T states are never all in memory: one in every chunk is kept,
and the backward pass recomputes the others. No atomics: the kernels' shares of dA, dB, dC and
dDskip are summed outside, in a fixed order.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels import COUNTS, Impl, choose, has_triton
from kernels.scan import _fold, _wide

if has_triton():
    import triton
    import triton.language as tl

# One state in _CHUNK is kept for the backward pass, by the reference and by the kernels. The
# reference works on blocks of rows x _CHUNK tokens with about _BLOCK numbers of state each.
_CHUNK = 16
_BLOCK = 1 << 19


def definition(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula, one token at a time, in the type of u."""
    h = u.new_zeros(u.shape[0], *A.shape) if h0 is None else h0
    out = []
    for t in range(u.shape[1]):
        h, y = _advance(u[:, t], delta[:, t], A, Bm[:, t], Cm[:, t], h)
        out.append(y if Dskip is None else y + Dskip * u[:, t])
    return torch.stack(out, 1), h


def step(
    u: Tensor, delta: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, Dskip: Tensor | None, h: Tensor
) -> tuple[Tensor, Tensor]:
    """One token: u, delta [B,D], Bm, Cm [B,N], h [B,D,N] -> y [B,D] and the new h."""
    h, y = _advance(_wide(u), _wide(delta), _wide(A), _wide(Bm), _wide(Cm), h)
    return (y if Dskip is None else y + Dskip * u).to(u.dtype), h


def _advance(
    u: Tensor, delta: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    h = torch.exp(delta[:, :, None] * A) * h + (delta * u)[:, :, None] * Bm[:, None, :]
    return h, (h * Cm[:, None, :]).sum(-1)


def reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Blocks of a few rows and tokens whose states stay in cache; the gradient likewise."""
    return _run(u, delta, A, Bm, Cm, Dskip, h0, False)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """y [B,T,D] and h_last [B,D,N]; the shapes are in the module's docstring."""
    if u.ndim != 3 or A.ndim != 2 or 0 in u.shape:
        raise ValueError(
            f"selective_scan: u {list(u.shape)}, A {list(A.shape)} are not [B,T,D], [D,N]"
        )
    (B, T, D), N = u.shape, A.shape[1]
    wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]]
    wanted = {"delta": (delta, (B, T, D)), "A": (A, (D, N)), "Bm": (Bm, (B, T, N))}
    wanted |= {"Cm": (Cm, (B, T, N)), "Dskip": (Dskip, (D,)), "h0": (h0, (B, D, N))}
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"selective_scan: {name} {list(tensor.shape)} must be {list(shape)}")
    no = None
    if u.dtype == torch.float64:
        no = "float64 is more than the kernel's float32"
    elif N > 64:
        no = f"N = {N} is more than the kernel's 64"
    elif T * max(N, D, D * N // _CHUNK) >= 2**31:
        no = f"T = {T} with D = {D} is beyond the kernel's 32-bit offsets"
    return _run(u, delta, A, Bm, Cm, Dskip, h0, choose("selective_scan", impl, u.device, no))


def example_inputs(
    B: int = 2,
    T: int = 64,
    D: int = 32,
    N: int = 16,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `selective_scan`: Mamba's A, step sizes from 1e-3 to beyond 1."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    A = -torch.arange(1, N + 1, dtype=torch.float64) * (0.1 * normal(D, 1)).exp()
    delta = torch.nn.functional.softplus(2 * normal(B, T, D) - 2)
    return {
        "u": normal(B, T, D).to(dtype),
        "delta": delta.to(dtype),
        "A": A.to(torch.promote_types(dtype, torch.float32)),
        "Bm": normal(B, T, N).to(dtype),
        "Cm": normal(B, T, N).to(dtype),
        "Dskip": normal(D).to(torch.promote_types(dtype, torch.float32)),
        "h0": normal(B, D, N).to(torch.promote_types(dtype, torch.float32)),
    }


def _run(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    triton: bool,
) -> tuple[Tensor, Tensor]:
    Dskip = None if Dskip is None else Dskip[None]
    # The compiler takes the operator with its registered gradient; torch.func.grad does not.
    run = _selective_scan if torch.compiler.is_compiling() else _SelectiveScan.apply
    y, last, _ = run(u, delta, A[None], Bm, Cm, Dskip, h0, triton)
    return y, last


# Inside, A is [P,D,N] and Dskip [P,D]: row b uses entry b // (B / P), so that vmap over models,
# each with its own A, folds into the rows.


def _rows(B: int, P: int, states: int) -> list[tuple[int, slice]]:
    """Blocks of rows that share one A, of about _BLOCK states per chunk."""
    rows = max(1, min(B // P, _BLOCK // (_CHUNK * states)))
    group = B // P
    return [
        (p, slice(r, min(r + rows, (p + 1) * group)))
        for p in range(P)
        for r in range(p * group, (p + 1) * group, rows)
    ]


def _states(du: Tensor, delta: Tensor, At: Tensor, Bm: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states [rows, tokens, N, D] of one block after h; D, the long one, last."""
    decay = (delta[:, :, None, :] * At).exp_()
    hs = du[:, :, None, :] * Bm[..., None]
    for a, x in zip(decay.unbind(1), hs.unbind(1), strict=True):
        h = torch.addcmul(x, a, h, out=x)
    return decay, hs


if has_triton():

    @triton.jit
    def _fetch(U, DELTA, B, C, t, T, d, D, n, N):  # type: ignore[no-untyped-def]
        """Inputs of token t; behind the last token a step of size 0, which changes nothing."""
        here, there = (t < T) & (d < D), (t < T) & (n < N)
        u = tl.load(U + t * D + d, mask=here, other=0.0).to(tl.float32)
        delta = tl.load(DELTA + t * D + d, mask=here, other=0.0).to(tl.float32)
        b = tl.load(B + t * N + n, mask=there, other=0.0).to(tl.float32)
        c = tl.load(C + t * N + n, mask=there, other=0.0).to(tl.float32)
        return u, delta, b, c

    @triton.jit
    def _token(h, A2, u, delta, b):  # type: ignore[no-untyped-def]
        return tl.exp2(delta[None, :] * A2) * h + (delta * u)[None, :] * b[:, None]

    @triton.jit
    def _again(h, A2, U, DELTA, B, C, t, T, d, D, n, N):  # type: ignore[no-untyped-def]
        u, delta, b, _ = _fetch(U, DELTA, B, C, t, T, d, D, n, N)
        return _token(h, A2, u, delta, b)

    @triton.jit(do_not_specialize=COUNTS)
    def _forward_kernel(  # type: ignore[no-untyped-def]
        U,
        DELTA,
        A,
        B,
        C,
        SKIP,
        H0,
        Y,
        LAST,
        KEPT,
        T,
        D,
        N,
        shared_rows,
        HAS_SKIP: tl.constexpr,
        INITIAL: tl.constexpr,
        CHUNK: tl.constexpr,
        BD: tl.constexpr,
        BN: tl.constexpr,
    ):
        """One row's block of BD channels, 4 tokens at a time; the state is [BN, BD]."""
        row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
        n = tl.arange(0, BN)
        model = row // shared_rows
        U, DELTA, Y = U + row * T * D, DELTA + row * T * D, Y + row * T * D
        B, C = B + row * T * N, C + row * T * N
        KEPT += row * tl.cdiv(T, CHUNK) * N * D
        inside = (n < N)[:, None] & (d < D)[None, :]
        across = d[None, :] * N + n[:, None]
        A2 = tl.load(A + model * D * N + across, mask=inside, other=0.0).to(tl.float32)
        A2 *= 1.4426950408889634
        skip = tl.zeros([BD], tl.float32)
        if HAS_SKIP:
            skip = tl.load(SKIP + model * D + d, mask=d < D, other=0.0).to(tl.float32)
        h = tl.zeros([BN, BD], tl.float32)
        if INITIAL:
            h = tl.load(H0 + row * D * N + across, mask=inside, other=0.0).to(tl.float32)
        for t in range(0, T, 4):
            if t % CHUNK == 0:
                at = (t // CHUNK) * N * D + n[:, None] * D + d[None, :]
                tl.store(KEPT + at, h, mask=inside)
            # Four tokens are fetched together, before any store: their latencies overlap.
            u0, s0, b0, c0 = _fetch(U, DELTA, B, C, t, T, d, D, n, N)
            u1, s1, b1, c1 = _fetch(U, DELTA, B, C, t + 1, T, d, D, n, N)
            u2, s2, b2, c2 = _fetch(U, DELTA, B, C, t + 2, T, d, D, n, N)
            u3, s3, b3, c3 = _fetch(U, DELTA, B, C, t + 3, T, d, D, n, N)
            h = _token(h, A2, u0, s0, b0)
            y0 = tl.sum(h * c0[:, None], 0) + skip * u0
            h = _token(h, A2, u1, s1, b1)
            y1 = tl.sum(h * c1[:, None], 0) + skip * u1
            h = _token(h, A2, u2, s2, b2)
            y2 = tl.sum(h * c2[:, None], 0) + skip * u2
            h = _token(h, A2, u3, s3, b3)
            y3 = tl.sum(h * c3[:, None], 0) + skip * u3
            out = Y + t * D + d
            tl.store(out, y0.to(Y.dtype.element_ty), mask=d < D)
            tl.store(out + D, y1.to(Y.dtype.element_ty), mask=(t + 1 < T) & (d < D))
            tl.store(out + 2 * D, y2.to(Y.dtype.element_ty), mask=(t + 2 < T) & (d < D))
            tl.store(out + 3 * D, y3.to(Y.dtype.element_ty), mask=(t + 3 < T) & (d < D))
        tl.store(LAST + row * D * N + across, h, mask=inside)

    @triton.jit
    def _token_back(  # type: ignore[no-untyped-def]
        g, dA, before, h, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t, T, d, D, n, N
    ):
        """Store token t's gradients; g, the gradient of the state, goes on to the token before."""
        here, there = (t < T) & (d < D), (t < T) & (n < N)
        u, delta, b, c = _fetch(U, DELTA, B, C, t, T, d, D, n, N)
        dy = tl.load(DY + t * D + d, mask=here, other=0.0).to(tl.float32)
        g += c[:, None] * dy[None, :]
        tl.store(DC + t * N + n, tl.sum(h * dy[None, :], 1), mask=there)
        tl.store(DB + t * N + n, tl.sum(g * (delta * u)[None, :], 1), mask=there)
        dx = tl.sum(g * b[:, None], 0)
        g *= tl.exp2(delta[None, :] * A2)
        m = g * before
        # A2 is A / ln 2.
        ddelta = tl.sum(m * A2, 0) * 0.6931471805599453 + dx * u
        du = dx * delta + skip * dy
        tl.store(DDT + t * D + d, ddelta.to(DDT.dtype.element_ty), mask=here)
        tl.store(DU + t * D + d, du.to(DU.dtype.element_ty), mask=here)
        return g, dA + m * delta[None, :], dy * u

    @triton.jit(do_not_specialize=COUNTS)
    def _backward_kernel(  # type: ignore[no-untyped-def]
        U,
        DELTA,
        A,
        B,
        C,
        SKIP,
        KEPT,
        DY,
        DLAST,
        DU,
        DDT,
        DA,
        DB,
        DC,
        DSKIP,
        DH0,
        T,
        D,
        N,
        shared_rows,
        HAS_SKIP: tl.constexpr,
        CHUNK: tl.constexpr,
        BD: tl.constexpr,
        BN: tl.constexpr,
    ):
        """The same from the last token to the first, 4 tokens at a time.

        Their states are run again from the chunk's kept one. DA, DB, DC, DSKIP receive this
        program's share, summed outside in a fixed order.
        """
        row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
        n = tl.arange(0, BN)
        model = row // shared_rows
        U, DELTA, DY = U + row * T * D, DELTA + row * T * D, DY + row * T * D
        DU, DDT = DU + row * T * D, DDT + row * T * D
        B, C = B + row * T * N, C + row * T * N
        share = (tl.program_id(1) * tl.num_programs(0) + row) * T * N
        DB, DC = DB + share, DC + share
        KEPT += row * tl.cdiv(T, CHUNK) * N * D
        inside = (n < N)[:, None] & (d < D)[None, :]
        across = d[None, :] * N + n[:, None]
        along = n[:, None] * D + d[None, :]
        A2 = tl.load(A + model * D * N + across, mask=inside, other=0.0).to(tl.float32)
        A2 *= 1.4426950408889634
        skip = tl.zeros([BD], tl.float32)
        if HAS_SKIP:
            skip = tl.load(SKIP + model * D + d, mask=d < D, other=0.0).to(tl.float32)
        g = tl.load(DLAST + row * D * N + across, mask=inside, other=0.0).to(tl.float32)
        dA = tl.zeros([BN, BD], tl.float32)
        dskip = tl.zeros([BD], tl.float32)
        for i in range(0, tl.cdiv(T, 4)):
            t = (tl.cdiv(T, 4) - 1 - i) * 4
            chunk = t // CHUNK
            h0 = tl.load(KEPT + chunk * N * D + along, mask=inside, other=0.0)
            for s in range(chunk * CHUNK, t):
                h0 = _again(h0, A2, U, DELTA, B, C, s, T, d, D, n, N)
            h1 = _again(h0, A2, U, DELTA, B, C, t, T, d, D, n, N)
            h2 = _again(h1, A2, U, DELTA, B, C, t + 1, T, d, D, n, N)
            h3 = _again(h2, A2, U, DELTA, B, C, t + 2, T, d, D, n, N)
            h4 = _again(h3, A2, U, DELTA, B, C, t + 3, T, d, D, n, N)
            g, dA, e3 = _token_back(
                g,
                dA,
                h3,
                h4,
                A2,
                skip,
                U,
                DELTA,
                B,
                C,
                DY,
                DU,
                DDT,
                DB,
                DC,
                t + 3,
                T,
                d,
                D,
                n,
                N,
            )
            g, dA, e2 = _token_back(
                g,
                dA,
                h2,
                h3,
                A2,
                skip,
                U,
                DELTA,
                B,
                C,
                DY,
                DU,
                DDT,
                DB,
                DC,
                t + 2,
                T,
                d,
                D,
                n,
                N,
            )
            g, dA, e1 = _token_back(
                g,
                dA,
                h1,
                h2,
                A2,
                skip,
                U,
                DELTA,
                B,
                C,
                DY,
                DU,
                DDT,
                DB,
                DC,
                t + 1,
                T,
                d,
                D,
                n,
                N,
            )
            g, dA, e0 = _token_back(
                g, dA, h0, h1, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t, T, d, D, n, N
            )
            dskip += e0 + e1 + e2 + e3
        tl.store(DA + row * D * N + across, dA, mask=inside)
        tl.store(DH0 + row * D * N + across, g, mask=inside)
        if HAS_SKIP:
            tl.store(DSKIP + row * D + d, dskip, mask=d < D)


_CHANNELS = 32


def _blocks(N: int) -> dict[str, int]:
    return {"CHUNK": _CHUNK, "BD": _CHANNELS, "BN": 1 << (N - 1).bit_length()}


def _options(N: int, back: bool) -> dict[str, int]:
    """A warp for every 8 numbers of a channel's state; forward 16 of them fit into one."""
    alone = N <= 8 or (N <= 16 and not back)
    return {"num_warps": 1 if alone else (1 << (N - 1).bit_length()) // 8, "num_stages": 1}


def _launch(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    (B, T, D), (P, _, N) = u.shape, A.shape
    u, delta, A, Bm, Cm = (v.contiguous() for v in (u, delta, A, Bm, Cm))
    y = torch.empty_like(u)
    last = u.new_empty(B, D, N, dtype=torch.float32)
    kept = u.new_empty(B, -(-T // _CHUNK), N, D, dtype=torch.float32)
    _forward_kernel[(B, triton.cdiv(D, _CHANNELS))](
        u,
        delta,
        A,
        Bm,
        Cm,
        A if Dskip is None else Dskip.contiguous(),
        last if h0 is None else h0.contiguous(),
        y,
        last,
        kept,
        T,
        D,
        N,
        B // P,
        Dskip is not None,
        h0 is not None,
        **_blocks(N),
        **_options(N, False),
    )
    return y, last, kept


def _launch_back(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    kept: Tensor,
    dy: Tensor,
    dlast: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (B, T, D), (P, _, N) = u.shape, A.shape
    u, delta, A, Bm, Cm, dy, dlast = (v.contiguous() for v in (u, delta, A, Bm, Cm, dy, dlast))
    du, ddelta = torch.empty_like(u), torch.empty_like(delta)
    blocks = triton.cdiv(D, _CHANNELS)
    dA, dh0 = (kept.new_empty(B, D, N) for _ in range(2))
    dB, dC = (kept.new_empty(blocks, B, T, N) for _ in range(2))
    dskip = kept.new_empty(B, 0 if Dskip is None else D)
    _backward_kernel[(B, blocks)](
        u,
        delta,
        A,
        Bm,
        Cm,
        A if Dskip is None else Dskip.contiguous(),
        kept,
        dy,
        dlast,
        du,
        ddelta,
        dA,
        dB,
        dC,
        dskip,
        dh0,
        T,
        D,
        N,
        B // P,
        Dskip is not None,
        **_blocks(N),
        **_options(N, True),
    )
    return (
        du,
        ddelta,
        dA.unflatten(0, (P, -1)).sum(1).to(A.dtype),
        dB.sum(0).to(Bm.dtype),
        dC.sum(0).to(Cm.dtype),
        dskip.unflatten(0, (P, -1)).sum(1).to(A.dtype if Dskip is None else Dskip.dtype),
        dh0[:, :0].flatten(1) if h0 is None else dh0.to(h0.dtype),
    )


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time; spill_free is for sm_90."""
    found = []
    kernels = ((_forward_kernel, False), (_backward_kernel, True))
    for dtype, N, (kernel, back) in itertools.product(("bf16", "fp32"), (16, 64), kernels):
        constexprs = {"HAS_SKIP": True, "INITIAL": True, **_blocks(N)}
        constexprs = {name: x for name, x in constexprs.items() if name in kernel.arg_names}
        narrow = {"U", "DELTA", "B", "C", "Y", "DY", "DU", "DDT"}
        types = {
            name: f"*{dtype}" if name in narrow else "*fp32"
            for name in kernel.arg_names
            if name not in constexprs
        }
        types |= dict.fromkeys(("T", "D", "N", "shared_rows"), "i32")
        found.append(
            {
                "name": f"selective_scan {kernel.__name__.strip('_')} {dtype} N={N}",
                "kernel": kernel,
                "signature": types,
                "divisible": ("D", "N"),
                "constexprs": constexprs,
                "spill_free": True,
                **_options(N, back),
            }
        )
    return found


@torch.library.custom_op("kernels::selective_scan", mutates_args=())
def _selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the state before every chunk [B, chunks, N, D]."""
    if triton:
        with torch.cuda.device_of(u):
            return _launch(u, delta, A, Bm, Cm, Dskip, h0)
    (B, T, D), (P, _, N) = u.shape, A.shape
    u_, delta, A, Bm, Cm = (_wide(v) for v in (u, delta, A, Bm, Cm))
    y = torch.empty(B, T, D, dtype=u_.dtype, device=u.device)
    kept = u_.new_empty(B, -(-T // _CHUNK), N, D)
    last = u_.new_empty(B, D, N)
    for p, r in _rows(B, P, N * D):
        At = A[p].T.contiguous()
        h = (
            u_.new_zeros(r.stop - r.start, N, D)
            if h0 is None
            else h0[r].to(u_.dtype).mT.contiguous()
        )
        for i, t in enumerate(range(0, T, _CHUNK)):
            s = slice(t, t + _CHUNK)
            kept[r, i] = h
            _, hs = _states(delta[r, s] * u_[r, s], delta[r, s], At, Bm[r, s], h)
            torch.matmul(Cm[r, s, None, :], hs, out=y[r, s, None, :])
            h = hs[:, -1]
        last[r] = h.mT
        if Dskip is not None:
            y[r] += Dskip[p] * u_[r]
    return y.to(u.dtype), last, kept


@torch.library.custom_op("kernels::selective_scan_backward", mutates_args=())
def _selective_scan_backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    kept: Tensor,
    dy: Tensor,
    dlast: Tensor,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each input of the forward pass (empty where there is no input)."""
    if triton:
        with torch.cuda.device_of(u):
            return _launch_back(u, delta, A, Bm, Cm, Dskip, h0, kept, dy, dlast)
    (B, T, D), (P, _, N) = u.shape, A.shape
    u_, delta_, A_, B_, C_, dy = (_wide(v) for v in (u, delta, A, Bm, Cm, dy))
    du, ddelta = u_.new_empty(u.shape), u_.new_empty(u.shape)
    dAt = u_.new_zeros(P, N, D)
    dB, dC = B_.new_empty(Bm.shape), C_.new_empty(Cm.shape)
    dh0 = u_.new_empty((B, 0) if h0 is None else (B, D, N))
    dskip = u_.new_zeros((P, 0) if Dskip is None else (P, D))
    for p, r in _rows(B, P, N * D):
        At = A_[p].T.contiguous()
        carry = dlast[r].to(u_.dtype).mT
        for i, t in reversed(list(enumerate(range(0, T, _CHUNK)))):
            s = slice(t, t + _CHUNK)
            ut, dt, bt, ct, dyt = u_[r, s], delta_[r, s], B_[r, s], C_[r, s], dy[r, s]
            before = kept[r, i]
            decay, hs = _states(dt * ut, dt, At, bt, before)
            torch.sum(hs * dyt[:, :, None, :], 3, out=dC[r, s])
            g = ct[..., None] * dyt[:, :, None, :]
            gs, decays = g.unbind(1), decay.unbind(1)
            gs[-1].add_(carry)
            for j in range(len(gs) - 2, -1, -1):
                gs[j].addcmul_(decays[j + 1], gs[j + 1])
            carry = decays[0] * gs[0]
            torch.sum(g * (dt * ut)[:, :, None, :], 3, out=dB[r, s])
            dx = torch.sum(g * bt[..., None], 2)
            decay.mul_(g)
            decay[:, 1:].mul_(hs[:, :-1])
            decay[:, 0].mul_(before)
            torch.mul(decay, At, out=hs)
            torch.addcmul(hs.sum(2), dx, ut, out=ddelta[r, s])
            torch.mul(dx, dt, out=du[r, s])
            dAt[p] += decay.mul_(dt[:, :, None, :]).sum((0, 1))
        if h0 is not None:
            dh0[r] = carry.mT
        if Dskip is not None:
            du[r].addcmul_(dy[r], Dskip[p])
            dskip[p] += (dy[r] * u_[r]).sum((0, 1))
    return (
        du.to(u.dtype),
        ddelta.to(delta.dtype),
        dAt.mT.contiguous().to(A.dtype),
        dB.to(Bm.dtype),
        dC.to(Cm.dtype),
        dskip if Dskip is None else dskip.to(Dskip.dtype),
        dh0 if h0 is None else dh0.to(h0.dtype),
    )


@_selective_scan.register_fake
def _(u, delta, A, Bm, Cm, Dskip, h0, triton):  # type: ignore[no-untyped-def]
    (B, T, D), N = u.shape, A.shape[2]
    wide = torch.promote_types(u.dtype, torch.float32)
    last = u.new_empty(B, D, N, dtype=wide)
    return u.new_empty(B, T, D), last, u.new_empty(B, -(-T // _CHUNK), N, D, dtype=wide)


@_selective_scan_backward.register_fake
def _(*inputs):  # type: ignore[no-untyped-def]
    *some, dskip, dh0 = (None if v is None else v.new_empty(v.shape) for v in inputs[:7])
    dskip = inputs[7].new_empty(len(inputs[2]), 0) if dskip is None else dskip
    return *some, dskip, inputs[7].new_empty(len(inputs[0]), 0) if dh0 is None else dh0


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.triton = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)  # or the kept states get a gradient of zeros


def _autograd(ctx, dy, dlast, _):  # type: ignore[no-untyped-def]
    *tensors, kept = ctx.saved_tensors
    u, _, A, *_ = tensors
    dy = torch.zeros_like(u) if dy is None else dy
    dlast = kept.new_zeros(len(u), *A.shape[1:]) if dlast is None else dlast
    *some, dskip, dh0 = _selective_scan_backward(*tensors, kept, dy, dlast, ctx.triton)
    dskip, dh0 = (None if v is None else g for v, g in zip(tensors[5:], (dskip, dh0), strict=True))
    return *some, dskip, dh0, None


_selective_scan.register_autograd(_autograd, setup_context=_setup)


class _SelectiveScan(torch.autograd.Function):
    """The same gradient in the form that torch.func.grad takes."""

    generate_vmap_rule = True
    forward = staticmethod(
        lambda u, delta, A, Bm, Cm, Dskip, h0, triton: _selective_scan(
            u, delta, A, Bm, Cm, Dskip, h0, triton
        )
    )
    setup_context = staticmethod(_setup)
    backward = staticmethod(once_differentiable(_autograd))  # type: ignore[assignment]


@_selective_scan.register_vmap
def _(info, in_dims, *inputs):  # type: ignore[no-untyped-def]
    n = info.batch_size
    folded = [_fold(v, dim, n) for v, dim in zip(inputs[:-1], in_dims, strict=False)]
    return tuple(v.unflatten(0, (n, -1)) for v in _selective_scan(*folded, inputs[-1])), (0, 0, 0)


@_selective_scan_backward.register_vmap
def _(info, in_dims, *inputs):  # type: ignore[no-untyped-def]
    n = info.batch_size
    folded = [_fold(v, dim, n) for v, dim in zip(inputs[:-1], in_dims, strict=False)]
    out = _selective_scan_backward(*folded, inputs[-1])
    return tuple(v.unflatten(0, (n, -1)) for v in out), (0,) * 7
