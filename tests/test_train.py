"""The loop: what a step sees, and that its parts add up."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.data import Rows
from lab.experiments._any import for_task
from lab.experiments.parity import experiment
from lab.optim import build, learning_rate
from lab.run import make_model
from lab.train import teacher_forced, to_torch, train
from tasks import Role
from tasks.compose_arithmetic import ComposeArithmetic
from tasks.planted import Planted

CPU = torch.device("cpu")


def trained(e: Experiment) -> list[torch.Tensor]:
    model = make_model(e)
    for _ in train(e, model, build(model, e.train), 0, CPU):
        pass
    return [p.detach() for p in model.parameters()]


def small(**changes: object) -> Experiment:
    base = experiment(k=2, length=6)
    config = dataclasses.replace(base.train, **{"steps": 5, "batch": 24, **changes})  # type: ignore[arg-type]
    return dataclasses.replace(base, train=config)


@pytest.mark.parametrize("parts", [2, 3, 24])
def test_accumulated_parts_are_one_step(parts: int) -> None:
    for a, b in zip(trained(small()), trained(small(accumulate=parts)), strict=True):
        assert torch.allclose(a, b, atol=2e-5)


def test_loss_is_over_supervised_tokens_only() -> None:
    task = ComposeArithmetic()
    e = for_task(ComposeArithmetic)(length=4)
    model, batch = make_model(e), Rows(task, 4, 0)[0:8]
    inputs = to_torch(task, e.model, batch, CPU)
    loss, exact = teacher_forced(model, inputs)
    logits = model(inputs.tokens)
    total, count = 0.0, 0
    for row in range(8):
        right = True
        for t in range(1, batch.tokens.shape[1]):
            if batch.roles[row, t] in (Role.THOUGHT, Role.ANSWER):
                p = logits[row, t - 1].softmax(-1)[batch.tokens[row, t]]
                total, count = total - math.log(p.item()), count + 1
                right &= int(logits[row, t - 1].argmax()) == batch.tokens[row, t]
        assert bool(exact[row]) == right
    assert loss.item() == pytest.approx(total / count, rel=1e-5)


def test_predicted_places_add_their_loss() -> None:
    e = for_task(Planted)()
    e = dataclasses.replace(e, model=ModelConfig(position="predicted", width=16))
    model, batch = make_model(e), Rows(Planted(), 8, 0)[0:8]
    inputs = to_torch(e.task, e.model, batch, CPU)
    both, _ = teacher_forced(model, inputs)
    assert inputs.ids is not None
    hidden = model.hidden(inputs.tokens[:, :-1], inputs.supervised, inputs.ids[:, :-1])
    tokens = F.cross_entropy(model.head(hidden), inputs.tokens[:, 1:][inputs.supervised])
    ids = F.cross_entropy(model.next_place(hidden), inputs.ids[:, 1:][inputs.supervised])
    assert both.item() == pytest.approx((tokens + ids).item(), rel=1e-6)


def test_experts_add_their_balance_in_training_only() -> None:
    e = small()
    e = dataclasses.replace(e, model=ModelConfig(experts=4, balance=0.5, width=16))
    model, batch = make_model(e), Rows(e.task, 6, 0)[0:8]
    inputs = to_torch(e.task, e.model, batch, CPU)
    plain, _ = teacher_forced(model.eval(), inputs)
    balanced, _ = teacher_forced(model.train(), inputs)
    assert balanced.item() - plain.item() > 0.5 * 0.99 * 2  # two mixtures, each at least near 1


def test_dropout_depends_on_seed_and_step_alone() -> None:
    e = small()
    e = dataclasses.replace(e, model=dataclasses.replace(e.model, dropout=0.3))
    before = torch.random.get_rng_state()
    one = trained(e)
    assert torch.equal(before, torch.random.get_rng_state()), "global random state was touched"
    torch.rand(5)
    assert all(torch.equal(a, b) for a, b in zip(one, trained(e), strict=True))


def test_schedules() -> None:
    def rates(schedule: str, **options: float) -> list[float]:
        config = TrainConfig(steps=10, lr=1.0, schedule=schedule, **options)  # type: ignore[arg-type]
        return [learning_rate(config, step) for step in range(10)]

    assert rates("constant") == [1.0] * 10
    assert rates("linear") == pytest.approx([1 - s / 10 for s in range(10)])
    assert rates("linear", warmup=4) == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    cosine = [(1 + math.cos(math.pi * s / 10)) / 2 for s in range(10)]
    assert rates("cosine") == pytest.approx(cosine)


def test_weight_decay_spares_norms() -> None:
    model = make_model(small())
    optimizer = build(model, TrainConfig(weight_decay=0.1, lr=0.1))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.99 if p.ndim >= 2 else 1.0
        assert torch.allclose(p, factor * before[name], rtol=1e-5), name
