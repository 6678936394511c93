"""Everything that can vary in a run, on one page. Pure data, JSON both ways, no torch.

An Experiment names its run folder by the hash of its JSON, so two runs share a folder only when
nothing that matters differs. `change` sets any field by its dotted path, as --set does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import tasks
from lab import mixers
from tasks import Task, refuse


@dataclass(frozen=True)
class ModelConfig:
    """layers: mixers from bottom to top, "attention*2" or "lstm,attention". heads: per attention
    layer. position: where order comes from. tokens: how many positions a learned table holds.
    mlp: hidden width of a block's MLP in units of width, 0 for none. tie: one matrix for embedding
    and output. dropout: share of activations dropped (embedding, mixer and MLP outputs)."""

    layers: str = "attention*2"
    width: int = 64
    heads: int = 2
    position: Literal["none", "learned", "rope"] = "learned"
    tokens: int = 2048
    norm: Literal["layer", "rms"] = "layer"
    mlp: float = 4.0
    dropout: float = 0.0
    tie: bool = False

    def __post_init__(self) -> None:
        _choices(self, "model.")
        for name in ("width", "heads", "tokens"):
            _at_least(self, "model.", name, 1)
        _at_least(self, "model.", "mlp", 0)
        if self.width % self.heads:
            raise refuse("model.heads", self.heads, f"it must divide the width, {self.width}")
        if self.position == "rope" and self.width // self.heads % 2:
            raise refuse("model.position", "rope", "width / heads must be even")
        if not 0 <= self.dropout < 1:
            raise refuse("model.dropout", self.dropout, "a share from 0 to below 1")
        self.stack()

    def stack(self) -> list[str]:
        """The mixers from bottom to top, "attention*2,lstm" spelled out."""
        found = []
        for part in self.layers.split(","):
            name, _, times = part.strip().partition("*")
            if name not in mixers.names() or not (times or "1").isdigit():
                allowed = f"NAME or NAME*TIMES, by commas; names: {', '.join(mixers.names())}"
                raise refuse("model.layers", self.layers, allowed)
            found += [name] * int(times or "1")
        if not found:
            raise refuse("model.layers", self.layers, "at least one layer")
        return found


@dataclass(frozen=True)
class TrainConfig:
    """steps of `batch` rows each. lengths: every step draws one of them. lr: peak learning rate.
    schedule: after `warmup` steps constant, or down to 0 by a line or a cosine. clip: largest norm
    of the gradient, 0 for none. examples: rows of a fixed training set, none for fresh rows at
    every step. eval_every: steps between evaluations on the probes, 0 for only at the end."""

    steps: int = 1000
    batch: int = 256
    lengths: tuple[int, ...] = (20,)
    optimizer: Literal["adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: int = 0
    clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    examples: int | None = None
    eval_every: int = 0

    def __post_init__(self) -> None:
        _choices(self, "train.")
        for name in ("steps", "batch"):
            _at_least(self, "train.", name, 1)
        for name in ("lr", "weight_decay", "warmup", "clip", "seed", "eval_every"):
            _at_least(self, "train.", name, 0)
        if not self.lengths or min(self.lengths) < 1:
            raise refuse("train.lengths", self.lengths, "one or more whole numbers from 1")
        if self.warmup > self.steps:
            raise refuse("train.warmup", self.warmup, f"at most train.steps, {self.steps}")
        if self.examples is not None and self.examples < max(self.batch, len(self.lengths)):
            raise refuse("train.examples", self.examples, f"none, or at least {self.batch}")


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
            _at_least(self, f"probe {self.label}: ", name, 1)

    def of(self, task: Task) -> Task:
        """The task that this probe draws its rows from."""
        unknown = set(self.change) - {f.name for f in dataclasses.fields(task)}  # type: ignore[arg-type]
        if unknown:
            raise refuse("probe", self.label, f"{task.name} has no option {', '.join(unknown)}")
        return dataclasses.replace(task, **self.change)  # type: ignore[type-var]


@dataclass(frozen=True)
class Experiment:
    """A question: which task, with or without chain of thought, which model, trained how, and where
    it is probed. `source` is the file of a task that is not the lab's own."""

    name: str
    task: Task
    cot: bool
    model: ModelConfig
    train: TrainConfig
    probes: tuple[Probe, ...]
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` gives an equal Experiment back."""
        data = {
            "name": self.name,
            "task": {"name": self.task.name, **dataclasses.asdict(self.task)},  # type: ignore[call-overload]
            "cot": self.cot,
            "model": dataclasses.asdict(self.model),
            "train": dataclasses.asdict(self.train),
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
        raise refuse("task", name, f"it comes from {data['source']}, which must be given by hand")
    cls = trusted if "source" in data and trusted else tasks.load(name)
    return Experiment(
        name=data["name"],
        task=_build(cls, options),
        cot=data["cot"],
        model=_build(ModelConfig, data["model"]),
        train=_build(TrainConfig, data["train"]),
        probes=tuple(Probe(**p) for p in data["probes"]),
        source=data.get("source"),
    )


def change(experiment: Experiment, path: str, text: str) -> Experiment:
    """Set the field at a dotted path (task.k, train.lr, model.width, cot) from text."""
    head, _, leaf = path.partition(".")
    if path == "cot":
        return dataclasses.replace(experiment, cot=parse(text, bool, path))
    if head not in ("task", "model", "train") or not leaf:
        raise refuse("--set", path, "a path such as task.k, model.width, train.lr or cot")
    part = getattr(experiment, head)
    return dataclasses.replace(experiment, **{head: set_field(part, leaf, text, path)})


def set_field(part: Any, name: str, text: str, path: str) -> Any:
    """A copy of a frozen dataclass with one field set from text."""
    hints = typing.get_type_hints(type(part))
    known = [f.name for f in dataclasses.fields(part)]
    if name not in known:
        raise refuse("--set", path, f"its fields are {', '.join(known)}")
    return dataclasses.replace(part, **{name: parse(text, hints[name], path)})


def parse(text: str, hint: Any, path: str) -> Any:
    """A value of the annotated type from text: 3, 0.1, true, none, a choice, 1,2,3 or 1..4."""
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    for option in options:
        try:
            return _parse_one(text, option)
        except ValueError:
            continue
    raise refuse(path, text, f"a value of type {_spelled(hint)} is needed")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _parse_one(text: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is type(None) and text.lower() == "none":
        return None
    if hint is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    if origin is Literal:
        for value in typing.get_args(hint):
            if str(value) == text:
                return value
    if origin is tuple:
        kinds = typing.get_args(hint)
        parts = text.strip("()[]").split(",") if text.strip("()[]") else []
        if kinds[-1] is not Ellipsis and len(kinds) != len(parts):
            raise ValueError(text)
        each = kinds if kinds[-1] is not Ellipsis else (kinds[0],) * len(parts)
        spread = [_range(p) if k is int else [p] for p, k in zip(parts, each, strict=True)]
        return tuple(_parse_one(str(v).strip(), each[0]) for values in spread for v in values)
    if hint in (int, float, str):
        return hint(text)
    raise ValueError(text)


def _range(text: str) -> list[Any]:
    low, dots, high = text.partition("..")
    return list(range(int(low), int(high) + 1)) if dots else [text]


def _spelled(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if _is_union(hint):
        return " or ".join(_spelled(h) for h in typing.get_args(hint))
    if hint is type(None):
        return "none"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _build(cls: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON: lists become tuples, unknown fields are turned down by name."""
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = set(values) - known
    if unknown:
        raise refuse(cls.__name__, sorted(unknown), f"its fields are {', '.join(sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _choices(config: Any, prefix: str) -> None:
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is Literal:
            allowed = typing.get_args(hint)
            if getattr(config, name) not in allowed:
                says = f"one of {', '.join(map(str, allowed))}"
                raise refuse(prefix + name, getattr(config, name), says)


def _at_least(config: Any, prefix: str, name: str, least: float) -> None:
    if not getattr(config, name) >= least:
        raise refuse(prefix + name, getattr(config, name), f"at least {least}")
