"""What training maximizes, and the settings of objectives other than the likelihood of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lab.config.fields import Field, default
from tasks import refuse

OF = {  # the settings that each objective uses
    "next_token": (),
    "grpo": (
        *("samples", "temperature", "updates", "advantage", "ratio_clip", "kl"),
        *("reward_answer", "reward_format", "reward_process"),
    ),
    "expert_iteration": ("samples", "temperature", "updates", "accept"),
    "distillation": ("targets",),
}


@dataclass(frozen=True)
class Reinforcement:
    """Part of TrainConfig. A step of an objective that samples is one batch of completions:
    `batch` prompts x `samples`, and `updates` updates of the weights on them."""

    objective: Annotated[
        Literal["next_token", "grpo", "expert_iteration", "distillation"],
        Field(
            "what training maximizes: the likelihood of the task's rows, the oracle's reward of the"
            " model's own completions, the likelihood of those that the oracle accepts, or the"
            " agreement of linear attention with the parent's attention",
            late=True,
        ),
    ] = "next_token"
    samples: Annotated[
        int,
        Field("completions that grpo and expert_iteration sample of each prompt", low=1, late=True),
    ] = 8
    temperature: Annotated[
        float, Field("temperature of these completions", low=0, low_open=True, late=True)
    ] = 1.0
    updates: Annotated[
        int, Field("updates of the weights on a batch of completions", low=1, late=True)
    ] = 1
    advantage: Annotated[
        Literal["grpo", "dr_grpo"],
        Field(
            "grpo: divided by the deviation of the group, and each completion counts the same;"
            " dr_grpo: neither",
            late=True,
        ),
    ] = "grpo"
    ratio_clip: Annotated[
        float,
        Field(
            "how far from 1 the ratio of new and old probability counts; needs updates above 1",
            low=0,
            low_open=True,
            late=True,
        ),
    ] = 0.2
    kl: Annotated[
        float, Field("weight of the KL divergence from the first weights", low=0, late=True)
    ] = 0.0
    reward_answer: Annotated[float, Field("reward of a right answer", low=0, late=True)] = 1.0
    reward_format: Annotated[
        float,
        Field("reward of a completion that ends with an answer, right or wrong", low=0, late=True),
    ] = 0.0
    reward_process: Annotated[
        float,
        Field("reward of the share of the thought before its first wrong token", low=0, late=True),
    ] = 0.0
    accept: Annotated[
        Literal["answer", "thought", "random"],
        Field(
            "completions that expert_iteration trains on: with a right answer, with a right thought"
            " too, or as many as with a right answer, at random",
            late=True,
        ),
    ] = "answer"
    targets: Annotated[
        Literal["own", "shuffled"],
        Field(
            "attention that distillation learns on a row: the parent's on this row, or, as a"
            " control, on another row of the batch",
            late=True,
        ),
    ] = "own"

    @property
    def samples_completions(self) -> bool:
        """Whether steps train on completions that the model samples."""
        return "samples" in OF[self.objective]

    def _check_objective(self, others: dict[str, object]) -> None:
        """Refuse settings that the objective ignores, and others (by name) that it cannot have."""
        used = OF[self.objective]
        for name in Reinforcement.__dataclass_fields__:
            value = getattr(self, name)
            if name not in ("objective", *used) and value != default(self, name):
                users = " and ".join(one for one in OF if name in OF[one])
                raise refuse(f"train.{name}", value, f"only objective = {users} uses it")
        if not self.samples_completions:
            return
        for name, value in others.items():
            if value != default(self, name):
                allowed = f"objective = {self.objective} trains on completions of the model"
                raise refuse(f"train.{name}", value, allowed)
        if self.objective == "grpo":
            if self.samples < 2:
                raise refuse("train.samples", self.samples, "at least 2, which grpo compares")
            if self.updates == 1 and self.ratio_clip != default(self, "ratio_clip"):
                raise refuse("train.ratio_clip", self.ratio_clip, "it needs updates above 1")
            if not self.reward_answer + self.reward_format + self.reward_process:
                raise refuse("train.reward_answer", self.reward_answer, "one reward above 0")
