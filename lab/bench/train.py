"""Time of a training step on one CPU thread, against the same step with logits of all tokens.

The first setting is that of zoology's example model (2 layers, vocabulary 8,192, width 64, 64 rows
of 64 tokens, 4 pairs to recall): peers compute logits of every token, this lab only of those
that are supervised, and the ratio is the gain from that alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from lab.bench import best_seconds
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.data.batches import batch_for_step
from lab.nn.inputs import to_torch
from lab.nn.loss import precision, teacher_forced
from lab.nn.model import make_model
from lab.training.optim import build
from tasks.parity import Parity
from tasks.recall import Recall


def settings() -> Iterator[tuple[str, Experiment]]:
    """The experiments that are timed, by name."""
    small = ModelConfig(layers="attention*2", width=64, heads=1)
    recall = Experiment(
        name="recall",
        task=Recall(),
        cot=True,
        model=small,
        train=TrainConfig(batch=64, lengths=(4,)),
        probes=(Probe("held out", 4),),
    )
    yield "recall, vocabulary 8192, width 64", recall
    yield "recall, vocabulary 8192, width 128", replace(recall, model=replace(small, width=128))
    bf16 = replace(recall.train, precision="bf16")
    yield "recall, vocabulary 8192, width 64, bf16", replace(recall, train=bf16)
    layers = ModelConfig(layers="attention", width=64, heads=1)
    train = TrainConfig(batch=256, lengths=(20,))
    yield "parity, k 6 of 20, width 64", replace(recall, task=Parity(), model=layers, train=train)


def measure() -> Iterator[dict[str, Any]]:
    """One row per setting: milliseconds of a step, and of the same step with all logits."""
    torch.set_num_threads(1)
    for name, experiment in settings():
        batch = batch_for_step(experiment)(0)
        device = torch.device("cpu")
        inputs = to_torch(experiment.task, experiment.model, batch, device)
        times = []
        for everywhere in (False, True):
            model = make_model(experiment)
            optimizer = build(model, experiment.train)

            def step() -> None:
                optimizer.zero_grad(set_to_none=True)  # noqa: B023
                with precision(experiment.train.precision, device):  # noqa: B023
                    if everywhere:  # noqa: B023
                        logits = model(inputs.tokens[:, :-1])  # noqa: B023
                        marked = inputs.tokens[:, 1:].masked_fill(~inputs.supervised, -100)  # noqa: B023
                        loss = F.cross_entropy(logits.flatten(0, 1).float(), marked.flatten())
                    else:
                        loss, _ = teacher_forced(model, inputs)  # noqa: B023
                loss.backward()
                optimizer.step()  # noqa: B023

            times.append(best_seconds(step))
        yield {
            "setting": name,
            "batch": len(batch),
            "tokens": inputs.tokens.shape[1],
            "supervised": int(inputs.supervised.sum()),
            "milliseconds": 1000 * times[0],
            "milliseconds_all_logits": 1000 * times[1],
            "ratio": times[1] / times[0],
        }
