"""What the experiments share: their two scales, and probes over a grid of lengths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from lab.config import Probe

Scale = Literal["cpu", "gpu"]  # at most ten minutes on two cores; the paper's sizes


def over_lengths(
    label: str, lengths: Iterable[int], n: int = 512, **change: Any
) -> tuple[Probe, ...]:
    """One probe for each length, all of one label: a curve of accuracy against length."""
    return tuple(Probe(label, length, change, n) for length in lengths)
