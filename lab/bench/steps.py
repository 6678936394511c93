"""A process that times training steps and evaluations on request, at this commit or another one.

It reads one JSON document a line and answers each with one line:

    {"experiment": {...}}    build model and optimizer, make `warm` steps  {}, or {"refused": why}
    {"steps": n}             the next n steps     {"seconds": CPU seconds, "rate": FLOP/s}
    {"evaluate": true}       score the probes     {"on_the_way": CPU seconds, "end": CPU seconds}
    {"profile": n}           the next n steps     {"operators": {name: share of the time}}

The steps are those of the second half of a run, again and again: a curriculum has ended there.
Seconds are those of this process, with the thread that draws rows. rate: a plain matrix product of
512 x 512, measured just before. An evaluation is that of a run on its way (`eval_rows`,
`eval_answers`), or the one at its end, of a model that has made the steps so far: it writes more of
its rows itself than a trained one, whose rows are decided sooner. `lab.bench.train` starts it with
PYTHONPATH naming the code to measure, so it uses only what older commits have too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
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
    evaluated: Callable[[], dict[str, float]] = dict
    answer: dict[str, Any]
    for line in sys.stdin:
        request = json.loads(line)
        if "experiment" in request:
            try:
                (steps, evaluated), answer = _start(request["experiment"]), {}
            except ValueError as error:  # an older commit has no such task or option
                answer = {"refused": str(error)}
        elif "steps" in request:
            rate, start = product_rate(), time.process_time()
            _take(steps, request["steps"])
            answer = {"seconds": time.process_time() - start, "rate": rate}
        elif "evaluate" in request:
            answer = evaluated()
        else:
            answer = {"operators": _operators(steps, request["profile"])}
        print(json.dumps(answer), flush=True)


def _start(data: dict[str, Any]) -> tuple[Iterator[Any], Callable[[], dict[str, float]]]:
    """The steps of an experiment without end, after the first ones, and what scores its model."""
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
    return endless, functools.partial(_evaluate, experiment, model)


def _evaluate(experiment: Any, model: Any) -> dict[str, float]:
    """CPU seconds of the two kinds of evaluation that a run makes."""
    from lab.evaluation.score import score, score_teacher_forced

    config, probes = experiment.train, experiment.probes
    few = [dataclasses.replace(p, n=min(p.n, config.eval_rows or p.n)) for p in probes]
    kinds = {"on_the_way": (score if config.eval_answers else score_teacher_forced, few)}
    kinds["end"] = (score, probes)
    answer = {}
    for name, (scored, rows) in kinds.items():
        start = time.process_time()
        for probe in rows:
            scored(model, experiment, probe)
        answer[name] = time.process_time() - start
    return answer


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
