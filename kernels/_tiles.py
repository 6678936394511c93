"""What the tiles of attention and PaTH share: loads, stores, biases and positions in packed rows.

A tile is a block of BM or BT queries by BN or C keys. Rows of a tile are tokens; rows beyond the
end of a sequence read as zeros and are never written. Kernels import this file only where triton
is installed.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels._inputs import check_offsets
from kernels._launch import blocks, power_of_two

# exp(x) = exp2(x log2 e): logits are kept in units of log 2.
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def within(rows, cols, T, W: tl.constexpr, WP: tl.constexpr):
    """The mask of a tile of WP columns in a matrix of T rows, all there where T is None, and of
    width W; None where it hides nothing."""
    mask = None
    if W % WP != 0:
        mask = cols < W
        if T is not None:
            mask = (rows < T) & mask
    elif T is not None:
        mask = rows < T
    return mask


@triton.jit
def load_rows(P, rows, cols, stride, T, W: tl.constexpr, WP: tl.constexpr):
    """A tile of a matrix, zeros outside it; rows, cols broadcast to the tile."""
    mask = within(rows, cols, T, W, WP)
    at = P + rows * stride + cols
    return tl.load(at) if mask is None else tl.load(at, mask=mask, other=0.0)


@triton.jit
def store_rows(P, x, rows, cols, stride, T, W: tl.constexpr, WP: tl.constexpr):
    mask = within(rows, cols, T, W, WP)
    tl.store(P + rows * stride + cols, x.to(P.dtype.element_ty), mask=mask)


@triton.constexpr_function
def exact(dtype, PREC):
    """Precision of products of float32 operands as exact as the type of what they came from.

    One tf32 product, which tensor cores truncate instead of rounding, quadruples the error of
    float16 gradients where tokens repeat.
    """
    return "tf32x3" if dtype == tl.float16 else PREC


@triton.jit
def join(A, L, size: tl.constexpr, C: tl.constexpr, PREC: tl.constexpr):
    """From inverses of the diagonal blocks of `size` rows of A to those of twice the size."""
    c = tl.arange(0, C)
    i, j = c[:, None] // size, c[None, :] // size
    pair = (i // 2 == j // 2) & (i > j)
    if len(A.shape) == 3:
        pair = pair[None]
    half = tl.dot(A, tl.where(pair, -L, 0.0), input_precision=PREC)
    return A + tl.dot(half, A, input_precision=PREC)


@triton.jit
def inverse(L, C: tl.constexpr, PREC: tl.constexpr):
    """(I + L)^-1 of strictly lower L [C,C], float32: blocks of 1, 2, 4, ... rows are joined.

    Two products a level, as stable as substitution, where powers of L explode on tokens that
    repeat. Up to 16 rows, the blocks of the diagonal are multiplied without what is between them.
    """
    N: tl.constexpr = C // 16
    n, c = tl.arange(0, N), tl.arange(0, 16)
    i, j = c[None, :, None], c[None, None, :]
    own = n[:, None, None, None] == n[None, None, :, None]
    blocks = tl.sum(tl.where(own, tl.reshape(L, [N, 16, N, 16]), 0.0), 2)
    A = tl.where(i == j, 1.0, 0.0) - tl.where((i == j + 1) & (i % 2 == 1), blocks, 0.0)
    for level in tl.static_range(1, 4):
        A = join(A, blocks, 1 << level, 16, PREC)
    A = tl.reshape(tl.where(own, A[:, :, None, :], 0.0), [C, C])
    for level in tl.static_range(4, 7):
        if (1 << level) < C:
            A = join(A, L, 1 << level, C, PREC)
    return A


@triton.jit
def log2_sums(SUMS, rows, T, reference):
    """Sums of log f relative to one of them, in units of log 2: rounded, and what rounding lost;
    None where there is no forget gate.

    Where the reference lies between keys and queries, the sums of the two have different signs and
    their rounded difference is as good as float32 gets. Elsewhere strong gates cancel: a query and
    a key behind them need what rounding lost as well.
    """
    both = None
    if SUMS is not None:
        sums = tl.load(SUMS + rows, mask=rows < T, other=reference)
        exact = (sums - reference) * LOG2E
        near = exact.to(tl.float32)
        both = near, (exact - near.to(tl.float64)).to(tl.float32)
    return both


@triton.jit
def sequence(TILES, tile, T, BLOCK: tl.constexpr):
    """Of a tile: first token of its sequence in the row, the sequence's length, first token of the
    tile in it, chunks in the row before it."""
    start, length, slot = 0, T, 0
    if TILES is not None:
        at = TILES + 4 * tile
        start, length, tile, slot = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
    return start, length, tile * BLOCK, slot


@triton.jit
def place(TILES, T, n_tiles, N: tl.constexpr, BLOCK: tl.constexpr):
    """Row b and head of the program, then what `sequence` gives."""
    pid = tl.program_id(0)
    start, length, first, slot = sequence(TILES, pid % n_tiles, T, BLOCK)
    rest = pid // n_tiles
    return (rest // N).to(tl.int64), rest % N, start, length, first, slot


@triton.jit
def open_gate(
    GATE, token, h, rows, cols, T, H: tl.constexpr, e: tl.constexpr, E: tl.constexpr,
    GATE_KIND: tl.constexpr,
):  # fmt: skip
    """sigmoid(gate), float32, of a tile of rows and cols that broadcast to it (GATE_KIND > 0)."""
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + rows) * H + h, mask=rows < T, other=0.0)
    else:
        logit = load_rows(GATE + (token * H + h) * e, rows, cols, H * e, T, e, E)
    return tl.sigmoid(logit.to(tl.float32))


@triton.jit
def before_gate(
    dy, GATE, Y, DGATE, token, h, r, ce, T, H: tl.constexpr, e: tl.constexpr, E: tl.constexpr,
    GATE_KIND: tl.constexpr,
):  # fmt: skip
    """dO before the gate, delta = dy . y; writes dgate."""
    row, col, row_e = r[:, None], ce[None, :], (token * H + h) * e
    gain = dy.to(tl.float32) * load_rows(Y + row_e, row, col, H * e, T, e, E).to(tl.float32)
    do = dy
    if GATE_KIND > 0:
        share = open_gate(GATE, token, h, row, col, T, H, e, E, GATE_KIND)
        do = (dy.to(tl.float32) * share).to(dy.dtype)
        dgate = gain * (1 - share)
        if GATE_KIND == 1:
            at = DGATE + (token + r) * H + h
            tl.store(at, tl.sum(dgate, 1).to(DGATE.dtype.element_ty), mask=r < T)
        else:
            store_rows(DGATE + row_e, dgate, row, col, H * e, T, e, E)
    return do, tl.sum(gain, 1)


@triton.jit
def turned_gradient(
    DY, GATE, token, h, r, ce, T, H: tl.constexpr, e: tl.constexpr, E: tl.constexpr,
    GATE_KIND: tl.constexpr,
):  # fmt: skip
    """dO before the gate, transposed: it is made again, as no computed tile is ever transposed."""
    row, col = r[None, :], ce[:, None]
    do = load_rows(DY + (token * H + h) * e, row, col, H * e, T, e, E)
    if GATE_KIND > 0:
        share = open_gate(GATE, token, h, row, col, T, H, e, E, GATE_KIND)
        do = (do.to(tl.float32) * share).to(do.dtype)
    return do


@triton.jit
def sum_in_place(DLOG, token, h, r, T, H: tl.constexpr):
    """sum over i >= t of what the program has written to DLOG, tokens r of one head."""
    at = DLOG + (token + r) * H + h
    tl.debug_barrier()
    sums = tl.cumsum(tl.load(at, mask=r < T, other=0.0), 0, reverse=True)
    tl.debug_barrier()
    tl.store(at, sums, mask=r < T)


def arguments(i: Any, PREC: str) -> dict[str, Any]:
    """What every launch of attention and PaTH needs of the inputs, by argument name."""
    H, d = i.q.shape[2:]
    G, e = i.v.shape[2:]
    return {
        "Q": i.q, "K": i.k, "V": i.v, "GATE": i.gate, "SUMS": sums_of_logs(i.log_forget),
        "offsets": i.offsets, "scale": i.scale, "T": i.q.shape[1], "H": H, "G": G, "d": d, "e": e,
        "D": power_of_two(d, 16), "E": power_of_two(e, 16),
        "GATE_KIND": 0 if i.gate is None else i.gate.ndim - 2, "PREC": PREC,
    }  # fmt: skip


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
        return None, blocks(T, block)
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
