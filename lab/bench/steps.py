"""A process that times training steps on request, at this commit or at another one.

It reads one JSON document a line and answers each with one line:

    {"experiment": {...}}    build model and optimizer, make `warm` steps  {}, or {"refused": why}
    {"steps": n}             the next n steps     {"seconds": CPU seconds, "rate": FLOP/s}
    {"profile": n}           the next n steps     {"operators": {name: share of the time}}

The steps are those of the second half of a run, again and again: a curriculum has ended there.
Seconds are those of this process, with the thread that draws rows. rate: a plain matrix product of
512 x 512, measured just before. `lab.bench.train` starts it with PYTHONPATH naming the code to
measure, so it uses only what older commits have too.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

SIDE = 512  # of the matrices of the plain product


def main() -> None:
    """Answer requests until stdin ends."""
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(ImportError):  # older commits have no such file
        from lab.training.heap import keep_heap

        keep_heap()
    steps: Iterator[Any] = iter(())
    answer: dict[str, Any]
    for line in sys.stdin:
        request = json.loads(line)
        if "experiment" in request:
            try:
                steps, answer = _start(request["experiment"]), {}
            except ValueError as error:  # an older commit has no such task or option
                answer = {"refused": str(error)}
        elif "steps" in request:
            rate, start = product_rate(), time.process_time()
            _take(steps, request["steps"])
            answer = {"seconds": time.process_time() - start, "rate": rate}
        else:
            answer = {"operators": _operators(steps, request["profile"])}
        print(json.dumps(answer), flush=True)


def _start(data: dict[str, Any]) -> Iterator[Any]:
    """The steps of an experiment without end, after the first ones."""
    import torch

    from lab.config.experiment import from_json
    from lab.nn.model import make_model
    from lab.training.loop import train
    from lab.training.optim import build

    experiment = from_json(data)
    model = make_model(experiment)
    optimizer = build(model, experiment.train)
    start = numbers(experiment.train.steps, 1)[0]

    def steps() -> Iterator[Any]:
        while True:
            yield from train(experiment, model, optimizer, start, torch.device("cpu"))

    endless = steps()
    _take(endless, warm(experiment))
    return endless


def warm(experiment: Any) -> int:
    """Steps before the first that is timed: enough to meet rows of most lengths once, as a product
    of a new size costs more the first time."""
    return 2 + 2 * len(experiment.train.lengths)


def numbers(steps: int, n: int) -> list[int]:
    """The numbers of the first n steps that are made, for a run of so many steps."""
    start = steps // 2
    return [start + i % (steps - start) for i in range(n)]


def product_rate() -> float:
    """FLOP/s of a product of two matrices [512,512] in float32, the fastest of 20."""
    import torch

    a, b = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
    times = []
    for _ in range(20):
        start = time.process_time()
        torch.mm(a, b)
        times.append(time.process_time() - start)
    return 2 * SIDE**3 / min(times)


def _take(steps: Iterator[Any], n: int) -> None:
    for _ in range(n):
        next(steps)


def _operators(steps: Iterator[Any], n: int) -> dict[str, float]:
    """The share of the time in each operator itself, without those that it calls."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        _take(steps, n)
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(times.values())
    return {name.removeprefix("aten::"): spent / total for name, spent in times.items()}


if __name__ == "__main__":
    main()
