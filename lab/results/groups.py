"""Groups of runs that differ only in their seed, named by the settings that differ between groups.

Four runs of parity, k = 2 and 3, two seeds each, are the groups "k=2" and "k=3" of two runs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.results.lineage import family
from lab.results.result import Result

# Settings of evaluations on the way: they change no weights, unless training stops by them.
EVALUATION = ("train.eval_every", "train.eval_rows", "train.eval_answers", "train.keep_steps")
HIDDEN = ("probes", "task.name", "source")  # settings that follow from the rest of a label


@dataclass(frozen=True)
class Group:
    """Runs of one experiment, ordered by seed. label: the settings in which the group differs from
    the others, empty when there is only one. settings: the experiment's JSON by path, without
    seed."""

    label: str
    results: tuple[Result, ...]
    settings: dict[str, Any]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths that these runs were trained on."""
        return tuple(self.settings["train.lengths"])

    def values(self, name: str) -> list[list[float]]:
        """The metric `name` of every probe of every run: [probes][seeds]."""
        scores = zip(*(result.scores for result in self.results), strict=True)
        return [[getattr(score, name) for score in probe] for probe in scores]


def groups(results: Sequence[Result], ignore: Sequence[str] = ()) -> list[Group]:
    """The groups of some runs, ordered by the settings in which they differ. A run that repeats the
    experiment and the seed of another counts once; runs may differ in EVALUATION. ignore: settings
    that labels leave out."""
    by_settings: dict[str, tuple[dict[str, Any], dict[int, Result]]] = {}
    for result in results:
        flat = settings(result)
        seed = flat.pop("train.seed")
        same = json.dumps(training(flat), sort_keys=True)
        runs = by_settings.setdefault(same, (flat, {}))[1]
        runs.setdefault(seed, result)
    parts = list(by_settings.values())
    varying = differing([training(flat) for flat, _ in parts])
    parts.sort(key=lambda part: [_order(part[0].get(path)) for path in varying])
    shown = [path for path in varying if path not in (*HIDDEN, *ignore)]
    return [
        Group(label(flat, shown), tuple(runs[seed] for seed in sorted(runs)), flat)
        for flat, runs in parts
    ]


def training(flat: dict[str, Any]) -> dict[str, Any]:
    """The settings that change the weights."""
    if flat.get("train.early_stop"):
        return flat
    return {path: value for path, value in flat.items() if path not in EVALUATION}


def settings(result: Result) -> dict[str, Any]:
    """The experiment of a result, `flattened`."""
    return flattened(result.experiment)


def flattened(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment as {"cot": true, "task.k": 3, ...}: its JSON, one level flattened. Of a parent
    there is the name of its `lab.results.lineage.family`."""
    flat: dict[str, Any] = {}
    for key, value in experiment.items():
        if key == "parent":
            flat[key] = family(experiment)
        elif isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def differing(flats: Sequence[dict[str, Any]]) -> list[str]:
    """Paths whose values differ: the experiment's first, then the model's, then the training's.
    With several experiments, paths that differ within one of them; the name stands for the rest."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for flat in flats:
        by_name.setdefault(flat["name"], []).append(flat)
    paths = dict.fromkeys(itertools.chain.from_iterable(flats))
    return [
        path
        for path in paths
        if (path == "name" and len(by_name) > 1)
        or any(len({json.dumps(f.get(path)) for f in same}) > 1 for same in by_name.values())
    ]


def label(flat: dict[str, Any], shown: Sequence[str]) -> str:
    """The shown settings in short: "CoT, k=3, position=path"."""
    leaves = [path.rpartition(".")[2] for path in shown]
    return ", ".join(
        _short(leaf if leaves.count(leaf) == 1 else path, flat.get(path))
        for leaf, path in zip(leaves, shown, strict=True)
    )


def _short(name: str, value: Any) -> str:
    if name == "cot":
        return "CoT" if value else "no CoT"
    if name == "name":
        return str(value)
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if name == "lengths":
        return f"trained at {span(value)}"
    if isinstance(value, list):
        return f"{name}={','.join(map(str, value)) or 'none'}"
    shown = "none" if value is None else f"{value:g}" if isinstance(value, float) else value
    return f"{name}={shown}"


def span(lengths: Sequence[int]) -> str:
    """Lengths in short: "20", "1-8" when no length between is missing, else "4,8,16", or "4-40 (10
    lengths)" for more than six."""
    low, high = min(lengths), max(lengths)
    if high > low and len(lengths) == len(set(lengths)) == high - low + 1:
        return f"{low}-{high}"
    if len(lengths) > 6:
        return f"{low}-{high} ({len(lengths)} lengths)"
    return ",".join(map(str, lengths))


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, yes before no, then text."""
    if isinstance(value, bool):
        return (0, 1 - value, "")
    if isinstance(value, int | float):
        return (0, value, "")
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        return (0, max(value), json.dumps(value))
    return (1, 0.0, json.dumps(value))
