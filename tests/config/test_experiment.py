"""Experiments: JSON both ways, and a hash that sees every field."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest

from lab import registry
from lab.config import Experiment, Probe, TrainConfig
from lab.config.experiment import change, from_json
from lab.experiments.parity import experiment
from tests.configurations import NEEDS, OTHER, TRAIN_NEEDS
from tests.stages import child, distilled


@pytest.mark.parametrize("name", registry.names("experiments"))
def test_json_round_trip(name: str) -> None:
    one = registry.load("experiments", name)()
    again = from_json(json.loads(json.dumps(one.to_json())))
    assert again == one and again.slug == one.slug


@pytest.mark.parametrize("part", ["model", "train"])
def test_every_field_changes_the_folder(part: str) -> None:
    for field in dataclasses.fields(getattr(experiment(), part)):
        config = type(getattr(experiment(), part))(**(NEEDS | TRAIN_NEEDS).get(field.name, {}))
        start = child() if field.name == "optimizer_state" else experiment()
        if field.name == "targets":
            start = distilled()
        if field.name == "reward_format":  # needs a task with stop tokens
            start = registry.load("experiments", "addition")()
        if field.name == "micro_batches":  # needs a task with parts
            start = registry.load("experiments", "mixture")()
        base = dataclasses.replace(start, **{part: config})
        new = dataclasses.replace(config, **{field.name: OTHER[field.name]})
        assert new != config, f"{field.name} is not changed by this test"
        assert dataclasses.replace(base, **{part: new}).slug != base.slug, field.name


@pytest.mark.parametrize("name", ["cot_noise", "reward_process"])
def test_what_happens_to_thoughts_needs_thoughts(name: str) -> None:
    train = TrainConfig(**{name: OTHER[name], **TRAIN_NEEDS.get(name, {})})
    with pytest.raises(ValueError, match=rf"train\.{name} = .* no thought"):
        dataclasses.replace(experiment(cot=False), train=train)


@pytest.mark.parametrize(
    ("name", "model", "train", "message"),
    [
        ("addition", {"position": "coupled"}, {}, "no position ids of the task"),
        ("parity", {"dropout": 0.1}, {}, "another model than it updates"),
        ("parity", {}, {"reward_format": 1.0}, "every completion of the task parity has its form"),
        ("istree", {}, {}, "the task istree has a tool"),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    name: str, model: dict[str, Any], train: dict[str, Any], message: str
) -> None:
    base = registry.load("experiments", name)()
    changed = dataclasses.replace(base.train, objective="grpo", **train)
    task = dataclasses.replace(base.task, trace="retrieval") if name == "istree" else base.task
    plain = {"dropout": 0.0, "position": "learned", "banded": 0, **model}
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(
            base, task=task, train=changed, model=dataclasses.replace(base.model, **plain)
        )


def test_task_cot_and_probes_change_the_folder() -> None:
    base = experiment()
    for other in (
        change(base, "task.k", "3"),
        change(base, "cot", "false"),
        change(base, "prompt_repeats", "2"),
        dataclasses.replace(base, probes=()),
        dataclasses.replace(base, probes=(Probe("held out", 20, {"split": "train"}),)),
    ):
        assert other.slug != base.slug


def test_a_change_of_the_task_reaches_its_probes() -> None:
    changed = change(experiment(), "task.k", "3")
    probed = typing.cast(Any, changed.probes[0].of(changed.task))
    assert (probed.k, probed.split) == (3, "test")


def test_an_experiment_on_a_strangers_file_is_not_loaded() -> None:
    data = experiment().to_json() | {"source": "/somewhere/else.py"}
    with pytest.raises(ValueError, match="must be given by hand"):
        from_json(data)


def test_unknown_fields_are_named() -> None:
    data = experiment().to_json()
    data["train"]["speed"] = 3
    with pytest.raises(ValueError, match="speed"):
        from_json(data)


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        typing.cast(Any, experiment()).cot = False
    assert isinstance(experiment(), Experiment)
