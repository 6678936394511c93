"""What the JSON files of the lab must hold, checked when they are read. Nothing is executed.

A run folder or a record may come from anywhere. Every mismatch is a ValueError that names its path:
a value of another type, a missing field, an unknown one.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lab.config import ModelConfig, Probe, TrainConfig, strict
from lab.config.trust import mixer_files
from lab.results import legacy
from lab.results.reader import read_json
from lab.results.result import Result, Score
from tasks import refuse

# Fields that are a fraction of some rows.
SHARES = {"exact", "answer", "valid_thought", "chance", "threshold"}
SHARES |= {"low", "high", "answer_low", "answer_high"}
ROUNDING = 1e-9  # by which the ends of an interval may leave 0 to 1


class ProbeScore(TypedDict):
    """A score on the way: at least this, at most all of a Score."""

    probe: str
    length: int
    n: int
    exact: float
    answer: NotRequired[float]
    valid_thought: NotRequired[float | None]


class Evaluation(TypedDict):
    """A row of `Result.curves`."""

    step: int
    rows: int
    scores: list[ProbeScore]
    branch: NotRequired[int]
    budget: NotRequired[int]


class Parent(TypedDict):
    """Where a run started."""

    experiment: dict[str, Any]
    at: str | None
    fixed: bool


class Learned(TypedDict):
    """A row of `Result.learned`."""

    probe: str
    length: int
    threshold: float
    rows: int
    censored: bool


class Diagnosis(TypedDict):
    cause: str
    why: str


class RecordedRun(TypedDict):
    """One run of an arm."""

    run: str
    scores: list[ProbeScore]
    seconds: float
    curve: list[tuple[int, list[float]]]
    learned: list[Learned]


class Side(TypedDict):
    """The statistic of a claim or of its control over seeds. interval: of the median, covered with
    `coverage`."""

    verdict: str
    median: float
    interval: list[float] | None
    coverage: float | None
    values: list[float]
    series: list[dict[str, Any]]


class RecordedControl(Side):
    """The negative control of a claim."""

    why: str
    arms: dict[str, list[RecordedRun]]
    experiments: dict[str, dict[str, Any]]


class Record(Side):
    """A claim as evaluated once (lab.verdicts.verdict)."""

    command: str
    environment: dict[str, Any]
    claim: str
    scale: str
    source: str
    statement: str
    paper: str
    our_choices: str
    statistic: str
    threshold: float
    above: bool
    seeds: int
    diagnosis: Diagnosis | None
    negative_control: RecordedControl
    arms: dict[str, list[RecordedRun]]
    experiments: dict[str, dict[str, Any]]


def read_record(path: Path) -> dict[str, Any]:
    """The record of a claim in a file."""
    try:
        data: dict[str, Any] = read_json(path)
        _check_keys(data, Record, "")
        strict.check(data, Record, "")
        _check_keys(data["negative_control"], RecordedControl, "negative_control")
        for side in (data, data["negative_control"]):
            if not 1 <= len(side["values"]) == data["seeds"]:
                raise ValueError(f"{data['seeds']} seeds have {len(side['values'])} values")
    except ValueError as error:
        raise ValueError(f"{path} is no record of a claim: {error}") from None
    return data


def _check_keys(data: dict[str, Any], kind: type, where: str) -> None:
    fields = list(typing.get_type_hints(kind))
    strict.check_keys(data, fields, fields, where)


def result(data: Any, run: str) -> Result:
    """The Result in the JSON of a run at `run`."""
    fields = [f.name for f in dataclasses.fields(Result)]
    later = ("learned", "steps", "evaluation_seconds")
    strict.check_keys(data, fields, [n for n in fields if n not in later], "")
    experiment = configuration(data["experiment"])
    given = {"learned": [], "steps": experiment["train"]["steps"], "evaluation_seconds": None}
    values = {**given, **data}
    kinds: tuple[tuple[str, Any], ...] = (
        ("run", str),
        ("scores", list),
        ("curves", list[Evaluation]),
        ("seconds", float),
        ("environment", dict[str, Any]),
        ("learned", list[Learned]),
        ("steps", int),
        ("evaluation_seconds", float | None),
    )
    for name, kind in kinds:
        strict.check(values[name], kind, name)
    if not values["scores"]:
        raise ValueError("scores is empty")
    scores = [strict.build(Score, s, f"scores[{i}]") for i, s in enumerate(values["scores"])]
    for number, score in enumerate(values["scores"]):
        _check_numbers(score, f"scores[{number}]")
    for number, row in enumerate(values["curves"]):
        _check_numbers(row, f"curves[{number}]")
        if len(row["scores"]) != len(scores):
            raise ValueError(f"curves[{number}].scores has not one score for each of scores")
        for place, score in enumerate(row["scores"]):
            _check_numbers(score, f"curves[{number}].scores[{place}]")
    for number, row in enumerate(values["learned"]):
        _check_numbers(row, f"learned[{number}]")
    own = {name: values[name] for name in ("seconds", "steps", "evaluation_seconds")}
    _check_numbers(own, "result")
    return Result(**{**values, "run": run, "experiment": experiment, "scores": tuple(scores)})


def _check_numbers(values: dict[str, Any], where: str) -> None:
    """ValueError for a number that no run has: a share outside 0 to 1, a count below 0 or beyond
    what an array of integers holds."""
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            high = 1 if name in SHARES else 2**53
            if not -ROUNDING <= value <= high + ROUNDING:
                raise refuse(f"{where}.{name}", value, f"from 0 to {high:,}")


def configuration(data: Any) -> dict[str, Any]:
    """The JSON of an experiment under today's names, with every field of model and train.

    The task, and a mixer from the user's own file, are not loaded: their options stay unchecked.
    """
    return _configuration(legacy.configuration(data))


def _configuration(told: Any) -> dict[str, Any]:
    needed = ("name", "task", "cot", "model", "train", "prompt_repeats", "probes")
    strict.check_keys(told, (*needed, "source", "parent"), needed, "")
    kinds = {"name": str, "cot": bool, "prompt_repeats": int, "task": dict, "probes": list}
    for name, kind in kinds.items():
        strict.check(told[name], kind, name)
    strict.check(told["task"].get("name"), str, "task.name")
    if not told["probes"]:
        raise ValueError("probes is empty")
    strict.check(told.get("source"), str | None, "source")
    if "parent" in told:
        fields = list(Parent.__annotations__)
        strict.check_keys(told["parent"], fields, fields, "parent")
        strict.check(told["parent"], Parent, "parent")
        _configuration(told["parent"]["experiment"])
    for number, probe in enumerate(told["probes"]):
        strict.build(Probe, probe, f"probes[{number}]")
    strict.build(TrainConfig, told["train"], "train")
    strict.typed(ModelConfig, told["model"], "model")
    if not mixer_files(told["model"]["layers"]):
        strict.build(ModelConfig, told["model"], "model")
    return dict(json.loads(json.dumps(told)))
