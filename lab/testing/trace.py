"""Counts the Python lines that a call runs: they show a loop over rows, and a loop without end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

Line = tuple[str, int]  # file and line number


class TooManyLines(Exception):
    """The call ran more lines than it may."""


def lines_run(call: Callable[[], Any], most: int | None = None) -> Counter[Line]:
    """How often the call runs each Python line. TooManyLines once it runs more than `most`."""
    lines: Counter[Line] = Counter()
    total = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal total
        if event in ("line", "call"):
            lines[frame.f_code.co_filename, frame.f_lineno] += 1
            total += 1
            if most is not None and total > most:
                raise TooManyLines
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines
