"""Configurations: JSON both ways, a hash that sees every field, values from text."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest

from lab import registry
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import change, from_json
from lab.config.fields import parse
from lab.experiments.parity import experiment


@pytest.mark.parametrize("name", registry.names("experiments"))
def test_json_round_trip(name: str) -> None:
    one = registry.load("experiments", name)()
    again = from_json(json.loads(json.dumps(one.to_json())))
    assert again == one and again.slug == one.slug


OTHER: dict[str, Any] = {
    "layers": "attention*3",
    "width": 32,
    "heads": 4,
    "kv_heads": 1,
    "position": "rope",
    "max_positions": 99,
    "rope_base": 5e5,
    "banded": 2,
    "forget": True,
    "log_length": 40,
    "gate": "headwise",
    "gate_at": "G2",
    "gate_shared": True,
    "gate_add": True,
    "gate_act": "silu",
    "gate_input": "constant",
    "qk_norm": True,
    "sigma": True,
    "norm": "rms",
    "mlp_ratio": 2.0,
    "mlp_act": "swiglu",
    "mlp_in": "attention",
    "experts": 4,
    "experts_per_token": 1,
    "aux_loss_weight": 0.1,
    "balance_over": "global",
    "d_state": 8,
    "expand": 1,
    "d_conv": 3,
    "feature": 8,
    "bias": True,
    "tie_embeddings": True,
    "embed": "sinusoidal",
    "dropout": 0.1,
    "steps": 7,
    "batch": 8,
    "grad_accum": 2,
    "lengths": (5, 6),
    "lr": 0.5,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup": 3,
    "grad_clip": 0.0,
    "precision": "bf16",
    "seed": 9,
    "examples": 512,
    "eval_every": 5,
    "curriculum": 0.5,
    "offset": 7,
    "optimizer": "lion",
    "beta1": 0.5,
    "beta2": 0.5,
    "grad_noise": 0.3,
    "decay": 0.2,
    "budgets": (3,),
    "reveal": (0.5, 0.0),
    "cot_noise": "static",
    "cot_noise_rows": 0.5,
    "cot_noise_rate": 0.5,
    "eval_rows": 64,
    "eval_answers": False,
    "threshold": 0.9,
    "early_stop": True,
    "keep_steps": (4,),
}
# What else must be set for an option to apply; without it the option is refused by name.
NEEDS: dict[str, dict[str, Any]] = {
    "rope_base": {"position": "rope"},
    "banded": {"position": "hard_alibi", "heads": 4},
    **{f"gate_{name}": {"gate": "elementwise"} for name in ("at", "shared", "add", "act", "input")},
    **{name: {"experts": 4} for name in ("experts_per_token", "aux_loss_weight", "balance_over")},
    **{name: {"layers": "mamba"} for name in ("d_state", "expand", "d_conv")},
    "feature": {"layers": "based"},
    "embed": {"tie_embeddings": True},
}
TRAIN_NEEDS: dict[str, dict[str, Any]] = {
    "curriculum": {"lengths": (5, 6)},
    "decay": {"schedule": "wsd"},
    "budgets": {"schedule": "wsd_s"},
    **{f"cot_noise_{name}": {"cot_noise": "static"} for name in ("rows", "rate")},
    **{f"eval_{name}": {"eval_every": 5} for name in ("rows", "answers")},
    "early_stop": {"eval_every": 5},
}


@pytest.mark.parametrize("part", ["model", "train"])
def test_every_field_changes_the_folder(part: str) -> None:
    for field in dataclasses.fields(getattr(experiment(), part)):
        config = type(getattr(experiment(), part))(**(NEEDS | TRAIN_NEEDS).get(field.name, {}))
        base = dataclasses.replace(experiment(), **{part: config})
        new = dataclasses.replace(config, **{field.name: OTHER[field.name]})
        assert new != config, f"{field.name} is not changed by this test"
        assert dataclasses.replace(base, **{part: new}).slug != base.slug, field.name


LAYERS = {
    "gru": ("d_state", "expand", "d_conv", "feature", "kv_heads", "forget", "log_length", "gate")
}
IGNORED: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NEEDS if name != "embed"]
IGNORED += [(name, {"layers": "gru"}) for name in LAYERS["gru"]]
IGNORED += [("qk_norm", {"layers": "gru"}), ("max_positions", {"position": "none"})]
IGNORED += [(name, {"mlp_ratio": 0}) for name in ("mlp_act", "mlp_in", "experts")]


@pytest.mark.parametrize(("name", "others"), IGNORED)
def test_options_that_would_be_ignored_are_refused(name: str, others: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"model\.{name} = .* cannot be used"):
        ModelConfig(**{**others, name: OTHER[name]})


SGD = {"optimizer": "sgd"}
UNUSED: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in TRAIN_NEEDS), ("beta2", SGD)]


@pytest.mark.parametrize(("name", "others"), UNUSED)
def test_training_options_that_would_be_ignored_are_refused(
    name: str, others: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=rf"train\.{name} = .* cannot be used"):
        TrainConfig(**{**others, name: OTHER[name]})


@pytest.mark.parametrize("name", ["reveal", "cot_noise"])
def test_what_happens_to_thoughts_needs_thoughts(name: str) -> None:
    train = TrainConfig(**{name: OTHER[name]})
    with pytest.raises(ValueError, match=rf"train\.{name} = .* no thought"):
        dataclasses.replace(experiment(cot=False), train=train)


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


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("0.5", float, 0.5),
        ("1e-4", float, 1e-4),
        ("true", bool, True),
        ("No", bool, False),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("0.2", int | float, 0.2),
        ("4", int | float, 4),
        ("1,2,5", tuple[int, ...], (1, 2, 5)),
        ("1..4", tuple[int, ...], (1, 2, 3, 4)),
        ("(1..2,9)", tuple[int, ...], (1, 2, 9)),
        ("none", tuple[int, ...], ()),
        ("2,5", tuple[int, int], (2, 5)),
        ("rope", typing.Literal["none", "rope"], "rope"),
    ],
)
def test_values_from_text(text: str, hint: Any, value: Any) -> None:
    found = parse(text, hint, "x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("x", int), ("1.5", int), ("2", typing.Literal["a"]), ("1,2,3", tuple[int, int]), ("", int)],
)
def test_bad_text_is_refused(text: str, hint: Any) -> None:
    with pytest.raises(ValueError, match=r"a\.b = .* cannot be used"):
        parse(text, hint, "a.b")


@pytest.mark.parametrize(
    "bad",
    [
        {"layers": "atention"},
        {"layers": "attention*x"},
        {"layers": "attention*0"},
        {"width": 0},
        {"heads": 3},
        {"position": "up"},
        {"gate_at": "G5", "gate": "headwise"},
        {"gate_at": "G5", "gate": "elementwise", "gate_shared": True},
        {"log_length": 1},
        {"kv_heads": 3, "heads": 4},
        {"experts_per_token": 5, "experts": 4},
        {"embed": "sinusoidal"},
        {"position": "rope", "width": 6, "heads": 2},
        {"dropout": 1.0},
        {"mlp_ratio": -1},
    ],
)
def test_bad_models_are_named(bad: dict[str, Any]) -> None:
    name = next(iter(bad))
    with pytest.raises(ValueError, match=rf"model\.{name} = .* cannot be used"):
        ModelConfig(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"lr": -1},
        {"lr": float("nan")},
        {"lengths": ()},
        {"lengths": (0,)},
        {"warmup": 2000},
        {"examples": 3},
        {"schedule": "steep"},
    ],
)
def test_bad_training_is_named(bad: dict[str, Any]) -> None:
    name = next(iter(bad))
    with pytest.raises(ValueError, match=rf"train\.{name} = .* cannot be used"):
        TrainConfig(**bad)


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
