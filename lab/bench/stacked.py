"""Training steps of several seeds stacked into one model, against those of a single run.

The first row of an experiment is a run as `lab run` makes it, the others are stacks of so many
seeds (lab.training.stacked), called eagerly and, on a GPU, with forward and backward pass replayed
from a CUDA graph. Rows are drawn beforehand, by one processor, and timed by themselves: a run draws
them while the device computes. Seconds are those of this process on a CPU, of one thread, and wall
time on a GPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lab.bench import steps as timer
from lab.bench.graphs import captured, first_line, own_stream
from lab.bench.train import Setting, settings
from lab.config import Experiment
from lab.data.batches import batch_for_step
from lab.nn.inputs import Inputs, to_torch
from lab.nn.model import make_model
from lab.training.heap import keep_heap
from lab.training.loop import step
from lab.training.optim import build
from lab.training.stacked import Stack, StackedInputs, unstackable
from tasks import refuse

NAMES = ("parity", "flipflop")  # what is timed where no name is given
STEPS, WARM = 12, 2  # steps of each kind, and how many of them are not timed


@dataclass(frozen=True)
class Timing:
    """Steps of one or more models. seconds: of each step; draw: to draw the rows of one step;
    losses: of the first seed, before each update, in nats."""

    seconds: list[float]
    draw: float
    losses: list[float]

    @property
    def milliseconds(self) -> float:
        """The median of the steps that count."""
        return 1000 * statistics.median(self.seconds[WARM:])


def measure(
    names: Sequence[str], counts: Sequence[int], device: torch.device
) -> Iterator[dict[str, Any]]:
    """One row for a single run of each setting (default: NAMES), and one for each of the counts.

    A stack that fails says so in its row. ValueError for an unknown name, and for an experiment
    whose seeds cannot be stacked.
    """
    chosen = settings(names or NAMES)
    for setting in chosen:
        why = unstackable(setting.experiment)
        if why:
            raise refuse("NAMES", setting.name, why)
    if device.type == "cpu":
        torch.set_num_threads(1)
        keep_heap()  # as every run does
    for setting in chosen:
        yield from _rows(setting, counts, device)


def _rows(
    setting: Setting, counts: Sequence[int], device: torch.device
) -> Iterator[dict[str, Any]]:
    experiment = setting.experiment
    numbers = timer.numbers(experiment.train.steps, STEPS)
    with own_stream(device):
        alone = _alone(experiment, numbers, device)
    yield row(setting.name, None, alone, alone, None, None)
    for n in counts:
        try:
            with own_stream(device) as stream:
                eager, replayed, why = _stacked(experiment, n, numbers, device, stream)
        except Exception as error:  # no rule for vmap, or no memory for so many
            yield {"setting": setting.name, "stacked": n, "error": first_line(error)}
        else:
            yield row(setting.name, n, alone, eager, replayed, why)


def row(
    name: str, n: int | None, alone: Timing, eager: Timing, replayed: Timing | None, why: str | None
) -> dict[str, Any]:
    """The row of n stacked models, or (None) of a single run.

    per_model is the time of a step over the models, of the replayed graph where there is one; ratio
    is that over a single run's step, below 1 where stacking pays. difference: the largest one in
    the losses of the first seed, in nats. graph_error: why there is no graph on a GPU.
    """
    timings = [eager] if replayed is None else [eager, replayed]
    per_model = timings[-1].milliseconds / (n or 1)
    found = {
        "setting": name,
        "stacked": n,
        "milliseconds": eager.milliseconds,
        "milliseconds_graph": None if replayed is None else replayed.milliseconds,
        "per_model": per_model,
        "ratio": per_model / alone.milliseconds,
        "milliseconds_rows": 1000 * eager.draw,
        "difference": max(
            abs(a - b)
            for timing in timings
            for a, b in zip(timing.losses, alone.losses, strict=True)
        ),
    }
    return found | ({"graph_error": why} if why else {})


def _alone(experiment: Experiment, numbers: Sequence[int], device: torch.device) -> Timing:
    """The steps of a single run."""
    model = make_model(experiment).to(device)
    optimizer = build(model, experiment.train)
    draw = batch_for_step(experiment)
    start = _now(device)
    drawn = [to_torch(experiment.task, experiment.model, draw(i), device) for i in numbers]
    spent = (_now(device) - start) / len(drawn)

    def update(number: int, inputs: Inputs) -> float:
        return step(experiment, model, optimizer, inputs, number).loss

    return _timed(update, numbers, drawn, spent, device)


def _stacked(
    experiment: Experiment,
    n: int,
    numbers: Sequence[int],
    device: torch.device,
    stream: torch.cuda.Stream | None,
) -> tuple[Timing, Timing | None, str | None]:
    """The steps of n seeds, eager and replayed from a graph, or why that cannot be captured."""
    stack = Stack(experiment, n, device)
    start = _now(device)
    drawn = stack.draw(numbers)
    spent = (_now(device) - start) / len(drawn)

    def update(number: int, inputs: StackedInputs) -> float:
        losses = stack.gradients(inputs)
        stack.update(number)
        return float(losses[0])

    eager = _timed(update, numbers, drawn, spent, device)
    if stream is None:
        return eager, None, None
    stack = Stack(experiment, n, device)
    static = StackedInputs(*(x.clone() for x in drawn[0]))
    for _ in range(3):
        losses = stack.gradients(static)

    def work() -> None:
        nonlocal losses
        losses = stack.gradients(static)

    replay, why = captured(work, stream)
    if replay is None:
        return eager, None, why

    def replayed(number: int, inputs: StackedInputs) -> float:
        for old, new in zip(static, inputs, strict=True):
            old.copy_(new)
        replay()
        # Outside of the graph, which would keep the learning rate of its capture.
        stack.update(number)
        return float(losses[0])

    return eager, _timed(replayed, numbers, drawn, spent, device), None


def _timed(
    update: Callable[[int, Any], float],
    numbers: Sequence[int],
    drawn: Sequence[Any],
    spent: float,
    device: torch.device,
) -> Timing:
    """The steps of these numbers on the rows drawn for them, in `spent` seconds each."""
    seconds, losses = [], []
    for number, inputs in zip(numbers, drawn, strict=True):
        start = _now(device)
        losses.append(update(number, inputs))
        seconds.append(_now(device) - start)
    return Timing(seconds, spent, losses)


def _now(device: torch.device) -> float:
    """Seconds of this process on a CPU; of the clock on CUDA, once all work there is done."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
