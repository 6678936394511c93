"""Everything that can vary in a run, on one page. Pure data, JSON both ways, no torch.

An Experiment names its run folder by the hash of its JSON, so two runs share a folder only when
nothing that matters differs. `change` sets any field by its dotted path, as --set does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

import tasks
from lab.config.fields import at_least, set_field
from lab.config.model import ModelConfig
from lab.config.train import TrainConfig
from tasks import Role, Task, refuse

Scale = Literal["cpu", "gpu"]  # at most ten minutes on two cores; the paper's sizes


@dataclass(frozen=True)
class Probe:
    """One point of evaluation: the experiment's task with `change` applied, at one length, n rows.

    A longer test is a probe with a larger length, an unseen composition one with
    change = {"split": "unseen"}; so a change of the experiment's task reaches its probes too.
    """

    label: str
    length: int
    change: Mapping[str, Any] = field(default_factory=dict)
    n: int = 2048

    def __post_init__(self) -> None:
        for name in ("length", "n"):
            at_least(self, f"probe {self.label}: ", name, 1)

    def of(self, task: Task) -> Task:
        """The task that this probe draws its rows from."""
        unknown = set(self.change) - {f.name for f in dataclasses.fields(task)}  # type: ignore[arg-type]
        if unknown:
            raise refuse("probe", self.label, f"{task.name} has no option {', '.join(unknown)}")
        return dataclasses.replace(task, **self.change)  # type: ignore[type-var]


@dataclass(frozen=True)
class Experiment:
    """A question: which task, with or without chain of thought, which model, trained how, and where
    it is probed. prompt_repeats: how often the prompt stands before the row is answered, 2 for just-read-
    twice (2407.05483). source: the file of a task that is not the lab's own."""

    name: str
    task: Task
    cot: bool
    model: ModelConfig
    train: TrainConfig
    probes: tuple[Probe, ...]
    prompt_repeats: int = 1
    source: str | None = None

    def __post_init__(self) -> None:
        at_least(self, "", "prompt_repeats", 1)
        if self.prompt_repeats > 1 and self.model.position in ("coupled", "predicted"):
            raise refuse(
                "prompt_repeats",
                self.prompt_repeats,
                f"position = {self.model.position} allows only 1",
            )
        for name, off in (("reveal", ()), ("cot_noise", "none")):
            value = getattr(self.train, name)
            if value != off and not self.cot:
                raise refuse(f"train.{name}", value, "cot = false leaves no thought")
            if value != off:
                self._check_thought(f"train.{name}", value)
        if self.train.offset and self.model.position not in ("learned", "coupled", "predicted"):
            allowed = f"position = {self.model.position} has no table of places"
            raise refuse("train.offset", self.train.offset, allowed)
        if self.train.reveal and self.model.position in ("coupled", "predicted"):
            allowed = f"position = {self.model.position} takes its places from whole thoughts"
            raise refuse("train.reveal", self.train.reveal, allowed)

    def _check_thought(self, option: str, value: object) -> None:
        """Turn down an option about thoughts where the task has none, or cannot rework them."""
        try:
            rows = self.task.sample(np.random.default_rng(0), 64, self.train.lengths[0])
        except ValueError:
            return  # its length is turned down elsewhere, in better words
        if not (rows.roles == Role.THOUGHT).any():
            raise refuse(option, value, f"the rows of the task {self.task.name} have no thought")
        if value == "dynamic":
            try:
                self.task.recompute(rows, lambda tokens, columns: tokens)
            except ValueError as error:
                raise refuse(option, value, str(error)) from None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` gives an equal Experiment back."""
        data = {
            "name": self.name,
            "task": {"name": self.task.name, **dataclasses.asdict(self.task)},  # type: ignore[call-overload]
            "cot": self.cot,
            "model": dataclasses.asdict(self.model),
            "train": dataclasses.asdict(self.train),
            "prompt_repeats": self.prompt_repeats,
            "probes": [{**dataclasses.asdict(p), "change": dict(p.change)} for p in self.probes],
        }
        if self.source:
            data["source"] = self.source
        return json.loads(json.dumps(data))

    @property
    def slug(self) -> str:
        """The name of the run folder: experiment and hash of everything in it."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def from_json(data: Mapping[str, Any], trusted: type[Task] | None = None) -> Experiment:
    """The Experiment of `to_json`. Never executes code that the data names.

    trusted: the class of a task from a file that the caller asked for. Without it, an experiment on
    somebody's own task is turned down.
    """
    options = dict(data["task"])
    name = options.pop("name")
    if "source" in data and trusted is None:
        says = f"it comes from {data['source']}, which must be given by hand (--task)"
        raise refuse("task", name, says)
    cls = trusted if "source" in data and trusted else tasks.load(name)
    return Experiment(
        name=data["name"],
        task=_build(cls, options),
        cot=data["cot"],
        model=_build(ModelConfig, data["model"]),
        train=_build(TrainConfig, data["train"]),
        probes=tuple(Probe(**p) for p in data["probes"]),
        prompt_repeats=data["prompt_repeats"],
        source=data.get("source"),
    )


def change(experiment: Experiment, path: str, text: str) -> Experiment:
    """Set the field at a dotted path (task.k, train.lr, model.width, cot, prompt_repeats) from text."""
    head, _, leaf = path.partition(".")
    if path in ("cot", "prompt_repeats"):
        return set_field(experiment, path, text, path)
    if head not in ("task", "model", "train") or not leaf:
        raise refuse(
            "--set", path, "a path such as task.k, model.width, train.lr, cot or prompt_repeats"
        )
    part = getattr(experiment, head)
    return dataclasses.replace(experiment, **{head: set_field(part, leaf, text, path)})


def _build(cls: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON: lists become tuples, unknown fields are turned down by name."""
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = set(values) - known
    if unknown:
        raise refuse(cls.__name__, sorted(unknown), f"its fields are {', '.join(sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def over_lengths(
    label: str, lengths: Iterable[int], n: int = 512, **change: Any
) -> tuple[Probe, ...]:
    """One probe for each length, all of one label: a curve of accuracy against length."""
    return tuple(Probe(label, length, change, n) for length in lengths)


def with_seeds(base: Experiment, seeds: int) -> list[Experiment]:
    """The experiment with its own seed and the next ones."""
    first = base.train.seed
    return [
        dataclasses.replace(base, train=dataclasses.replace(base.train, seed=first + i))
        for i in range(seeds)
    ]
