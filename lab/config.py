"""Everything that can vary in a run, on one page. Pure data, JSON both ways, no torch.

An Experiment names its run folder by the hash of its JSON, so two runs share a folder only when
nothing that matters differs. `change` sets any field by its dotted path, as --set does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import tasks
from lab import mixers
from lab._fields import at_least, choices, default, set_field
from tasks import Batch, Task, refuse

Position = Literal[
    "none",
    "learned",
    "sinusoidal",
    "rope",
    "alibi",
    "hard_alibi",
    "path",
    "coupled",
    "predicted",
]


@dataclass(frozen=True)
class ModelConfig:
    """layers: mixers from bottom to top, "attention*2" or "mamba*7,attention". heads: per layer.
    kv_heads: heads of keys and values, 0 for as many as heads.
    position: where order comes from. tokens: places in a table of positions. rope_base: longest
    wavelength of rope over 2 pi. banded: heads with a window under hard_alibi, 0 for half of them.
    forget: data-dependent forget gate on attention logits (FoX). log_length: tokens in a training
    row, beyond which logits grow with the logarithm of the place (entropy-ABF), 0 for never.
    gate: gate of attention, one value per head or per channel. gate_at: G1 after attention, G2
    values, G3 keys, G4 queries, G5 after the output projection. gate_shared: one gate for all
    heads. gate_add: add the gate instead of multiplying. gate_act: its nonlinearity.
    qk_norm: RMSNorm on queries and keys of each head. sigma: sigma-reparametrised matrices.
    norm: of a block. mlp: hidden width in units of width, 0 for none. mlp_act: gelu or gated silu.
    mlp_in: which layers have an MLP. experts: of a mixture of experts, 0 for a plain MLP. active:
    experts used by a token. balance: weight of the load-balancing loss. balance_over: rows it
    balances. state: state size of mamba. expand: inner width of mamba in units of width. conv:
    length of the short convolution of mamba and based. feature: width of queries and keys of based.
    bias: biases in linear layers. tie: one matrix for embedding and output. embed: learned, or
    frozen sinusoids of the token id. dropout: share of activations dropped."""

    layers: str = "attention*2"
    width: int = 64
    heads: int = 2
    kv_heads: int = 0
    position: Position = "learned"
    tokens: int = 2048
    rope_base: float = 10_000.0
    banded: int = 0
    forget: bool = False
    log_length: int = 0
    gate: Literal["none", "headwise", "elementwise"] = "none"
    gate_at: Literal["G1", "G2", "G3", "G4", "G5"] = "G1"
    gate_shared: bool = False
    gate_add: bool = False
    gate_act: Literal["sigmoid", "ns_sigmoid", "silu"] = "sigmoid"
    qk_norm: bool = False
    sigma: bool = False
    norm: Literal["layer", "rms", "preaffine", "gated"] = "layer"
    mlp: float = 4.0
    mlp_act: Literal["gelu", "swiglu"] = "gelu"
    mlp_in: Literal["all", "attention"] = "all"
    experts: int = 0
    active: int = 2
    balance: float = 0.01
    balance_over: Literal["micro", "global"] = "micro"
    state: int = 16
    expand: int = 2
    conv: int = 4
    feature: int = 16
    bias: bool = False
    tie: bool = False
    embed: Literal["learned", "sinusoidal"] = "learned"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        choices(self, "model.")
        for name in ("width", "heads", "tokens", "active", "state", "expand", "conv", "feature"):
            at_least(self, "model.", name, 1)
        for name in ("kv_heads", "banded", "log_length", "mlp", "experts", "balance"):
            at_least(self, "model.", name, 0)
        if self.width % self.heads:
            raise refuse("model.heads", self.heads, f"it must divide the width, {self.width}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise refuse("model.kv_heads", self.kv_heads, f"it must divide heads, {self.heads}")
        if self.banded > self.heads:
            raise refuse("model.banded", self.banded, f"at most the heads, {self.heads}")
        if self.position == "rope" and self.width // self.heads % 2:
            raise refuse("model.position", "rope", "width / heads must be even")
        if not self.rope_base > 1:
            raise refuse("model.rope_base", self.rope_base, "above 1")
        if not 0 <= self.dropout < 1:
            raise refuse("model.dropout", self.dropout, "a share from 0 to below 1")
        if self.experts and not self.active <= self.experts:
            raise refuse("model.active", self.active, f"at most the experts, {self.experts}")
        if self.experts and not self.mlp:
            raise refuse("model.experts", self.experts, "model.mlp = 0 leaves no MLP to divide")
        self._combinations()

    def _combinations(self) -> None:
        """Turn down options that would be accepted and ignored, and those that exclude others."""
        stack = set(self.stack())
        attention, gate = "attention" in stack, self.gate != "none"
        table = self.position in ("learned", "coupled", "predicted")
        needs = (
            ("kv_heads forget log_length gate qk_norm", attention, "no layer is attention"),
            ("gate_at gate_shared gate_add gate_act", gate, "it needs a gate"),
            ("banded", self.position == "hard_alibi", "only position = hard_alibi has bands"),
            ("rope_base", self.position == "rope", "only position = rope has a base"),
            ("tokens", table, "only learned, coupled and predicted places have a table"),
            ("state expand", "mamba" in stack, "no layer is mamba"),
            ("conv", stack & {"mamba", "deltanet", "based"}, "no layer has a short convolution"),
            ("feature", "based" in stack, "no layer is based"),
            ("mlp_act mlp_in", self.mlp, "model.mlp = 0 leaves no MLP"),
            ("active balance balance_over", self.experts, "it needs model.experts"),
        )
        for names, met, why in needs:
            for name in names.split():
                if not met and getattr(self, name) != default(self, name):
                    raise refuse(f"model.{name}", getattr(self, name), why)
        if self.position in ("rope", "alibi", "hard_alibi", "path") and not attention:
            raise refuse("model.position", self.position, "no layer is attention")
        if self.mlp_in == "attention" and not attention:
            raise refuse("model.mlp_in", "attention", "no layer is attention")
        if self.gate_shared and self.gate == "headwise":
            raise refuse("model.gate_shared", True, "a headwise gate has one value per head")
        if self.gate_at == "G5" and (self.gate == "headwise" or self.gate_shared):
            raise refuse("model.gate_at", "G5", "there are no heads after the output projection")
        if self.log_length == 1:
            raise refuse("model.log_length", 1, "0, or the tokens of a row from 2")
        if self.embed == "sinusoidal" and not self.tie:
            raise refuse("model.embed", "sinusoidal", "the output uses it too: set tie = true")

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
    """steps of `batch` rows each. accumulate: parts of a batch that go through the model one after
    another, for one update. lengths: every step draws one of them. lr: peak learning rate.
    schedule: after `warmup` steps constant, or down to 0 by a line or a cosine. clip: largest norm
    of the gradient, 0 for none. examples: rows of a fixed training set, none for fresh rows at
    every step. eval_every: steps between evaluations on the probes, 0 for only at the end."""

    steps: int = 1000
    batch: int = 256
    accumulate: int = 1
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
        choices(self, "train.")
        for name in ("steps", "batch", "accumulate"):
            at_least(self, "train.", name, 1)
        if self.batch % self.accumulate:
            raise refuse("train.accumulate", self.accumulate, f"it must divide {self.batch} rows")
        for name in ("lr", "weight_decay", "warmup", "clip", "seed", "eval_every"):
            at_least(self, "train.", name, 0)
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
    it is probed. reads: how often the prompt stands before the row is answered, 2 for just-read-
    twice (2407.05483). source: the file of a task that is not the lab's own."""

    name: str
    task: Task
    cot: bool
    model: ModelConfig
    train: TrainConfig
    probes: tuple[Probe, ...]
    reads: int = 1
    source: str | None = None

    def __post_init__(self) -> None:
        at_least(self, "", "reads", 1)
        if self.reads > 1 and self.model.position in ("coupled", "predicted"):
            raise refuse("reads", self.reads, f"position = {self.model.position} allows only 1")

    def view(self, batch: Batch) -> Batch:
        """What the model sees of a task's rows: without thoughts if so asked, prompts repeated."""
        return (batch if self.cot else batch.without_thoughts()).reread(self.reads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` gives an equal Experiment back."""
        data = {
            "name": self.name,
            "task": {"name": self.task.name, **dataclasses.asdict(self.task)},  # type: ignore[call-overload]
            "cot": self.cot,
            "model": dataclasses.asdict(self.model),
            "train": dataclasses.asdict(self.train),
            "reads": self.reads,
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
        reads=data["reads"],
        source=data.get("source"),
    )


def change(experiment: Experiment, path: str, text: str) -> Experiment:
    """Set the field at a dotted path (task.k, train.lr, model.width, cot, reads) from text."""
    head, _, leaf = path.partition(".")
    if path in ("cot", "reads"):
        return set_field(experiment, path, text, path)
    if head not in ("task", "model", "train") or not leaf:
        raise refuse("--set", path, "a path such as task.k, model.width, train.lr, cot or reads")
    part = getattr(experiment, head)
    return dataclasses.replace(experiment, **{head: set_field(part, leaf, text, path)})


def _build(cls: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON: lists become tuples, unknown fields are turned down by name."""
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = set(values) - known
    if unknown:
        raise refuse(cls.__name__, sorted(unknown), f"its fields are {', '.join(sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
