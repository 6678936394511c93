"""What the oracle says of completions: rewards, advantages within a group, Pass@k.

    reward = w_answer [answer right] + w_format [ends with an answer]
             + w_process (thought tokens before the first wrong one / thought tokens)

The group of a prompt are its G completions, with rewards r_1 .. r_G. Advantages are

    grpo      A_i = (r_i - mean r) / (std r + 1e-6)     DeepSeekMath (2402.03300), section 4.1.2
    dr_grpo   A_i = r_i - mean r                        Dr. GRPO (2503.20783), section 3

with the population's deviation and 1e-6 (our choices). A group whose rewards are all equal teaches
nothing: its advantages are 0, and no residue of rounding, which an adaptive optimizer would follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lab.config import TrainConfig
from lab.evaluation.decode import answers, compare
from lab.evaluation.sampling import pass_at
from lab.training.objectives.rollouts import Rollouts
from tasks import Role, Task

LEAST_STD = 1e-6


class Judged(NamedTuple):
    """The oracle's judgement of N completions. answer, thought, ended: bool [N], right, right, and
    with an answer at its end. progress: share of the thought before its first wrong token [N], 1
    where none is due."""

    answer: np.ndarray
    thought: np.ndarray
    ended: np.ndarray
    progress: np.ndarray


def judge(task: Task, rollouts: Rollouts) -> Judged:
    """Compare completions with the rows of the task, which are the oracle's."""
    batch, written = rollouts.batch, rollouts.written
    answer, thought, first = compare(task, batch, written)
    ended = np.array([own is not None for own in answers(task, batch, written)])
    size = np.isin(batch.roles, (Role.THOUGHT, Role.TOOL)).sum(1)
    progress = np.where(first < 0, 1.0, first / np.maximum(size, 1))
    return Judged(answer, thought, ended, progress)


def rewards(judged: Judged, config: TrainConfig) -> np.ndarray:
    """The reward of each completion, float64 [N]."""
    total: np.ndarray = (
        config.reward_answer * judged.answer
        + config.reward_format * judged.ended
        + config.reward_process * judged.progress
    )
    return total


def advantages(reward: np.ndarray, config: TrainConfig) -> np.ndarray:
    """The advantage of each completion, float64 [N], from rewards in groups of `samples`."""
    groups = reward.reshape(-1, config.samples)
    centred = groups - groups.mean(1, keepdims=True)
    if config.advantage == "grpo":
        centred = centred / (groups.std(1, keepdims=True) + LEAST_STD)
    flat: np.ndarray = np.where(np.ptp(groups, axis=1, keepdims=True) == 0, 0.0, centred).ravel()
    return flat


def passes(right: np.ndarray, samples: int) -> dict[str, float]:
    """{"pass@1": ..., "pass@2": ..., ...}: unbiased Pass@k of the prompts, for k = 1, 2, 4, ... up
    to `samples`, from right bool [N]."""
    counts = right.reshape(-1, samples).sum(1).tolist()
    powers = [2**i for i in range(samples.bit_length())]
    return {
        f"pass@{k}": float(np.mean([pass_at(samples, count, k) for count in counts]))
        for k in powers
    }
