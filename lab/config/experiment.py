"""Everything that can vary in a run, as pure data: JSON both ways, no torch.

An Experiment names its run folder by the hash of its JSON, so two runs share a folder only when
nothing that matters differs. `change` sets any field by its dotted path, as --set does.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import tasks
from lab.config.fields import at_least, set_field
from lab.config.model import ModelConfig
from lab.config.parent import Parent, checked, with_model
from lab.config.supervision import check_supervision
from lab.config.train import TrainConfig
from lab.config.trust import NOTHING, Trusted, mixer_files
from tasks import Task, refuse

Scale = Literal["cpu", "gpu"]  # at most ten minutes on two cores; the paper's sizes
SEEDS = ("secret", "seed")  # options of tasks that only choose rows, not their size
LARGEST = 2**16  # any other whole number among the options of the lab's own tasks
MOST = 10**7  # rows of a probe, its length, and repeats of a prompt: more are a mistake
_FIELDS = ("name", "task", "cot", "model", "train", "prompt_repeats", "probes")


@dataclass(frozen=True)
class Probe:
    """One point of evaluation: n rows of one length of the experiment's task after `change`.

    A longer test is a probe with a larger length, an unseen composition is one with
    change = {"split": "unseen"}. A change of the experiment's task reaches its probes too.
    """

    label: str
    length: int
    change: Mapping[str, Any] = field(default_factory=dict)
    n: int = 2048

    def __post_init__(self) -> None:
        for name in ("length", "n"):
            at_least(self, f"probe {self.label}: ", name, 1)
            if getattr(self, name) > MOST:
                raise refuse(
                    f"probe {self.label}: {name}", getattr(self, name), f"at most {MOST:,}"
                )

    def of(self, task: Task) -> Task:
        """The task that this probe draws its rows from."""
        unknown = set(self.change) - {f.name for f in dataclasses.fields(task)}  # type: ignore[arg-type]
        if unknown:
            raise refuse("probe", self.label, f"{task.name} has no option {', '.join(unknown)}")
        return replace(task, **self.change)  # type: ignore[type-var]


@dataclass(frozen=True)
class Experiment:
    """One question: a task with or without chain of thought, a model, its training, and the probes
    that score it. prompt_repeats: number of times that the prompt stands in a row before the
    answer, 2 for just-read-twice (2407.05483). source: the user's file of a task that is not the
    lab's own. parent: where the weights come from; None for random ones."""

    name: str
    task: Task
    cot: bool
    model: ModelConfig
    train: TrainConfig
    probes: tuple[Probe, ...]
    prompt_repeats: int = 1
    source: str | None = None
    parent: Parent | None = None

    def __post_init__(self) -> None:
        if self.parent is not None:
            object.__setattr__(self, "parent", checked(self, self.parent))
        elif self.train.optimizer_state == "kept":
            allowed = "without a parent there is none to keep"
            raise refuse("train.optimizer_state", "kept", allowed)
        elif self.train.objective == "distillation":
            allowed = "without a parent there is no attention to learn from"
            raise refuse("train.objective", "distillation", allowed)
        if self.train.ema and self.model.sigma:
            allowed = "with model.sigma = true the weights have estimates that do not average"
            raise refuse("train.ema", self.train.ema, allowed)
        at_least(self, "", "prompt_repeats", 1)
        if self.prompt_repeats > MOST:
            raise refuse("prompt_repeats", self.prompt_repeats, f"at most {MOST:,}")
        for option in dataclasses.fields(self.task) if self.source is None else ():  # type: ignore[arg-type]
            value = getattr(self.task, option.name)
            if option.name not in SEEDS and isinstance(value, int) and value > LARGEST:
                raise refuse(f"task.{option.name}", value, f"at most {LARGEST:,}")
        if self.prompt_repeats > 1 and self.model.position in ("coupled", "predicted"):
            raise refuse(
                "prompt_repeats",
                self.prompt_repeats,
                f"position = {self.model.position} allows only 1",
            )
        check_supervision(self)
        if self.train.offset and self.model.position not in ("learned", "coupled", "predicted"):
            allowed = f"position = {self.model.position} has no table of positions"
            raise refuse("train.offset", self.train.offset, allowed)
        if self.train.reveal and self.model.position in ("coupled", "predicted"):
            allowed = f"position = {self.model.position} takes its position ids from whole thoughts"
            raise refuse("train.reveal", self.train.reveal, allowed)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` gives an equal Experiment back."""
        return dict(json.loads(json.dumps(self._data())))

    def _data(self) -> dict[str, Any]:
        from lab.config.strict import stored

        data = {
            "name": self.name,
            "task": {"name": self.task.name, **dataclasses.asdict(self.task)},  # type: ignore[call-overload]
            "cot": self.cot,
            "model": stored(self.model),
            "train": stored(self.train),
            "prompt_repeats": self.prompt_repeats,
            "probes": [{**vars(p), "change": dict(p.change)} for p in self.probes],
        }
        if self.source:
            data["source"] = self.source
        if self.parent:
            data["parent"] = {**vars(self.parent), "experiment": self.parent.experiment._data()}
        return data

    @property
    def stage(self) -> int:
        """How many runs come before this one: 0 without a parent."""
        return len(self.ancestors())

    def ancestors(self) -> list[Experiment]:
        """The parent of the parent, the parent: every run before this one, the first one first."""
        if self.parent is None:
            return []
        return [*self.parent.experiment.ancestors(), self.parent.experiment]

    @functools.cached_property  # a sweep asks for it several times a run
    def slug(self) -> str:
        """The name of the run folder: experiment and hash of everything in it."""
        return slug(self._data())


def slug(data: Mapping[str, Any]) -> str:
    """The slug of the experiment with this JSON, which is checked for nothing."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return f"{data['name']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def from_json(data: Mapping[str, Any], trusted: Trusted = NOTHING) -> Experiment:
    """The Experiment of `to_json`, its types and values checked. Executes no code that data names.

    trusted: the files that the user named. An experiment on another file of a task or a mixer is
    refused. ValueError with the path of what is wrong: a value of another type, an unknown field, a
    missing one, a value that is not allowed.
    """
    from lab.config import strict

    strict.check_keys(data, (*_FIELDS, "source", "parent"), _FIELDS, "")
    for name, kind in (("name", str), ("cot", bool), ("prompt_repeats", int), ("probes", list)):
        strict.check(data[name], kind, name)
    strict.check(data.get("source"), str | None, "source")
    task = _task(data, trusted)
    _check_mixers(data["model"], trusted)
    train = strict.build(TrainConfig, data["train"], "train")
    return Experiment(
        name=data["name"],
        task=task,
        cot=data["cot"],
        model=strict.build(ModelConfig, data["model"], "model"),
        train=train,
        probes=tuple(_probe(p, task, f"probes[{i}]") for i, p in enumerate(data["probes"])),
        prompt_repeats=data["prompt_repeats"],
        source=data.get("source"),
        parent=_parent(data["parent"], train.seed, trusted) if "parent" in data else None,
    )


def _parent(data: Any, seed: int, trusted: Trusted) -> Parent:
    from lab.config import strict

    fields = ("experiment", "at", "fixed")
    strict.check_keys(data, fields, fields, "parent")
    strict.check(data["at"], str | None, "parent.at")
    strict.check(data["fixed"], bool, "parent.fixed")
    parent = Parent(from_json(data["experiment"], trusted), data["at"], data["fixed"])
    own = parent.experiment.train.seed
    if not parent.fixed and own != seed:
        allowed = f"the child's, {seed}, unless parent.fixed is true"
        raise refuse("parent.experiment.train.seed", own, allowed)
    return parent


def _task(data: Mapping[str, Any], trusted: Trusted) -> Task:
    from lab.config import strict

    strict.check(data["task"], dict[str, Any], "task")
    options = dict(data["task"])
    name = options.pop("name", None)
    strict.check(name, str, "task.name")
    if "source" not in data:
        if name not in tasks.names():
            raise refuse("task.name", name, f"the tasks are {', '.join(tasks.names())}")
        return strict.build(tasks.load(name), options, "task")
    if trusted.task is None:
        message = f"it comes from {data['source']}, which must be given by hand (--task)"
        raise refuse("task", name, message)
    return strict.build(trusted.task, options, "task")


def _check_mixers(model: Any, trusted: Trusted) -> None:
    """ValueError for a file of a mixer that the user did not name."""
    layers = model.get("layers") if isinstance(model, dict) else None
    for file in mixer_files(layers) if isinstance(layers, str) else ():
        if file not in trusted.mixers:
            message = f"{file} must be given by hand (--mixer)"
            raise refuse("model.layers", layers, message)


def _probe(values: Any, task: Task, where: str) -> Probe:
    from lab.config import strict

    probe = strict.build(Probe, values, where)
    change = strict.typed(type(task), probe.change, f"{where}.change")
    return replace(probe, change=change)


def change(experiment: Experiment, path: str, text: str) -> Experiment:
    """The experiment with the field at a dotted path (task.k, train.lr, cot) set from text."""
    head, _, leaf = path.partition(".")
    if path in ("cot", "prompt_repeats"):
        changed: Experiment = set_field(experiment, path, text, path)
        return changed
    if head not in ("task", "model", "train") or not leaf:
        raise refuse(
            "--set", path, "a path such as task.k, model.width, train.lr, cot or prompt_repeats"
        )
    part = set_field(getattr(experiment, head), leaf, text, path)
    return with_model(experiment, part) if head == "model" else replace(experiment, **{head: part})


def over_lengths(
    label: str, lengths: Iterable[int], n: int = 512, **change: Any
) -> tuple[Probe, ...]:
    """One probe for each length, all with one label: a curve of accuracy against length."""
    return tuple(Probe(label, length, change, n) for length in lengths)


def with_seeds(base: Experiment, seeds: int) -> list[Experiment]:
    """The experiment with its own seed and with the next ones, `seeds` in all."""
    first = base.train.seed
    others = range(first + 1, first + seeds)
    return [base, *(replace(base, train=replace(base.train, seed=seed)) for seed in others)]
