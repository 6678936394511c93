"""A task so small that every completion can be written down, and its probability as a loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.nn.model import Model, make_model
from tasks import Batch, Role, Task


@dataclass(frozen=True)
class Letters(Task):
    """`$`, then letters until `.`: row `$ b a .`; the answer to every prompt is `best` and `.`."""

    best: str = "b a"
    thought: int = 0
    split: str = "train"

    words = ("$", "a", "b", ".")

    @property
    def stop(self) -> tuple[int, ...]:
        return (3,)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        thought, answer = self.solve([0])
        row = [0, *thought, *answer]
        roles = [Role.PROMPT, *[Role.THOUGHT] * len(thought), *[Role.ANSWER] * len(answer)]
        return Batch(np.tile(row, (n, 1)), np.tile(np.array(roles, np.uint8), (n, 1)))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        row = [*(self.words.index(word) for word in self.best.split()), 3]
        return row[: self.thought], row[self.thought :]


def letters(task: Task | None = None, width: int = 16, **train: object) -> Experiment:
    """An experiment on Letters; train: of its training."""
    settings = {"objective": "grpo", "lengths": (2,), "batch": 4, "warmup": 0, **train}
    return Experiment(
        name="letters",
        task=task or Letters(),
        cot=True,
        model=ModelConfig(layers="attention", width=width, heads=2, position="learned"),
        train=TrainConfig(**settings),  # type: ignore[arg-type]
        probes=(Probe("same", 2, n=8),),
    )


def sharp_model(experiment: Experiment, by: float = 4.0) -> Model:
    """The model of an experiment with larger weights, far from uniform, in float64."""
    model = make_model(experiment).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(by)
    return model


def every_completion(task: Task, columns: int) -> Iterator[list[int]]:
    """Every row that can be written after `$` in so many columns, each up to its first stop."""
    V, stop = len(task.words), task.stop
    for size in range(1, columns + 1):
        for tokens in itertools.product(range(V), repeat=size):
            ends = [token in stop for token in tokens]
            if not any(ends[:-1]) and (ends[-1] or size == columns):
                yield list(tokens)


def log_probability(
    model: Model, completion: Sequence[int], temperature: float = 1.0
) -> torch.Tensor:
    """Of a completion of `$`: the sum over its tokens, one forward pass each."""
    total = torch.zeros((), dtype=torch.float64)
    row = [0]
    for token in completion:
        logits = model(torch.tensor([row]))[0, -1] / temperature
        total = total + logits[token] - logits.exp().sum().log()
        row.append(token)
    return total
