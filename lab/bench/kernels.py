"""Operators on a GPU against hardware limits and against peers: microseconds, bf16.

Every row is forward or backward of one implementation at one shape, called eagerly and, forward
only, replayed from a CUDA graph (without launch overhead). Floors are for one H200 (790 TFLOP/s,
4.3 TB/s), from counts of operations and bytes, never measured. Peers: torch's SDPA alone and with a
separate gate; flash-linear-attention's PaTH and gated delta rule where that package is installed.
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

from kernels import attention as attention_file
from kernels import delta as delta_file
from kernels import path as path_file
from kernels import scan as scan_file


@dataclass(frozen=True)
class Shape:
    """B rows, T tokens, H heads of width d."""

    B: int
    T: int
    H: int
    d: int


SHAPES = {"A": Shape(32, 2048, 8, 64), "B": Shape(1024, 128, 4, 32)}
# Least microseconds (forward, backward) on one H200.
FLOORS = {
    ("attention + gate", "A"): (174, 435),
    ("attention + gate", "B"): (39.5, 78.5),
    ("PaTH", "A"): (281, 756),
    ("PaTH", "B"): (40, 88),
    ("delta rule", "A"): (63, 126),
    ("delta rule", "B"): (32, 64),
    ("scan", "A"): (47, 78),
    ("scan", "B"): (23, 39),
}
Case = tuple[str, str, Callable[..., Tensor], dict[str, Tensor]]


def cases(shape: Shape, device: torch.device) -> Iterator[Case]:
    """(operator, implementation, function, its tensors by name), ours first, then peers."""
    B, T, H, d = shape.B, shape.T, shape.H, shape.d

    def ready(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.to(device).requires_grad_(v.is_floating_point()) for k, v in inputs.items()}

    low = torch.bfloat16
    q_k_v = ready(attention_file.example_inputs(B, T, H, d, gate="elementwise", dtype=low))
    yield "attention + gate", "lab", attention_file.attention, q_k_v
    yield "attention + gate", "torch SDPA + gate", _sdpa_gated, q_k_v
    plain = {name: q_k_v[name] for name in ("q", "k", "v")}
    yield "attention + gate", "torch SDPA alone", _sdpa, plain

    turned = ready(path_file.example_inputs(B, T, H, d, dtype=low))
    yield "PaTH", "lab", path_file.path, turned
    ruled = ready(delta_file.example_inputs(B, T, H, d, d, dtype=low))
    ruled.pop("S0")
    yield "delta rule", "lab", lambda **x: delta_file.delta(**x)[0], ruled
    decayed = ready(scan_file.example_inputs(B, T, H * d, dtype=low))
    decayed.pop("h0")
    yield "scan", "lab", scan_file.scan, decayed
    if device.type == "cuda" and importlib.util.find_spec("fla"):
        yield from _fla(turned, ruled)


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def _sdpa_gated(q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
    return _sdpa(q, k, v) * gate.sigmoid()


def _fla(turned: dict[str, Tensor], ruled: dict[str, Tensor]) -> Iterator[Case]:
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.path_attn.parallel import parallel_path_attn

    wide = {name: turned[name].detach().float().requires_grad_() for name in ("w", "beta")}
    yield "PaTH", "fla", lambda **x: parallel_path_attn(**x)[0], {**turned, **wide}

    def rule(log_decay: Tensor, **x: Tensor) -> Tensor:
        y: Tensor = chunk_gated_delta_rule(g=log_decay, **x)[0]
        return y

    yield "delta rule", "fla", rule, ruled


def measure(
    device: torch.device, shapes: dict[str, Shape] = SHAPES, repeats: int = 50
) -> Iterator[dict[str, Any]]:
    """One row per operator, shape, implementation and pass. A row of a peer that fails has its
    error; a failure of the lab's own operator is raised."""
    for letter, shape in shapes.items():
        for operator, name, function, inputs in cases(shape, device):
            floors = FLOORS[operator, letter]
            base = {"operator": operator, "shape": letter, "implementation": name}
            try:
                times = _both(function, inputs, device, repeats)
            except Exception as error:
                if name == "lab":
                    raise
                yield {**base, "error": f"{type(error).__name__}: {error}".partition("\n")[0]}
                continue
            forward, backward, graph = times
            for kind, taken, floor in zip(
                ("forward", "backward"), (forward, backward), floors, strict=True
            ):
                yield {
                    **base,
                    "pass": kind,
                    "microseconds": taken,
                    "microseconds_graph": graph if kind == "forward" else None,
                    "floor": floor,
                    "over_floor": taken / floor,
                }


