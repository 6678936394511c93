"""Operators on a GPU against hardware limits and against peers: microseconds, bf16.

Every row is the forward pass, the backward pass or both of one implementation at one shape, called
eagerly and replayed from a CUDA graph, where the GPU does not wait for Python. Floors are for one
H200 (790 TFLOP/s, 4.3 TB/s), from counts of operations and bytes, never measured. Peers: torch's
SDPA, alone and with a separate gate, once with FlashAttention and once with cuDNN;
flash-linear-attention's PaTH and gated delta rule where that package is installed.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kernels import attention as attention_file
from kernels import delta as delta_file
from kernels import path as path_file
from kernels import scan as scan_file
from kernels._floors import HARDWARE
from lab.bench.graphs import captured, first_line, own_stream


@dataclass(frozen=True)
class Shape:
    """B rows, T tokens, H heads of width d."""

    B: int
    T: int
    H: int
    d: int


SHAPES = {"A": Shape(32, 2048, 8, 64), "B": Shape(1024, 128, 4, 32)}
FOLDERS = {"attention + gate": "attention", "PaTH": "path", "delta rule": "delta", "scan": "scan"}
FLOORS = {  # least microseconds (forward, backward) on one H200
    (name, letter): HARDWARE[folder, letter]
    for name, folder in FOLDERS.items()
    for letter in SHAPES
}
SDPA = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
PASSES = ("forward", "backward", "both")
Times = tuple[float, float | None, str | None]  # eager, replayed, why nothing was replayed
Case = tuple[str, str, Callable[..., Tensor], dict[str, Tensor]]


def cases(shape: Shape, device: torch.device, fla: bool = True) -> Iterator[Case]:
    """(operator, implementation, function, its tensors by name), ours first, then peers."""
    B, T, H, d = shape.B, shape.T, shape.H, shape.d

    def ready(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.to(device).requires_grad_(v.is_floating_point()) for k, v in inputs.items()}

    low = torch.bfloat16
    q_k_v = ready(attention_file.example_inputs(B, T, H, d, gate="elementwise", dtype=low))
    yield "attention + gate", "lab", attention_file.attention, q_k_v
    plain = {name: q_k_v[name] for name in ("q", "k", "v")}
    for backend in SDPA if device.type == "cuda" else ("math",):
        sdpa = _sdpa(SDPA.get(backend, SDPBackend.MATH))
        yield "attention + gate", f"torch SDPA {backend} + gate", _gated(sdpa), q_k_v
        yield "attention + gate", f"torch SDPA {backend} alone", sdpa, plain

    turned = ready(path_file.example_inputs(B, T, H, d, dtype=low))
    yield "PaTH", "lab", path_file.path, turned
    ruled = ready(delta_file.example_inputs(B, T, H, d, d, dtype=low))
    ruled.pop("S0")
    yield "delta rule", "lab", lambda **x: delta_file.delta(**x)[0], ruled
    decayed = ready(scan_file.example_inputs(B, T, H * d, dtype=low))
    decayed.pop("h0")
    yield "scan", "lab", scan_file.scan, decayed
    if fla and device.type == "cuda" and importlib.util.find_spec("fla"):
        yield from _fla(turned, ruled)


def _sdpa(backend: SDPBackend) -> Callable[..., Tensor]:
    """Causal SDPA by one backend, in our order of dimensions."""

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        with sdpa_kernel(backend):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2)

    return call


def _gated(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda q, k, v, gate: attend(q, k, v) * gate.sigmoid()


def _fla(turned: dict[str, Tensor], ruled: dict[str, Tensor]) -> Iterator[Case]:
    """PaTH last: where it reads outside its memory, nothing else can be measured afterwards."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.path_attn.parallel import parallel_path_attn

    def rule(log_decay: Tensor, **x: Tensor) -> Tensor:
        y: Tensor = chunk_gated_delta_rule(g=log_decay, **x)[0]
        return y

    yield "delta rule", "fla", rule, ruled
    wide = {name: turned[name].detach().float().requires_grad_() for name in ("w", "beta")}
    yield "PaTH", "fla", lambda **x: parallel_path_attn(**x)[0], {**turned, **wide}


def measure(
    device: torch.device, shapes: dict[str, Shape] = SHAPES, repeats: int = 50, fla: bool = True
) -> Iterator[dict[str, Any]]:
    """A row for each of PASSES per operator, shape and implementation, as `rows` makes it.

    A peer that fails says so in a row; a failure of ours is raised.
    """
    for letter, shape in shapes.items():
        for operator, name, function, inputs in cases(shape, device, fla):
            base = {"operator": operator, "shape": letter, "implementation": name}
            try:
                times = _times(function, inputs, device, repeats)
            except Exception as error:
                if name == "lab":
                    raise
                yield {**base, "error": first_line(error)}
                continue
            yield from rows(base, times, FLOORS[operator, letter])


def rows(
    base: dict[str, Any], times: list[Times], floors: tuple[float, float]
) -> Iterator[dict[str, Any]]:
    """The rows of one implementation from the times of its PASSES, in microseconds.

    floors: forward and backward. over_floor is that of the replayed graph where there is one, else
    of the eager call; graph_error says why there is none on a GPU.
    """
    for kind, (eager, graph, why), floor in zip(PASSES, times, (*floors, sum(floors)), strict=True):
        row = {**base, "pass": kind, "microseconds": eager, "microseconds_graph": graph}
        yield (
            row
            | {"floor": floor, "over_floor": (graph or eager) / floor}
            | ({"graph_error": why} if why else {})
        )


def _times(
    function: Callable[..., Tensor], inputs: dict[str, Tensor], device: torch.device, repeats: int
) -> list[Times]:
    """The times of each of PASSES."""
    leaves = [x for x in inputs.values() if x.requires_grad]
    with own_stream(device) as stream:

        def forward() -> None:
            with torch.no_grad():
                function(**inputs)

        y = function(**inputs)
        dy = torch.randn_like(y)

        def backward() -> None:
            torch.autograd.grad(y, leaves, dy, retain_graph=True, allow_unused=True)

        def both() -> None:
            torch.autograd.grad(function(**inputs), leaves, dy, allow_unused=True)

        times: list[Times] = []
        for work in (forward, backward, both):
            eager = _median(work, device, repeats)
            replay, why = captured(work, stream)
            times.append((eager, replay and _median(replay, device, repeats), why))
            del replay  # the next graph needs its memory
    return times


def _median(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median microseconds of one call, between two events on CUDA."""
    for _ in range(3):
        work()
    times: list[float] = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            stop.record()
            stop.synchronize()
            times.append(1000 * start.elapsed_time(stop))
        else:
            begin = time.perf_counter()
            work()
            times.append(1e6 * (time.perf_counter() - begin))
    return statistics.median(times)
