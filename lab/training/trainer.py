"""The trainer of one run: its steps, and the evaluations, checkpoints and branches between them.

After a step, in this order: an evaluation (every eval_every steps; at each budget of wsd_s, then
of all rows as at the end), a checkpoint, and the branches of wsd that start at this step. A branch
is a copy of model and optimizer whose learning rate decays to 0 at its budget. It is saved and
scored, and the run itself does not change.

Every checkpoint seals the rows of metrics.jsonl before it, and is written once more after each of
its branches. A run that resumes keeps these rows and no others, then evaluates and branches what is
due and missing. So a run that is killed at any moment ends with the same numbers. The row of a
branch has the step at which the branch left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

import torch

from lab.config import Experiment
from lab.errors import RunStopped
from lab.evaluation.score import score, score_teacher_forced
from lab.nn.model import Model, make_model
from lab.results.folder import Folder
from lab.results.log import Log
from lab.results.result import Score
from lab.training import checkpoint, divergence
from lab.training.average import Average
from lab.training.compile import compile_blocks, decide
from lab.training.loop import Step, train
from lab.training.objectives.distillation import Distillation
from lab.training.objectives.reinforce import reinforce
from lab.training.optim import build
from lab.training.start import parent_model, start
from lab.training.state import Position

LOG_EVERY = 10  # steps between two rows of the loss; a step that samples has its own row

Row = dict[str, Any]  # one line of metrics.jsonl


class Trainer:
    """Model and optimizer of a run at `step`, restored from its newest sound checkpoint.

    watch gets every row of metrics.jsonl, warn a sentence about each checkpoint that cannot be used
    and about options that the run does not follow. threads: of torch, for a run that starts; one
    that resumes keeps its own. compile: use torch.compile where it pays (lab.training.compile).
    heartbeat is called after every step and every evaluated batch. ValueError when there are
    checkpoints and none can be used; RunFailed when the run has diverged before.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Folder,
        device: torch.device,
        threads: int,
        compile: bool,
        watch: Callable[[Row], None],
        warn: Callable[[str], None],
        heartbeat: Callable[[], None],
    ) -> None:
        self.experiment, self.config = experiment, experiment.train
        self.folder, self.device = folder, device
        self.watch, self.heartbeat = watch, heartbeat
        divergence.refuse_again(folder)
        self.model, self.optimizer = self._build()
        self._average = Average(self.model, self.config.ema) if self.config.ema else None
        self._metrics = Log(folder.metrics)
        resumed = checkpoint.restore(
            folder.checkpoints,
            experiment.slug,
            self._metrics,
            self.model,
            self.optimizer,
            warn,
            self._averaged,
        )
        self.step, self._seconds_before = 0, 0.0
        self.threads = threads
        if resumed:
            self.step, self._seconds_before = resumed["step"], float(resumed["seconds"])
            self.threads = resumed["threads"]
            # The process before may have been killed between a save and this.
            checkpoint.prune(folder.checkpoints, resumed, self.model, self.config.keep_steps)
        else:
            start(experiment, folder.path.parent, self.model, self.optimizer)
        if self.threads != threads:
            warn(
                f"{folder.path} goes on with --threads {self.threads}, with which it started, not"
                f" with {threads}: its weights would have other bytes"
            )
        torch.set_num_threads(self.threads)
        self.compiled: Row = decide(experiment, self.model, folder.path, device, compile)
        if self.compiled["used"]:
            compile_blocks(self.model)
        rows = self._metrics.evaluations
        self._evaluations = {(row["step"], row.get("branch")): row for row in rows}
        self._start_time, self._tokens, self._start_step = time.monotonic(), 0, self.step

    @property
    def evaluations(self) -> list[Row]:
        """The rows of metrics.jsonl with scores, in their order, without their times: equal runs
        have equal ones."""
        rows = self._metrics.evaluations
        return [{k: row[k] for k in row if k != "evaluation_seconds"} for row in rows]

    @property
    def seconds(self) -> float:
        """Wall time of the run, summed over all its starts."""
        return self._seconds_before + time.monotonic() - self._start_time

    def fit(self, checkpoint_every: int, stop_requested: Sequence[int]) -> None:
        """Train to the end, saving a checkpoint every so many steps.

        Raises RunStopped, with a checkpoint saved, once `stop_requested` is not empty, and
        RunFailed when the loss or a weight is not finite.
        """
        config = self.config
        run = self._steps(self.model, self.optimizer)
        with closing(run) as steps:
            while True:
                self._evaluate()
                last = self.step == config.steps or self._is_learned()
                branches = [
                    budget
                    for budget in config.branches(self.step)
                    if (self.step, budget) not in self._evaluations
                ]
                due = self.step % checkpoint_every == 0 or self.step in config.keep_steps
                if self.step > self._start_step and (due or last or branches or stop_requested):
                    self._save()
                for budget in branches:
                    self._branch(budget, stop_requested)
                    self._save()
                if stop_requested:
                    raise RunStopped(self.folder.path, self.step)
                if last:
                    return
                now = next(steps)
                divergence.check(self.folder, now, self.model)
                self.heartbeat()
                self.step, self._tokens = now.number, self._tokens + now.tokens
                if self._average:
                    self._average.update(self.model, self.step)
                every = 1 if config.samples_completions else LOG_EVERY
                if self.step % every == 0 or self.step == config.steps:
                    self._log_step(now)

    @property
    def evaluation_seconds(self) -> float:
        """Wall time of all evaluations in the log; one of an older lab does not say and adds 0."""
        return sum(row.get("evaluation_seconds", 0.0) for row in self._evaluations.values())

    @property
    def _averaged(self) -> Model | None:
        return self._average.model if self._average else None

    @property
    def scored(self) -> Model:
        """What probes score: the model, or the average of its weights where there is one."""
        return self._averaged or self.model

    def scores(self, model: Model | None = None) -> Iterator[Score]:
        """The final scores on every probe, of what the run scores or of another model."""
        model = self.scored if model is None else model
        probes = self.experiment.probes
        return (score(model, self.experiment, probe, self.heartbeat) for probe in probes)

    def _build(self) -> tuple[Model, torch.optim.Optimizer]:
        model = make_model(self.experiment).to(self.device)
        return model, build(model, self.config)

    def _steps(
        self, model: Model, optimizer: torch.optim.Optimizer, budget: int | None = None
    ) -> Generator[Step, None, None]:
        """The steps from here on, by the objective."""
        told = (self.experiment, model, optimizer, self.step, self.device, budget)
        if self.config.samples_completions:
            return reinforce(*told, self._reference())
        if self.config.objective == "distillation":
            teacher = parent_model(self.experiment, self.folder.path.parent)
            return train(*told, Distillation(teacher.to(self.device)))
        return train(*told)

    def _reference(self) -> Model | None:
        """The model with the weights before step 0, if the objective compares with it."""
        if not self.config.kl:
            return None
        model = make_model(self.experiment).to(self.device)
        start(self.experiment, self.folder.path.parent, model)
        return model

    def _save(self) -> None:
        position = self._position("step", self.step)
        keep = self.config.keep_steps
        average = self._averaged
        checkpoint.save(
            self.folder.checkpoints, position, self.model, self.optimizer, keep, average
        )

    def _position(self, kind: Literal["step", "branch"], step: int) -> Position:
        return {
            "run": self.experiment.slug,
            "kind": kind,
            "step": step,
            "seconds": self.seconds,
            "threads": self.threads,
            "log": self._metrics.seal(),
        }

    def _log(self, row: Row) -> None:
        self._metrics.add(row)
        self.watch(row)
        if "scores" in row:
            self._evaluations[row["step"], row.get("branch")] = row

    def _log_scores(self, row: Row, scores: Iterator[Row]) -> None:
        """Log a row with scores, which are computed here, and the wall time that they took."""
        began = time.monotonic()
        row = {**row, "scores": list(scores)}
        self._log({**row, "evaluation_seconds": time.monotonic() - began})

    def _log_step(self, now: Step) -> None:
        self._log(
            {
                "step": self.step,
                "rows": self.step * self.config.batch,
                "loss": now.loss,
                "exact": now.exact,
                "lr": now.lr,
                "tokens_per_second": self._tokens / (time.monotonic() - self._start_time),
                "seconds": self.seconds,
                **now.more,
            }
        )

    def _evaluate(self) -> None:
        """Evaluate the model at this step if that is due and not in the log."""
        config, step = self.config, self.step
        if step in (0, config.steps) or (step, None) in self._evaluations:
            return
        row: Row = {"step": step, "rows": step * config.batch}
        if config.schedule == "wsd_s" and step in config.budgets:
            self._log_scores({**row, "budget": step}, (vars(s) for s in self.scores()))
        elif config.eval_every and step % config.eval_every == 0:
            probes = self.experiment.probes
            some = [replace(p, n=min(p.n, config.eval_rows or p.n)) for p in probes]
            scores = (
                vars(score(self.scored, self.experiment, probe, self.heartbeat))
                if config.eval_answers
                else score_teacher_forced(self.scored, self.experiment, probe, self.heartbeat)
                for probe in some
            )
            self._log_scores(row, scores)

    def _is_learned(self) -> bool:
        """Whether early_stop ends the run here: the first probe reaches the threshold."""
        row = self._evaluations.get((self.step, None))
        first = row["scores"][:1] if row and self.config.early_stop else []
        return any(score["exact"] >= self.config.threshold for score in first)

    def _branch(self, budget: int, stop_requested: Sequence[int]) -> None:
        """Decay a copy of the run to 0 at `budget` steps, save it, score it and log it."""
        model, optimizer = self._build()
        checkpoint.copy_state(self.model, self.optimizer, model, optimizer)
        if self.compiled["used"]:
            compile_blocks(model)
        for now in self._steps(model, optimizer, budget):
            divergence.check(self.folder, now, model)
            self.heartbeat()
            if stop_requested:
                raise RunStopped(self.folder.path, self.step)
        position = self._position("branch", budget)
        checkpoint.save(self.folder.checkpoints, position, model, optimizer)
        row = {"step": self.step, "branch": budget, "rows": budget * self.config.batch}
        self._log_scores(row, (vars(s) for s in self.scores(model)))
