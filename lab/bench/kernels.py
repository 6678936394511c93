"""Operators on a GPU against hardware limits and against peers: microseconds, bf16.

Every row is the forward or the backward pass of one implementation at one shape, called eagerly
and replayed from a CUDA graph, where the GPU does not wait for Python. Floors are for one H200
(790 TFLOP/s, 4.3 TB/s), from counts of operations and bytes, never measured. Peers: torch's SDPA,
alone and with a separate gate, once with FlashAttention and once with cuDNN;
flash-linear-attention's PaTH and gated delta rule where that package is installed.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

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
SDPA = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
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
    """Two rows (forward, backward) per operator, shape and implementation, in microseconds.

    over_floor is that of the replayed graph where there is one, else of the eager call. A peer that
    fails says so in its row; a failure of ours is raised.
    """
    for letter, shape in shapes.items():
        for operator, name, function, inputs in cases(shape, device, fla):
            base = {"operator": operator, "shape": letter, "implementation": name}
            try:
                times = _both(function, inputs, device, repeats)
            except Exception as error:
                if name == "lab":
                    raise
                yield {**base, "error": f"{type(error).__name__}: {error}".partition("\n")[0]}
                continue
            for kind, (eager, graph), floor in zip(
                ("forward", "backward"), times, FLOORS[operator, letter], strict=True
            ):
                yield {
                    **base,
                    "pass": kind,
                    "microseconds": eager,
                    "microseconds_graph": graph,
                    "floor": floor,
                    "over_floor": (graph or eager) / floor,
                }


def _both(
    function: Callable[..., Tensor], inputs: dict[str, Tensor], device: torch.device, repeats: int
) -> list[tuple[float, float | None]]:
    """(eager, replayed) microseconds of the forward and of the backward pass.

    On CUDA all runs on a stream of its own: a backward pass runs on the stream of its forward
    pass, and a graph can only be captured on a stream that is not the default one.
    """
    if device.type != "cuda":
        return _passes(function, inputs, device, repeats, None)
    torch.cuda.synchronize(device)  # the inputs were made on the default stream
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        times = _passes(function, inputs, device, repeats, stream)
    torch.cuda.empty_cache()  # the next stream cannot use what this one has freed
    return times


def _passes(
    function: Callable[..., Tensor],
    inputs: dict[str, Tensor],
    device: torch.device,
    repeats: int,
    stream: torch.cuda.Stream | None,
) -> list[tuple[float, float | None]]:
    leaves = [x for x in inputs.values() if x.requires_grad]

    def forward() -> None:
        with torch.no_grad():
            function(**inputs)

    y = function(**inputs)
    dy = torch.randn_like(y)

    def backward() -> None:
        torch.autograd.grad(y, leaves, dy, retain_graph=True, allow_unused=True)

    times: list[tuple[float, float | None]] = []
    for work in (forward, backward):
        eager, replayed = _median(work, device, repeats), None
        if stream is not None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                work()
            replayed = _median(graph.replay, device, repeats)
            del graph
        times.append((eager, replayed))
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


def markdown(record: dict[str, Any] | None) -> str:
    """The README's table of speeds from a record of `lab bench kernels`, or a sentence without."""
    if record is None:
        return (
            "Not measured yet: `lab bench kernels --record notebooks/records/bench-kernels.json`"
            " needs a GPU."
        )
    by_operator: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in record["rows"]:
        if "pass" in row:
            same = by_operator.setdefault((row["operator"], row["shape"]), {})
            same.setdefault(row["implementation"], []).append(row)

    def both(rows: list[dict[str, Any]]) -> str:
        return " / ".join(f"{row['microseconds_graph']:.0f}" for row in rows)

    def cells(operator: str, shape: str) -> tuple[str, str]:
        """Our times, over the floor; and the fastest peer that computes the same."""
        rows = by_operator[operator, shape]
        over = " / ".join(f"{row['over_floor']:.1f}" for row in rows["lab"])
        peers = [name for name in rows if name != "lab" and not name.endswith(" alone")]
        best = min(
            peers, key=lambda name: sum(r["microseconds_graph"] for r in rows[name]), default=None
        )
        return f"{both(rows['lab'])} ({over})", f"{best}: {both(rows[best])}" if best else "-"

    shapes = list(dict.fromkeys(shape for _, shape in by_operator))
    sizes = "; ".join(
        f"{name}: {SHAPES[name].B:,} rows of {SHAPES[name].T:,} tokens, {SHAPES[name].H} heads of"
        f" {SHAPES[name].d}"
        for name in shapes
    )
    lines = [
        f"{record['environment']['device']}, bf16, microseconds by graph replay, forward / backward"
        f" (times the floor). {sizes}.",
        "",
        "| operator | " + " | ".join(f"{shape} | peer at {shape}" for shape in shapes) + " |",
        "|---" * (1 + 2 * len(shapes)) + "|",
    ]
    for operator in dict.fromkeys(operator for operator, _ in by_operator):
        row_cells = [cell for shape in shapes for cell in cells(operator, shape)]
        lines.append("| " + " | ".join([operator, *row_cells]) + " |")
    return "\n".join(lines)


def goals(rows: list[dict[str, Any]]) -> Iterator[tuple[str, bool | None]]:
    """Each goal of the project in words, and whether these rows meet it (None: not measured).

    Of several peers the fastest counts; times are those of replayed graphs where there are any.
    """
    times = {
        (r["operator"], r["shape"], r["implementation"], r["pass"]): r["microseconds_graph"]
        or r["microseconds"]
        for r in rows
        if "pass" in r
    }

    def at_most(operator: str, shape: str, others: Sequence[str], factor: float) -> bool | None:
        """Both passes within factor x the fastest peer, or x the floor where there is no peer."""
        pairs = []
        for number, kind in enumerate(("forward", "backward")):
            ours = times.get((operator, shape, "lab", kind))
            rivals = [times.get((operator, shape, other, kind)) for other in others]
            measured = [x for x in rivals if x]
            rival = min(measured, default=0) if others else FLOORS[operator, shape][number]
            if not ours or not rival:
                return None
            pairs.append(ours <= factor * rival)
        return all(pairs)

    gated = "attention + gate"
    alone, with_gate = ([f"torch SDPA {x} {kind}" for x in SDPA] for kind in ("alone", "+ gate"))
    for operator, shape, peer, others, factor in (
        (gated, "A", "torch SDPA alone", alone, 1.15),
        (gated, "B", "the floor", [], 1.6),
        (gated, "B", "torch SDPA + gate", with_gate, 1 / 1.3),
        ("PaTH", "A", "the floor", [], 2.0),
        ("PaTH", "A", "fla", ["fla"], 1 / 1.3),
        ("PaTH", "B", "the floor", [], 2.0),
        ("PaTH", "B", "fla", ["fla"], 1 / 3),
        ("delta rule", "A", "fla", ["fla"], 1.0),
        ("delta rule", "B", "fla", ["fla"], 1 / 2),
        ("scan", "A", "the floor", [], 1.5),
        ("scan", "B", "the floor", [], 1.5),
    ):
        goal = f"{operator} at {shape} within {factor:.2f} x {peer}"
        yield goal, at_most(operator, shape, others, factor)


if __name__ == "__main__":  # python -m lab.bench.kernels RECORD: the README's table
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
