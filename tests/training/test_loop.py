"""The loop: what a step sees, and that its parts add up."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.data.batches import batch_for_step, open_lengths
from lab.data.rows import Rows
from lab.experiments._any import for_task
from lab.experiments.parity import experiment
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import make_model
from lab.training.loop import add_noise, train
from lab.training.optim import build
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
    for a, b in zip(trained(small()), trained(small(grad_accum=parts)), strict=True):
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
    e = dataclasses.replace(e, model=ModelConfig(experts=4, aux_loss_weight=0.5, width=16))
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


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=9).map(tuple),
    steps=st.integers(1, 60),
    share=st.floats(0.01, 1),
)
def test_a_curriculum_opens_the_shortest_lengths_first(
    lengths: tuple[int, ...], steps: int, share: float
) -> None:
    if len(lengths) == 1:
        lengths += (31,)
    config = TrainConfig(steps=steps, lengths=lengths, curriculum=share)
    span = round(share * steps)
    for step in range(steps):
        found = open_lengths(config, step)
        count = len(lengths)
        if step < span:  # the least whole number that is not below n (s + 1) / S
            count = next(c for c in range(count + 1) if c * span >= len(lengths) * (step + 1))
        assert count >= 1 and found == sorted(lengths)[:count], step
    assert open_lengths(config, max(span - 1, 0)) == sorted(lengths) or span == 0


def test_steps_draw_evenly_from_the_open_lengths_whatever_was_drawn_before() -> None:
    e = small(steps=400, batch=1, lengths=(9, 3, 6), curriculum=0.5)
    draw = batch_for_step(e)
    sizes = {Rows(e.task, n, 0)[0:1].tokens.shape[1]: n for n in (3, 6, 9)}
    seen = [sizes[draw(step).tokens.shape[1]] for step in range(400)]
    assert set(seen[:66]) == {3} and set(seen[67:133]) == {3, 6} and set(seen[133:]) == {3, 6, 9}
    for n in (3, 6, 9):
        assert 70 <= seen[133:].count(n) <= 110  # 89 +- 2.7 deviations
    back = batch_for_step(e)
    assert [sizes[back(s).tokens.shape[1]] for s in reversed(range(400))] == seen[::-1]


@pytest.mark.parametrize("step", [0, 3, 200])
def test_gradient_noise_has_the_variance_of_its_step(step: int) -> None:
    model = torch.nn.Linear(300, 300)
    config = TrainConfig(grad_noise=0.3, seed=4)
    for p in model.parameters():
        p.grad = torch.full_like(p, 5.0)
    before = torch.random.get_rng_state()
    add_noise(model, config, step, CPU)
    assert torch.equal(before, torch.random.get_rng_state()), "global random state was touched"
    one = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]) - 5
    assert one.var().item() == pytest.approx(0.3 / (1 + step) ** 0.55, rel=0.03)  # 6 deviations
    assert abs(one.mean().item()) < 5 * (0.3 / len(one)) ** 0.5
    torch.rand(3)
    again = [
        noise_of(dataclasses.replace(config, seed=s), n) for s, n in ((4, step), (5, step), (4, 7))
    ]
    assert torch.allclose(one[:90_000].view(300, 300), again[0], atol=1e-5)
    assert not torch.allclose(again[0], again[1]) and not torch.allclose(again[0], again[2])


def noise_of(config: TrainConfig, step: int) -> torch.Tensor:
    """The noise of a step on a matrix of 300 x 300."""
    model = torch.nn.Linear(300, 300)
    model.weight.grad = torch.zeros(300, 300)
    add_noise(model, config, step, CPU)
    return model.weight.grad


def test_gradient_noise_comes_after_clipping() -> None:
    """Gradients of norm 1e-9 leave the noise alone: sgd moves by lr x noise."""
    e = small(steps=1, grad_clip=1e-9, grad_noise=0.5, optimizer="sgd", lr=0.1, schedule="constant")
    before = [p.detach().clone() for p in make_model(e).parameters()]
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, trained(e), strict=True)])
    used = moved[moved != 0] / 0.1
    assert used.var().item() == pytest.approx(0.5, rel=0.1) and len(used) > 1000
