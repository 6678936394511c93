"""The course of a run: its steps, and what is due between two of them.

After a step come, in this order: an evaluation (every eval_every steps; at each budget of wsd_s,
then as thorough as the final one), a checkpoint, and the branches of wsd that leave there. A branch
is a copy of weights and optimizer that comes down to 0 at its budget, is evaluated and kept, while
the run itself is not touched.

What the log holds is done. A run that goes on from a checkpoint first makes up for what is due
there and is not in the log, so killing it at any moment changes no number. The branch of a log row
has the step at which it left as its own: it is cut with the others when a run goes back behind it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from lab.config import Experiment
from lab.errors import RunFailed, RunStopped
from lab.evaluation.score import score, score_teacher_forced
from lab.nn.model import Model, make_model
from lab.results.folder import Folder
from lab.results.result import Score
from lab.training import checkpoint
from lab.training.compile import compile_blocks, decide
from lab.training.loop import Step, train
from lab.training.optim import build

LOG_EVERY = 10


Row = dict[str, Any]


class Trainer:
    """A run at `step`, restored from its newest sound checkpoint."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Folder,
        device: torch.device,
        compile: bool,
        watch: Callable[[Row], None],
        warn: Callable[[str], None],
    ) -> None:
        self.experiment, self.config = experiment, experiment.train
        self.folder, self.device, self.watch = folder, device, watch
        self.compiled: Row = {"used": False}
        self.model, self.optimizer = self._build()
        self.step, self._before = checkpoint.restore(
            folder.checkpoints, self.model, self.optimizer, warn
        )
        folder.cut_log(self.step)
        self.compiled = decide(experiment, self.model, folder.path, device, compile)
        if self.compiled["used"]:
            compile_blocks(self.model)
        rows = [row for row in folder.read_log() if "scores" in row]
        self._made = {(row["step"], row.get("branch")): row for row in rows}
        self._began, self._tokens, self._restored = time.monotonic(), 0, self.step

    @property
    def seconds(self) -> float:
        """Wall time over all starts of the run."""
        return self._before + time.monotonic() - self._began

    def fit(self, checkpoint_every: int, stop_requested: list[int]) -> None:
        """Train to the end. Raises Stopped, with a checkpoint, once `stop_requested` is not empty; Failed
        when the loss is no number."""
        config = self.config
        run = train(self.experiment, self.model, self.optimizer, self.step, self.device)
        with closing(run) as steps:
            while True:
                self._evaluate()
                last = self.step == config.steps or self._learned()
                leaving = [
                    budget
                    for budget in config.branches(self.step)
                    if (self.step, budget) not in self._made
                ]
                due = self.step % checkpoint_every == 0 or self.step in config.keep_steps
                if self.step > self._restored and (due or last or leaving or stop_requested):
                    self._save()
                for budget in leaving:
                    self._branch(budget, stop_requested)
                if stop_requested:
                    raise RunStopped(self.folder.path, self.step)
                if last:
                    return
                now = self._finite(next(steps))
                self.step, self._tokens = now.number, self._tokens + now.tokens
                if self.step % LOG_EVERY == 0 or self.step == config.steps:
                    self._log_step(now)

    def scores(self, model: Model | None = None) -> list[Score]:
        """The final scores of every probe, of the run or of another model."""
        model = self.model if model is None else model
        return [score(model, self.experiment, probe) for probe in self.experiment.probes]

    def _build(self) -> tuple[Model, torch.optim.Optimizer]:
        model = make_model(self.experiment).to(self.device)
        optimizer = build(model, self.config)
        return model, optimizer

    def _save(self) -> None:
        state = (self.step, self.seconds, self.model, self.optimizer)
        checkpoint.save(self.folder.checkpoints, *state, keep=self.config.keep_steps)

    def _log(self, row: Row) -> None:
        self.folder.log(row)
        self.watch(row)
        if "scores" in row:
            self._made[row["step"], row.get("branch")] = row

    def _log_step(self, now: Step) -> None:
        self._log(
            {
                "step": self.step,
                "rows": self.step * self.config.batch,
                "loss": now.loss,
                "exact": now.exact,
                "lr": now.lr,
                "tokens_per_second": self._tokens / (time.monotonic() - self._began),
                "seconds": self.seconds,
            }
        )

    def _finite(self, now: Step) -> Step:
        if not math.isfinite(now.loss):
            says = f"the loss is {now.loss} at step {now.number}; try a smaller train.lr"
            raise RunFailed(f"{says} (last checkpoint kept in {self.folder.checkpoints})")
        return now

    def _evaluate(self) -> None:
        config, step = self.config, self.step
        if step in (0, config.steps) or (step, None) in self._made:
            return
        row: Row = {"step": step, "rows": step * config.batch}
        if config.schedule == "wsd_s" and step in config.budgets:
            self._log({**row, "budget": step, "scores": [vars(s) for s in self.scores()]})
        elif config.eval_every and step % config.eval_every == 0:
            probes = self.experiment.probes
            some = [replace(p, n=min(p.n, config.eval_rows or p.n)) for p in probes]
            found = [
                vars(score(self.model, self.experiment, probe))
                if config.eval_answers
                else score_teacher_forced(self.model, self.experiment, probe)
                for probe in some
            ]
            self._log({**row, "scores": found})

    def _learned(self) -> bool:
        """Whether the evaluation at this step ends the run."""
        row = self._made.get((self.step, None))
        first = row["scores"][:1] if row and self.config.early_stop else []
        return any(score["exact"] >= self.config.threshold for score in first)

    def _branch(self, budget: int, stop_requested: list[int]) -> None:
        model, optimizer = self._build()
        checkpoint.copy(self.model, self.optimizer, model, optimizer)
        if self.compiled["used"]:
            compile_blocks(model)
        for now in train(self.experiment, model, optimizer, self.step, self.device, budget):
            self._finite(now)
            if stop_requested:
                raise RunStopped(self.folder.path, self.step)
        scores = [vars(score) for score in self.scores(model)]
        state = (budget, self.seconds, model, optimizer)
        checkpoint.save(self.folder.checkpoints, *state, keep=self.config.keep_steps, kind="branch")
        rows = budget * self.config.batch
        self._log({"step": self.step, "branch": budget, "rows": rows, "scores": scores})
