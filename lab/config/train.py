"""How a model is trained: the half of an Experiment that lab.training carries out."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import dataclass
from typing import Any, Literal

from lab.config.fields import at_least, choices, default
from tasks import refuse

# What beta1 and beta2 are when a configuration gives none; lab.training.optim.build says more.
BETAS = {
    "adamw": (0.9, 0.999),
    "sgd": (0.9,),
    "signum": (0.9,),
    "lion": (0.9, 0.99),
    "muon": (0.95,),
    "soap": (0.95, 0.95),
    "adalayer": (0.9, 0.999),
}


@dataclass(frozen=True)
class TrainConfig:
    """steps of `batch` rows each. grad_accum: parts of a batch that go through the model one after
    another, for one update. lengths: every step draws one of them. curriculum: share of the steps
    in which the lengths come in one after another, shortest first. offset: places of a training row
    start up to so many further on, at random (position = learned, coupled, predicted). optimizer:
    how gradients become updates. lr: peak learning rate. beta1: decay of the first moment, or
    momentum; none for the optimizer's own default. beta2: decay of the second moment, likewise.
    weight_decay: of matrices, not of norms and biases. grad_noise: eta of normal noise added to
    gradients, variance eta / (1 + step)^0.55. schedule: after `warmup` steps constant, or down to 0
    by a line or a cosine; wsd and wsd_s stay and decay at the end. decay: last share of a budget in
    which wsd and wsd_s go down to 0. budgets: smaller numbers of steps that are decayed and
    evaluated on the way, by wsd as branches, by wsd_s going on from there. grad_clip: largest norm of
    the gradient, 0 for none. examples: rows of a fixed training set, none for fresh rows at every
    step. reveal: shares of each thought that the prompt gives away, one after another over the run;
    the last one holds for the probes too. cot_noise: damage to the training thoughts, static to the
    finished one, dynamic while it is worked out, so that the rest follows from the error.
    cot_noise_rows: share of damaged rows. cot_noise_rate: share of damaged tokens of such a row.
    eval_every: steps between evaluations on the probes, 0 for only at the end. eval_rows: rows of a
    probe in these evaluations, 0 for all. eval_answers: decode in them, not only teacher-forced.
    threshold: exact match from which a probe counts as learned. early_stop: end at the first
    evaluation on the way at which the first probe is learned, wherever the schedule is. keep_steps: steps
    whose weights are kept for `lab eval --interpolate`."""

    steps: int = 1000
    batch: int = 256
    grad_accum: int = 1
    lengths: tuple[int, ...] = (20,)
    curriculum: float = 0.0
    offset: int = 0
    optimizer: Literal["adamw", "sgd", "signum", "lion", "muon", "soap", "adalayer"] = "adamw"
    lr: float = 1e-3
    beta1: float | None = None
    beta2: float | None = None
    weight_decay: float = 0.0
    grad_noise: float = 0.0
    schedule: Literal["constant", "linear", "cosine", "wsd", "wsd_s"] = "linear"
    warmup: int = 0
    decay: float = 0.1
    budgets: tuple[int, ...] = ()
    grad_clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    examples: int | None = None
    reveal: tuple[float, ...] = ()
    cot_noise: Literal["none", "static", "dynamic"] = "none"
    cot_noise_rows: float = 1.0
    cot_noise_rate: float = 0.1
    eval_every: int = 0
    eval_rows: int = 0
    eval_answers: bool = True
    threshold: float = 1.0
    early_stop: bool = False
    keep_steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        choices(self, "train.")
        for name in ("steps", "batch", "grad_accum"):
            at_least(self, "train.", name, 1)
        if self.batch % self.grad_accum:
            raise refuse("train.grad_accum", self.grad_accum, f"it must divide {self.batch} rows")
        counts = ("offset", "warmup", "seed", "eval_every", "eval_rows")
        for name in ("lr", "weight_decay", "grad_noise", "grad_clip", *counts):
            at_least(self, "train.", name, 0)
        if not self.lengths or min(self.lengths) < 1:
            raise refuse("train.lengths", self.lengths, "one or more whole numbers from 1")
        if self.warmup > self.steps:
            raise refuse("train.warmup", self.warmup, f"at most train.steps, {self.steps}")
        if self.examples is not None and self.examples < max(self.batch, len(self.lengths)):
            raise refuse("train.examples", self.examples, f"none, or at least {self.batch}")
        for name in ("curriculum", "cot_noise_rows", "cot_noise_rate"):
            self._share(name, getattr(self, name))
        for value in self.reveal:
            self._share("reveal", value)
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise refuse(f"train.{name}", value, "none, or a number from 0 to below 1")
        for name in ("threshold", "decay"):
            if not 0 < getattr(self, name) <= 1:
                raise refuse(f"train.{name}", getattr(self, name), "a share above 0, up to 1")
        for name in ("budgets", "keep_steps"):
            for value in getattr(self, name):
                if not 1 <= value < self.steps:
                    allowed = f"whole numbers from 1 to below train.steps, {self.steps}"
                    raise refuse(f"train.{name}", getattr(self, name), allowed)
        self._combinations()
        self._decays()

    def betas(self) -> tuple[float, ...]:
        """The decay rates in use: of the first moment, and of the second where there is one."""
        given = (self.beta1, self.beta2)
        pairs = zip(BETAS[self.optimizer], given, strict=False)
        return tuple(own if value is None else value for own, value in pairs)

    def decay_start(self, end: int) -> int:
        """The step at which wsd and wsd_s begin to come down to 0 at step `end`."""
        return min(end - 1, round((1 - self.decay) * end))

    def branches(self, step: int) -> list[int]:
        """The budgets whose branches leave the run when it has done so many steps."""
        budgets = sorted(set(self.budgets)) if self.schedule == "wsd" else []
        return [end for end in budgets if self.decay_start(end) == step]

    def installed(self) -> None:
        """ValueError when the optimizer comes with a package that is not here."""
        if self.optimizer == "soap" and importlib.util.find_spec("pytorch_optimizer") is None:
            how = "it needs a package: pip install 'synthetic-reasoning-lab[soap]'"
            raise refuse("train.optimizer", "soap", how)

    def _share(self, name: str, value: float) -> None:
        if not 0 <= value <= 1:
            raise refuse(f"train.{name}", value, "a share from 0 to 1")

    def _combinations(self) -> None:
        """Turn down options that would be accepted and ignored."""
        decays = self.schedule in ("wsd", "wsd_s")
        second = len(self.betas()) > 1
        needs: tuple[tuple[str, Any, str], ...] = (
            ("decay budgets", decays, "only schedule = wsd and wsd_s decay at the end"),
            ("beta2", second, f"{self.optimizer} has no second decay rate"),
            ("curriculum", len(self.lengths) > 1, "train.lengths holds only one length"),
            ("cot_noise_rows cot_noise_rate", self.cot_noise != "none", "it needs cot_noise"),
            ("eval_rows eval_answers early_stop", self.eval_every, "it needs eval_every"),
        )
        for names, met, why in needs:
            for name in names.split():
                if not met and getattr(self, name) != default(self, name):
                    raise refuse(f"train.{name}", getattr(self, name), why)

    def _decays(self) -> None:
        """Every decay of wsd and wsd_s starts from the peak, and those of one run follow on."""
        if self.schedule not in ("wsd", "wsd_s"):
            return
        ends = [*sorted(set(self.budgets)), self.steps]
        first = self.decay_start(ends[0])
        if self.warmup > first:
            raise refuse("train.warmup", self.warmup, f"at most {first}, where the decay begins")
        for one, other in itertools.pairwise(ends if self.schedule == "wsd_s" else []):
            if self.decay_start(other) < one:
                allowed = f"the decay that ends at {other} begins before {one}"
                raise refuse("train.budgets", self.budgets, allowed)
