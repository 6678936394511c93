"""How a model is trained: the half of an Experiment that lab.training executes."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from lab.config.batching import Batching
from lab.config.fields import Field, check, default
from lab.config.reinforcement import Reinforcement
from tasks import refuse

# Values of beta1 and beta2 when a configuration gives none; see lab.training.optim.build.
BETAS = {
    "adamw": (0.9, 0.999),
    "sgd": (0.9,),
    "signum": (0.9,),
    "lion": (0.9, 0.99),
    "muon": (0.95,),
    "soap": (0.95, 0.95),
    "adalayer": (0.9, 0.999),
}
DURING = ("eval_rows", "eval_answers", "early_stop")  # of evaluations during training


@dataclass(frozen=True)
class TrainConfig(Reinforcement, Batching):
    """Objective, rows, optimizer, schedule, and what is evaluated and saved during training.

    ValueError for a value out of its range, for options that exclude each other and for options
    that training would ignore.
    """

    steps: Annotated[
        int, Field("updates of the weights; of objectives that sample, batches", low=1, common=True)
    ] = 1000
    offset: Annotated[
        int,
        Field(
            "largest random shift of a training row's position ids; with position = learned,"
            " coupled or predicted",
            unit="tokens",
            low=0,
        ),
    ] = 0
    optimizer: Annotated[
        Literal["adamw", "sgd", "signum", "lion", "muon", "soap", "adalayer"],
        Field("how gradients become updates", common=True),
    ] = "adamw"
    lr: Annotated[float, Field("peak learning rate", low=0, common=True)] = 1e-3
    beta1: Annotated[
        float | None,
        Field(
            "decay rate of the first moment, or momentum; none for the optimizer's default",
            low=0,
            high=1,
            high_open=True,
        ),
    ] = None
    beta2: Annotated[
        float | None,
        Field(
            "decay rate of the second moment; none for the optimizer's default",
            low=0,
            high=1,
            high_open=True,
        ),
    ] = None
    weight_decay: Annotated[
        float, Field("weight decay of matrices; norms and biases have none", low=0)
    ] = 0.0
    grad_noise: Annotated[
        float,
        Field("eta of Gaussian gradient noise, whose variance is eta / (1 + step)^0.55", low=0),
    ] = 0.0
    schedule: Annotated[
        Literal["constant", "linear", "cosine", "wsd", "wsd_s"],
        Field(
            "shape of the learning rate after the warm-up; wsd and wsd_s are constant and decay to"
            " 0 at the end",
            common=True,
        ),
    ] = "linear"
    warmup: Annotated[
        int, Field("steps over which the learning rate rises from 0", unit="steps", low=0)
    ] = 0
    decay: Annotated[
        float,
        Field(
            "last fraction of the steps over which wsd and wsd_s decay to 0",
            low=0,
            high=1,
            low_open=True,
        ),
    ] = 0.1
    budgets: Annotated[
        tuple[int, ...],
        Field(
            "intermediate step counts at which the rate decays to 0 and the model is scored"
            " (wsd: on a copy; wsd_s: in place)",
            low=1,
        ),
    ] = ()
    grad_clip: Annotated[float, Field("largest norm of the gradient; 0 for no clipping", low=0)] = (
        1.0
    )
    precision: Annotated[
        Literal["fp32", "bf16"], Field("number format of activations and matrix products")
    ] = "fp32"
    seed: Annotated[
        int, Field("number that determines weights, data, dropout and probes", low=0, common=True)
    ] = 0
    reveal: Annotated[
        tuple[float, ...],
        Field(
            "fraction of the thought, or else of the answer, given as a hint in the prompt, a"
            " schedule over training; probes use the last one",
            low=0,
            high=1,
        ),
    ] = ()
    reveal_of: Annotated[
        Literal["own", "other"],
        Field(
            "row that the hint of a training row is from: its own, or the next one of the batch, a"
            " control",
            late=True,
        ),
    ] = "own"
    cot_noise: Annotated[
        Literal["none", "static", "dynamic"],
        Field(
            "errors in training thoughts: static ones replace tokens of the finished thought,"
            " dynamic ones also change what is computed from them"
        ),
    ] = "none"
    cot_noise_rows: Annotated[
        float, Field("fraction of training rows with errors", low=0, high=1)
    ] = 1.0
    cot_noise_rate: Annotated[
        float, Field("fraction of wrong tokens in the thought of such a row", low=0, high=1)
    ] = 0.1
    eval_every: Annotated[
        int,
        Field("steps between evaluations; 0 for one at the end", unit="steps", low=0, common=True),
    ] = 0
    eval_rows: Annotated[
        int,
        Field("rows of each probe in evaluations during training; 0 for all", "rows", low=0),
    ] = 0
    eval_answers: Annotated[
        bool, Field("let the model write its own answers in evaluations during training")
    ] = True
    threshold: Annotated[
        float,
        Field("exact match from which a probe counts as learned", low=0, high=1, low_open=True),
    ] = 1.0
    early_stop: Annotated[
        bool, Field("end training at the first evaluation at which the first probe is learned")
    ] = False
    keep_steps: Annotated[
        tuple[int, ...],
        Field("steps whose weights are kept, for lab eval and for runs that start there", low=1),
    ] = ()
    ema: Annotated[
        float,
        Field(
            "decay rate of a moving average of the weights, which probes then score; 0 for none",
            low=0,
            high=1,
            high_open=True,
            late=True,
        ),
    ] = 0.0
    freeze: Annotated[
        tuple[str, ...],
        Field(
            "patterns of names of parameters that keep their first weights, such as embed.* or"
            " blocks.0.*",
            late=True,
        ),
    ] = ()
    optimizer_state: Annotated[
        Literal["new", "kept"],
        Field("state of the optimizer at the first step: new, or kept from the parent", late=True),
    ] = "new"

    def __post_init__(self) -> None:
        check(self, "train.")
        self._check_batches()
        if self.warmup > self.steps:
            raise refuse("train.warmup", self.warmup, f"at most train.steps, {self.steps}")
        for name in ("budgets", "keep_steps"):
            if max(getattr(self, name), default=0) >= self.steps:
                allowed = f"whole numbers from 1 to below train.steps, {self.steps}"
                raise refuse(f"train.{name}", getattr(self, name), allowed)
        self._combinations()
        self._decays()
        own_rows = ("cot_noise", "offset", "micro_batches")
        self._check_objective({name: getattr(self, name) for name in own_rows})
        if self.targets == "shuffled" and self.batch // self.grad_accum < 2:
            allowed = "it needs two rows in each part of a batch"
            raise refuse("train.targets", "shuffled", allowed)

    def step_rows(self) -> int:
        """Rows that a step trains on, at most: of objectives that sample, completions."""
        return self.batch * (self.samples if self.samples_completions else 1)

    def betas(self) -> tuple[float, ...]:
        """The decay rates in use: of the first moment, and of the second where there is one."""
        pairs = zip(BETAS[self.optimizer], (self.beta1, self.beta2), strict=False)
        return tuple(own if value is None else value for own, value in pairs)

    def decay_start(self, end: int) -> int:
        """The step at which wsd and wsd_s start a decay that reaches 0 at step `end`."""
        return min(end - 1, round((1 - self.decay) * end))

    def kept(self) -> list[str]:
        """The checkpoints that a complete run keeps for certain, by name; ema-500: the average at
        step 500."""
        steps = sorted({*self.keep_steps, self.steps})
        names = [f"step-{step}" for step in steps] + [f"branch-{end}" for end in self.branching()]
        return names + [f"ema-{step}" for step in steps if self.ema]

    def scored(self) -> Literal["step", "ema"]:
        """The kind of checkpoint that probes score and that others start from."""
        return "ema" if self.ema else "step"

    def branching(self) -> list[int]:
        """The budgets that are reached on a copy of the run."""
        return sorted(set(self.budgets)) if self.schedule == "wsd" else []

    def branches(self, step: int) -> list[int]:
        """The budgets whose decay starts, on a copy of the run, after this many steps."""
        return [end for end in self.branching() if self.decay_start(end) == step]

    def given(self, values: Mapping[str, Any]) -> TrainConfig:
        """A copy with these values. What the experiment chose gives way where they rule it out: its
        warm-up to fewer steps, its evaluations during training to an eval_every of 0."""
        own: dict[str, Any] = {"warmup": 0}
        if values.get("eval_every") == 0:
            own |= {name: default(self, name) for name in DURING}
        made = replace(self, **{**own, **values})
        if "warmup" in values:
            return made
        return replace(made, warmup=min(self.warmup, made._first_decay()))

    def installed(self) -> None:
        """ValueError when the optimizer needs a package that is not installed."""
        if self.optimizer == "soap" and importlib.util.find_spec("pytorch_optimizer") is None:
            how = "it needs a package: pip install 'synthetic-reasoning-lab[soap]'"
            raise refuse("train.optimizer", "soap", how)

    def _first_decay(self) -> int:
        """The step at which wsd and wsd_s first decay; the last one of other schedules."""
        decays = self.schedule in ("wsd", "wsd_s")
        return self.decay_start(min((*self.budgets, self.steps))) if decays else self.steps

    def _combinations(self) -> None:
        """Refuse options that training would ignore."""
        decays = self.schedule in ("wsd", "wsd_s")
        second = len(self.betas()) > 1
        needs: tuple[tuple[str, Any, str], ...] = (
            ("decay budgets", decays, "only schedule = wsd and wsd_s decay at the end"),
            ("beta2", second, f"{self.optimizer} has no second decay rate"),
            ("curriculum", len(self.lengths) > 1, "train.lengths holds only one length"),
            ("reveal_of", self.reveal and self.batch > 1, "it needs reveal and a batch above 1"),
            ("cot_noise_rows cot_noise_rate", self.cot_noise != "none", "it needs cot_noise"),
            (" ".join(DURING), self.eval_every, "it needs eval_every"),
            ("ema", not self.branching(), "a branch of wsd decays instead of averaging"),
        )
        for names, met, why in needs:
            for name in names.split():
                if not met and getattr(self, name) != default(self, name):
                    raise refuse(f"train.{name}", getattr(self, name), why)

    def _decays(self) -> None:
        """Refuse decays that start before the peak, or before the previous decay has ended."""
        if self.schedule not in ("wsd", "wsd_s"):
            return
        ends = [*sorted(set(self.budgets)), self.steps]
        first = self._first_decay()
        if self.warmup > first:
            raise refuse("train.warmup", self.warmup, f"at most {first}, where the decay begins")
        for one, other in itertools.pairwise(ends if self.schedule == "wsd_s" else []):
            if self.decay_start(other) < one:
                allowed = f"the decay that ends at {other} begins before {one}"
                raise refuse("train.budgets", self.budgets, allowed)
