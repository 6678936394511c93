"""How fast rows are made, and which line of `sample` runs once for every row."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from lab.data.rows import BLOCK
from lab.testing.trace import lines_run
from tasks import Task

_FEW, _MANY = 8, 264


def speed(task: Task, allowed: list[int]) -> str:
    """Rows are made by whole arrays.

    Returns a note with the rows a second, and the line of a Python loop over rows if there is one.
    """
    length = allowed[len(allowed) // 2]
    seconds = []
    for i in range(3):
        start = time.process_time()
        task.sample(np.random.default_rng(i), BLOCK, length)
        seconds.append(time.process_time() - start)
    rate = BLOCK / max(min(seconds), 1e-6)
    text = f"{rate:,.0f} rows a second of CPU at length {length}"
    few, many = (
        lines_run(lambda: task.sample(np.random.default_rng(0), n, length))  # noqa: B023
        for n in (_FEW, _MANY)
    )
    more = {line: many[line] - few[line] for line in many}
    (file, number), most = max(more.items(), key=lambda item: item[1], default=(("", 0), 0))
    if most < _MANY - _FEW:
        return text
    loop = f"{Path(file).name}, line {number} runs once for every row"
    return f"{text}; {loop}: a Python loop over rows, slower than whole arrays"
