"""The surrogate of grpo against enumerations and loops in float64, and a bandit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lab.config import Experiment, TrainConfig
from lab.data.batches import batch_for_step
from lab.nn.inputs import Inputs
from lab.nn.model import Model, make_model
from lab.training.objectives.grpo import Grpo, divergence, log_probs, surrogate, token_weights
from lab.training.objectives.reinforce import reinforce
from lab.training.objectives.rollouts import Rollouts, chosen
from lab.training.optim import build
from tasks import Batch, Role, Task
from tests.enumerated import Letters, every_completion, letters, log_probability, sharp_model

CPU = torch.device("cpu")
COLUMNS = 2


def rolled(task: Task, completions: Sequence[Sequence[int]], columns: int) -> Rollouts:
    """These completions of `$`, as if a model had written them."""
    written = np.zeros((len(completions), columns + 1), np.int64)
    for row, completion in zip(written, completions, strict=True):
        row[1 : 1 + len(completion)] = completion
    roles = np.full(written.shape, Role.ANSWER, np.uint8)
    roles[:, 0] = Role.PROMPT
    batch = Batch(np.zeros_like(written), roles)
    own, free = chosen(task, batch, written)
    return Rollouts(batch, written, own, int(free.sum(1).max()), 0.0)


def gradients(model: Model) -> torch.Tensor:
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten()
                      for p in model.parameters()])  # fmt: skip


def test_the_expected_gradient_against_an_enumeration() -> None:
    """Over all pairs of completions, dr_grpo's gradient is that of the expected reward, times
    (G - 1) / G for the baseline that contains the completion itself, over the room of a row."""
    settings = {"samples": 2, "batch": 1, "advantage": "dr_grpo", "temperature": 0.7}
    e = letters(Letters("b"), **settings)
    model, every = sharp_model(e), list(every_completion(e.task, COLUMNS))
    worth = {tuple(c): np.sin(1.0 + i) for i, c in enumerate(every)}
    p = torch.stack([log_probability(model, c, 0.7).exp() for c in every])
    assert float(p.sum().detach()) == pytest.approx(1) and len(every) == 13
    expected = (p * torch.tensor([worth[tuple(c)] for c in every])).sum()
    model.zero_grad()
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = gradients(model) * (1 / 2) / COLUMNS

    total = torch.zeros_like(wanted)
    for (i, one), (j, two) in itertools.combinations(enumerate(every), 2):  # in either order
        reward = np.array([worth[tuple(one)], worth[tuple(two)]])
        model.zero_grad()
        Grpo(e.train, rolled(e.task, [one, two], COLUMNS), reward, CPU, None).backward(model, 0)
        total -= 2 * float(p[i].detach() * p[j].detach()) * gradients(model)
    torch.testing.assert_close(total, wanted, rtol=1e-9, atol=1e-12)
    assert wanted.abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
def test_the_loss_against_a_loop(kind: str) -> None:
    """Of weights that have moved since the completions were sampled, with a KL penalty."""
    e = letters(samples=3, batch=2, advantage=kind, ratio_clip=0.1, updates=2, kl=0.3, grad_accum=2)
    task, config = e.task, e.train
    every = list(every_completion(task, 3))
    some = [every[i] for i in (0, 7, 20, 33, 33, 2)]
    reward = np.array([0.0, 1.0, 0.5, 1.0, 0.0, 0.0])
    old, first = sharp_model(e), sharp_model(e, 3.0)
    loss = Grpo(config, rolled(task, some, 3), reward, CPU, first)
    loss.backward(old, 0)
    new = sharp_model(e, 4.1)
    told = loss.backward(new, 1)
    assert told is not None

    def tokens(model: Model, completion: Sequence[int]) -> Iterator[float]:
        """The log-probability of each token."""
        row = [0]
        for token in completion:
            logits = model(torch.tensor([row]))[0, -1]
            yield float(logits.log_softmax(-1)[token].detach())
            row.append(token)

    total, kl, outside, count = 0.0, 0.0, 0, 0
    for i, completion in enumerate(some):
        group = reward[i // 3 * 3 : i // 3 * 3 + 3]
        advantage = reward[i] - group.mean()
        if kind == "grpo":
            advantage /= group.std() + 1e-6
        size = len(completion) if kind == "grpo" else 3
        each = zip(*(tokens(m, completion) for m in (new, old, first)), strict=True)
        for p, q, start in each:
            ratio = np.exp(p - q)
            gain = min(ratio * advantage, float(np.clip(ratio, 0.9, 1.1)) * advantage)
            penalty = np.exp(start - p) - (start - p) - 1
            total -= (gain - 0.3 * penalty) / (6 * size)
            kl += penalty / (6 * size)
            outside, count = outside + (abs(ratio - 1) > 0.1), count + 1
    assert told[0] == pytest.approx(total, rel=1e-9)
    assert told[1] == pytest.approx({"kl": kl, "clipped": outside / count}, rel=1e-9)
    assert 0 < outside < count


def test_the_estimate_of_kl_is_unbiased() -> None:
    p, q = (torch.tensor(x, dtype=torch.float64) for x in ([0.7, 0.2, 0.1], [0.2, 0.3, 0.5]))
    estimate = divergence(p.log(), q.log())
    assert float((p * estimate).sum()) == pytest.approx(float((p * (p / q).log()).sum()))
    assert (estimate >= 0).all() and float(divergence(p.log(), p.log()).abs().max()) == 0


def test_a_ratio_beyond_the_clip_has_no_gradient() -> None:
    new = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    surrogate(new, torch.zeros(4), advantage, 0.2).sum().backward()  # type: ignore[no-untyped-call]
    assert new.grad is not None
    assert (new.grad != 0).tolist() == [False, True, True, False]


def test_log_probs_are_those_of_the_rows() -> None:
    e = letters()
    model, tokens = sharp_model(e), torch.tensor([[0, 1, 2, 3], [0, 2, 3, 0]])
    own = torch.tensor([[True, True, True], [True, True, False]])
    told = log_probs(model, Inputs(tokens, own, None), 1.0)
    for some, completion in ((told[:3], [1, 2, 3]), (told[3:], [2, 3])):
        torch.testing.assert_close(some.sum(), log_probability(model, completion))


def test_every_completion_counts_the_same_in_grpo_and_every_token_in_dr_grpo() -> None:
    some = rolled(Letters(), [[3], [1, 2, 3]], 3)
    assert (token_weights(some, "grpo") * some.own.sum(1)).tolist() == pytest.approx([0.5, 0.5])
    assert token_weights(some, "dr_grpo").tolist() == pytest.approx([1 / 6, 1 / 6])


@dataclass(frozen=True)
class Bandit(Task):
    """One token of five arms after `$`; arm 3 is right."""

    split: str = "train"

    words = ("$", "0", "1", "2", "3", "4")

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        roles = np.array([Role.PROMPT, Role.ANSWER], np.uint8)
        return Batch(np.tile([0, 4], (n, 1)), np.tile(roles, (n, 1)))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        return [], [4]


def played(e: Experiment) -> tuple[float, list[dict[str, float]]]:
    """The probability of the right arm after training, and what the steps told."""
    model = make_model(e)
    reference = make_model(e) if e.train.kl else None
    run = reinforce(e, model, build(model, e.train), 0, CPU, None, reference)
    told = [dict(step.more) for step in run]
    return float(model(torch.tensor([[0]]))[0, -1].softmax(-1)[4].detach()), told


BANDIT = {"samples": 8, "batch": 4, "steps": 20, "lr": 1e-2, "schedule": "constant"}


def test_a_bandit_finds_its_best_arm() -> None:
    for more in ({}, {"advantage": "dr_grpo", "updates": 2}, {"objective": "expert_iteration"}):
        best, told = played(letters(Bandit(), **{**BANDIT, **more}))
        assert best > 0.9, more
        assert told[0]["reward"] < 0.5 < told[-1]["reward"] and told[-1]["pass@8"] == 1
        assert told[-1]["entropy"] < told[0]["entropy"]


def test_a_kl_penalty_holds_it_back() -> None:
    free, _ = played(letters(Bandit(), **BANDIT))
    held, told = played(letters(Bandit(), kl=10.0, **BANDIT))
    assert held < 0.5 < free and 0 <= told[-1]["kl"] < 0.1


def test_where_all_rewards_are_equal_nothing_is_learned() -> None:
    e = letters(Letters("b a b a"), steps=2, batch=2, samples=2, weight_decay=0.1)
    model = make_model(e)
    before = {name: p.clone() for name, p in model.named_parameters()}
    steps = list(reinforce(e, model, build(model, e.train), 0, CPU))
    assert [step.more["idle"] for step in steps] == [1, 1] and steps[0].loss == 0
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_accumulated_parts_are_one_batch() -> None:
    grads = []
    for parts in (1, 4):
        e = letters(samples=4, batch=4, grad_accum=parts, kl=0.1)
        model, every = sharp_model(e), list(every_completion(e.task, 3))
        some = rolled(e.task, every[:16], 3)
        Grpo(e.train, some, np.arange(16) % 3 / 2.0, CPU, sharp_model(e, 3)).backward(model, 0)
        grads.append(gradients(model))
    torch.testing.assert_close(*grads)


def test_the_rows_of_a_step_are_its_own() -> None:
    """Training from step 1 on continues what steps 0 and 1 began."""
    e = letters(steps=2, lr=1e-3)
    model = make_model(e)
    optimizer = build(model, e.train)
    whole = list(reinforce(e, model, optimizer, 0, CPU))
    again = make_model(e)
    own = build(again, e.train)
    first = next(reinforce(e, again, own, 0, CPU))
    second = next(reinforce(e, again, own, 1, CPU))
    assert [s.more for s in (first, second)] == [s.more for s in whole]
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert len(batch_for_step(e)(0)) == e.train.batch


def test_unused_settings_are_refused() -> None:
    for settings, named in (
        ({"samples": 4}, "train.samples"),
        ({"kl": 0.1}, "train.kl"),
        ({"objective": "expert_iteration", "kl": 0.1}, "only objective = grpo uses it"),
        ({"objective": "grpo", "accept": "random"}, "only objective = expert_iteration uses it"),
        ({"objective": "grpo", "samples": 1}, "at least 2"),
        ({"objective": "grpo", "ratio_clip": 0.1}, "it needs updates above 1"),
        ({"objective": "grpo", "reward_answer": 0.0}, "one reward above 0"),
        ({"objective": "grpo", "cot_noise": "static"}, "train.cot_noise"),
        ({"objective": "ppo"}, "train.objective"),
    ):
        with pytest.raises(ValueError, match=named):
            TrainConfig(**settings)  # type: ignore[arg-type]
