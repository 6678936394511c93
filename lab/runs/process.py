"""The device of a run, and the signals that stop it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
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
    """A list to which SIGINT or SIGTERM adds its number, so that the current step ends first; the
    second one raises KeyboardInterrupt. Outside the main thread signals stay as they are."""
    stop_requested: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        if stop_requested:
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
