"""What the tiles of attention and PaTH share: loads, stores, biases and positions in packed rows.

A tile is a block of BM or BT queries by BN or C keys. Rows of a tile are tokens; rows beyond the
end of a sequence read as zeros and are never written. Kernels import this file only where triton
is installed.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels._inputs import check_offsets

# exp(x) = exp2(x log2 e): logits are kept in units of log 2.
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def load_rows(P, rows, cols, stride, T, W: tl.constexpr, WP: tl.constexpr):
    """Rows below T of a matrix of width W, zeros elsewhere; rows, cols broadcast to the tile."""
    mask = rows < T
    if W != WP:
        mask = mask & (cols < W)
    return tl.load(P + rows * stride + cols, mask=mask, other=0.0)


@triton.jit
def store_rows(P, x, rows, cols, stride, T, W: tl.constexpr, WP: tl.constexpr):
    mask = rows < T
    if W != WP:
        mask = mask & (cols < W)
    tl.store(P + rows * stride + cols, x.to(P.dtype.element_ty), mask=mask)


@triton.jit
def join(A, L, size: tl.constexpr, C: tl.constexpr, PREC: tl.constexpr):
    """From inverses of the diagonal blocks of `size` rows to those of twice the size."""
    c = tl.arange(0, C)
    i, j = c[:, None] // size, c[None, :] // size
    pair = (i // 2 == j // 2) & (i > j)
    half = tl.dot(A, tl.where(pair, L, 0.0), input_precision=PREC)
    return A - tl.dot(half, A, input_precision=PREC)


@triton.jit
def inverse(L, C: tl.constexpr, PREC: tl.constexpr):
    """(I + L)^-1 of strictly lower L [C,C], float32: blocks of 1, 2, 4, ... rows are joined.

    Two products a level, as stable as substitution, where powers of L explode on tokens that
    repeat.
    """
    c = tl.arange(0, C)
    i, j = c[:, None], c[None, :]
    A = tl.where(i == j, 1.0, 0.0) - tl.where((i == j + 1) & (i % 2 == 1), L, 0.0)
    for level in tl.static_range(1, 7):
        if (1 << level) < C:
            A = join(A, L, 1 << level, C, PREC)
    return A


@triton.jit
def log2_sums(SUMS, rows, T, reference):
    """Sums of log f relative to one of them, in units of log 2: rounded, and what rounding lost.

    Where the reference lies between keys and queries, the sums of the two have different signs and
    their rounded difference is as good as float32 gets. Elsewhere strong gates cancel: a query and
    a key behind them need what rounding lost as well.
    """
    sums = tl.load(SUMS + rows, mask=rows < T, other=reference)
    exact = (sums - reference) * LOG2E
    near = exact.to(tl.float32)
    return near, (exact - near.to(tl.float64)).to(tl.float32)


@triton.jit
def place(TILES, T, n_tiles, N: tl.constexpr, BLOCK: tl.constexpr, PACKED: tl.constexpr):
    """Row b, head, first token of the sequence in the row, its length, first token of the tile."""
    pid = tl.program_id(0)
    tile, rest = pid % n_tiles, pid // n_tiles
    start, length = 0, T
    if PACKED:
        start = tl.load(TILES + 4 * tile)
        length = tl.load(TILES + 4 * tile + 1)
        tile = tl.load(TILES + 4 * tile + 2)
    return (rest // N).to(tl.int64), rest % N, start, length, tile * BLOCK


@triton.jit
def before_gate(
    dy, GATE, Y, DGATE, token, h, row_e, r, ce, T,
    H: tl.constexpr, e: tl.constexpr, E: tl.constexpr, GATE_KIND: tl.constexpr,
):  # fmt: skip
    """dO before the gate, delta = dy . y; writes dgate."""
    y = load_rows(Y + row_e, r[:, None], ce[None, :], H * e, T, e, E).to(tl.float32)
    gain = dy.to(tl.float32) * y
    delta = tl.sum(gain, 1)
    do = dy
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < T, other=0.0)
        share = tl.sigmoid(logit.to(tl.float32))
        dgate = (delta * (1 - share)).to(DGATE.dtype.element_ty)
        tl.store(DGATE + (token + r) * H + h, dgate, mask=r < T)
        do = dy.to(tl.float32) * share[:, None]
    if GATE_KIND == 2:
        logit = load_rows(GATE + row_e, r[:, None], ce[None, :], H * e, T, e, E)
        share = tl.sigmoid(logit.to(tl.float32))
        store_rows(DGATE + row_e, gain * (1 - share), r[:, None], ce[None, :], H * e, T, e, E)
        do = dy.to(tl.float32) * share
    return do.to(dy.dtype), delta


def check_packed(offsets: Tensor | None, T: int) -> None:
    """ValueError unless the packed rows make up T tokens: others would be left unwritten.

    Waits for the GPU, which a graph cannot while it is recorded: there the warm-up has checked.
    """
    if offsets is None or (offsets.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    check_offsets(offsets, T)


def tiles(offsets: Tensor | None, T: int, block: int, chunk: int) -> tuple[Tensor | None, int]:
    """Packed rows: (start, length, tile, chunks before) int32 of every tile, and how many tiles.

    Row r has ceil(length / block) tiles; the table has room for as many as there can be, and the
    tiles left over have length 0. Nothing waits for the GPU.
    """
    if offsets is None:
        return None, -(-T // block)
    rows = len(offsets) - 1
    n = T // block + rows
    lengths = offsets.diff()

    def before(size: int) -> Tensor:
        ends = (lengths + size - 1).div(size, rounding_mode="floor").cumsum(0)
        return torch.nn.functional.pad(ends, (1, 0))

    first = before(block)
    tile = torch.arange(n, device=offsets.device)
    row = torch.searchsorted(first[1:], tile, right=True)
    inside = row < rows
    row = row.clamp(max=rows - 1)
    length = torch.where(inside, lengths[row], 0)
    columns = (offsets[row], length, tile - first[row], before(chunk)[row])
    return torch.stack(columns, 1).to(torch.int32).contiguous(), n


def sums_of_logs(log_forget: Tensor | None) -> Tensor | None:
    """sum over i <= t of log f_i: [B,T,H] -> [B,H,T] in float64."""
    return None if log_forget is None else log_forget.mT.contiguous().cumsum(2, dtype=torch.float64)


def sum_to_the_end(x: Tensor, offsets: Tensor | None) -> Tensor:
    """sum over i >= t of x_i inside each packed row: [B,H,T] -> [B,T,H]."""
    sums = x.cumsum(2, dtype=torch.float64)
    last = sums[..., -1:]
    if offsets is not None:
        token = torch.arange(x.shape[2], device=x.device)
        row = torch.searchsorted(offsets[1:], token, right=True)
        last = sums[..., offsets[1:].long()[row] - 1]
    return (last - sums + x).to(x.dtype).mT.contiguous()