def _both(
    function: Callable[..., Tensor], inputs: dict[str, Tensor], device: torch.device, repeats: int
) -> tuple[float, float, float | None]:
    """Microseconds of forward, of backward, and of a replayed forward (None without CUDA)."""
    with torch.no_grad():
        forward = _median(lambda: function(**inputs), device, repeats)
    y = function(**inputs)
    leaves = [x for x in inputs.values() if x.requires_grad]
    dy = torch.randn_like(y)
    backward = _median(
        lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True, allow_unused=True),
        device,
        repeats,
    )
    if device.type != "cuda":
        return forward, backward, None
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        function(**inputs)
    return forward, backward, _median(graph.replay, device, repeats)


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


def markdown(record: dict[str, Any] | None) -> str:
    """The README's table of speeds from a record of `lab bench kernels`, or a sentence without."""
    if record is None:
        return (
            "Not measured yet: `lab bench kernels --record notebooks/records/bench-kernels.json`"
            " needs a GPU."
        )
    lines = [
        f"{record['environment']['device']}, bf16, microseconds (over the floor):",
        "",
        "| operator | shape | implementation | forward | backward |",
        "|---|---|---|---|---|",
    ]
    timed = [row for row in record["rows"] if "pass" in row]
    for forward, backward in zip(timed[::2], timed[1::2], strict=True):
        cells = (f"{r['microseconds']:.0f} ({r['over_floor']:.1f}x)" for r in (forward, backward))
        names = (forward["operator"], forward["shape"], forward["implementation"])
        lines.append("| " + " | ".join([*names, *cells]) + " |")
    return "\n".join(lines)


def goals(rows: list[dict[str, Any]]) -> Iterator[tuple[str, bool | None]]:
    """Each goal of the project in words, and whether these rows meet it (None: not measured)."""
    times = {
        (r["operator"], r["shape"], r["implementation"], r["pass"]): r["microseconds"]
        for r in rows
        if "pass" in r
    }

    def at_most(operator: str, shape: str, other: str | None, factor: float) -> bool | None:
        """Both passes within factor x a peer, or x the floor where there is no peer."""
        pairs = []
        for number, kind in enumerate(("forward", "backward")):
            ours = times.get((operator, shape, "lab", kind))
            rival = FLOORS[operator, shape][number]
            if other:
                rival = times.get((operator, shape, other, kind), 0)
            if not ours or not rival:
                return None
            pairs.append(ours <= factor * rival)
        return all(pairs)

    gated = "attention + gate"
    for operator, shape, other, factor in (
        (gated, "A", "torch SDPA alone", 1.15),
        (gated, "B", None, 1.6),
        (gated, "B", "torch SDPA + gate", 1 / 1.3),
        ("PaTH", "A", None, 2.0),
        ("PaTH", "A", "fla", 1 / 1.3),
        ("PaTH", "B", None, 2.0),
        ("PaTH", "B", "fla", 1 / 3),
        ("delta rule", "A", "fla", 1.0),
        ("delta rule", "B", "fla", 1 / 2),
        ("scan", "A", None, 1.5),
        ("scan", "B", None, 1.5),
    ):
        goal = f"{operator} at {shape} within {factor:.2f} x {other or 'the floor'}"
        yield goal, at_most(operator, shape, other, factor)
