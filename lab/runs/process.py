"""The process of a run: its device, the signals that stop it, and what a run may not change."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lab.errors import RunFailed


def pick_device(name: str) -> Any:
    """The torch device: auto is CUDA where there is one, else the CPU. RunFailed without CUDA."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RunFailed("--device cuda: torch sees no CUDA device here")
    return torch.device(name)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list to which SIGINT or SIGTERM adds its number, so that the current step ends first; a
    SIGINT after another signal raises KeyboardInterrupt. Outside the main thread signals stay as
    they are."""
    stop_requested: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        if stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop_requested.append(number)

    try:
        old = [signal.signal(kind, note) for kind in kinds]
    except ValueError:  # not the main thread
        yield stop_requested
        return
    try:
        yield stop_requested
    finally:
        for kind, handler in zip(kinds, old, strict=True):
            signal.signal(kind, handler)


def process_state() -> tuple[object, ...]:
    """What a run must leave as it was for the next one: settings of torch and numpy, global random
    generators, signal handlers, working directory."""
    import numpy as np
    import torch

    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),  # noqa: NPY002 - to see whether anything has used it
        np.geterr(),
        [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)],
        os.getcwd(),
    )


def resident_bytes() -> int:
    """Memory of this process: now where /proc tells, else at its peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
