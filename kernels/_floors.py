"""The least microseconds of a pass on one H200, by its arithmetic and by its binaries.

HARDWARE counts what the formula needs: products at 790 TFLOP/s in bfloat16, bytes at 4.3 TB/s (each
input and output once), exponentials at 16 a clock and multiprocessor. `issued` counts what the
binaries ask for: instructions inside each loop times its trips, warps and programs, one a clock on
each of the 4 schedulers of 132 multiprocessors at 1.83 GHz, and at most one a clock for each warp.
Both are bounds, not predictions: an issue floor leaves out every wait for memory and for tensor
cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from kernels._launch import Launch, blocks
from kernels._sass import Loop

# Microseconds, forward and backward, of the shapes A and B of kernels/_shipped.py.
HARDWARE = {
    ("attention", "A"): (174, 435),
    ("attention", "B"): (39.5, 78.5),
    ("path", "A"): (281, 756),
    ("path", "B"): (40, 88),
    ("delta", "A"): (63, 126),
    ("delta", "B"): (32, 64),
    ("scan", "A"): (47, 78),
    ("scan", "B"): (23, 39),
    # One exponential a number of state and token, forward; two backward, with the states run again.
    ("selective_scan", "A"): (138, 277),
    ("selective_scan", "B"): (69, 138),
}
SCHEDULERS = 132 * 4
CLOCKS_PER_MICROSECOND = 1.83e3
BYTES_PER_MICROSECOND = 4.3e6
Trips = Callable[[Launch], list[float]]


def issued(launch: Launch, found: list[Loop]) -> float:
    """Microseconds that issuing the instructions takes, for one launch.

    Raises ValueError where the binary has other loops than its kernel: the counts would mean
    nothing.
    """
    name = launch.kernel.__module__.removeprefix("kernels.") + "." + launch.kernel.__name__
    trips = TRIPS[name](launch) if name in TRIPS else []
    if len(trips) != len(found) - 1:
        raise ValueError(f"{name}: {len(found) - 1} loops in the binary, {len(trips)} expected")
    times = [1.0]
    for loop, n in zip(found[1:], trips, strict=True):
        times.append(n * times[loop.parent])
    each = sum(n * x.counts["instructions"] for n, x in zip(times, found, strict=True))
    warps = math.prod(launch.grid) * launch.num_warps
    return each * max(1.0, warps / SCHEDULERS) / CLOCKS_PER_MICROSECOND


def moved(launch: Launch) -> float:
    """Microseconds to read or write every tensor of one launch once."""
    tensors = {id(x): x for x in launch.arguments.values() if isinstance(x, Tensor)}
    return sum(x.numel() * x.element_size() for x in tensors.values()) / BYTES_PER_MICROSECOND


def _queries(launch: Launch) -> list[float]:
    """A tile of queries: the keys before it, on average, then those that need a mask."""
    a = launch.arguments
    before = (a["n_tiles"] - 1) / 2 * a["BM"] / a["BN"]
    return [before, max(1, a["BM"] / a["BN"])]


def _keys(launch: Launch) -> list[float]:
    a = launch.arguments
    after = (a["n_tiles"] - 1) / 2 * a["BN"] / a["BM"]
    return [max(1, a["BN"] / a["BM"]), after]


def _path(launch: Launch) -> list[float]:
    a = launch.arguments
    own = a["BT"] / a["C"]
    return [own, (a["n_tiles"] - 1) / 2 * own]


def _left(launch: Launch) -> list[float]:
    """A tile of queries: its own chunks, then those further left, there and back."""
    own, before = _path(launch)
    left = before + own - 1
    return [own, left, left]


def _later(launch: Launch) -> list[float]:
    """A chunk of keys that serves one head: the tiles with queries after it, on average."""
    a = launch.arguments
    return [(a["n_tiles"] - 1) / 2 + 1 - a["C"] / a["BT"]]


def _chunks(launch: Launch) -> list[float]:
    return [blocks(launch.arguments["T"], launch.arguments["C"])]


def _gradient(launch: Launch) -> list[float]:
    a = launch.arguments
    columns, channels = blocks(a["e"], a["BV"]), blocks(a["d"], a["BK"])
    return [columns, channels, columns]


def _unrolled(launch: Launch) -> list[float]:
    return [blocks(launch.arguments["T"], launch.arguments["U"])]


# Trips of the loops of one program, in the order of the source.
TRIPS: dict[str, Trips] = {
    "attention.forward.forward": _queries,
    "attention.backward.backward_rows": _queries,
    "attention.backward.backward_keys": _keys,
    "attention.backward.backward_short": lambda x: [x.arguments["T"] / x.arguments["BN"]] * 2,
    "path.forward.forward": _path,
    "path.backward.backward_queries": _left,
    "path.backward.backward_keys": _later,
    "delta.forward.forward_kernel": _chunks,
    "delta.backward.carry_kernel": _chunks,
    "delta.backward.gradient_kernel": _gradient,
    "scan.forward.forward_kernel": _unrolled,
    "scan.backward.backward_kernel": _unrolled,
    "selective_scan.forward.forward_kernel": lambda x: [blocks(x.arguments["T"], 4)],
    # Before every 4 tokens the states since their chunk's start: 0, 4, ... CHUNK - 4.
    "selective_scan.backward.backward_kernel": lambda x: [
        blocks(x.arguments["T"], 4),
        x.arguments["CHUNK"] / 2 - 2,
    ],
}
