"""Run folders that were written under older names, read under today's.

A run folder is never rewritten: `lab.results.folder` renames what it reads. An interrupted run of
older names does not resume: under today's names its configuration has another hash, and so another
folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lab.config import ModelConfig, TrainConfig, strict

# Older name: today's name, at each level of a configuration.
MODEL = {
    "mlp": "mlp_ratio",
    "active": "experts_per_token",
    "balance": "aux_loss_weight",
    "tie": "tie_embeddings",
    "state": "d_state",
    "conv": "d_conv",
    "tokens": "max_positions",
}
TRAIN = {"clip": "grad_clip", "accumulate": "grad_accum", "keep": "keep_steps"}
EXPERIMENT = {"reads": "prompt_repeats"}


def configuration(data: Any) -> Any:
    """The JSON of an experiment under today's names, with the default of every setting that came
    later, but not of a late one (lab.config.fields.Field). What is no such JSON is returned as far
    as it goes: `lab.config.from_json` refuses it."""
    renamed = _experiment(data)
    if not isinstance(renamed, dict):
        return renamed
    filled = {"prompt_repeats": 1, **renamed}
    for name, cls in (("model", ModelConfig), ("train", TrainConfig)):
        if isinstance(filled.get(name), dict):
            defaults = json.loads(json.dumps(strict.stored(cls())))
            filled[name] = {**defaults, **filled[name]}
    parent = filled.get("parent")
    if isinstance(parent, dict) and "experiment" in parent:
        filled["parent"] = {**parent, "experiment": configuration(parent["experiment"])}
    return filled


def _experiment(data: Any) -> Any:
    renamed = _rename(data, EXPERIMENT, "the configuration")
    for name, names in (("model", MODEL), ("train", TRAIN)):
        if isinstance(renamed, dict) and name in renamed:
            renamed[name] = _rename(renamed[name], names, name)
    return renamed


def _rename(data: Any, names: Mapping[str, str], where: str) -> Any:
    """The object with its keys renamed, in their order; anything else as it is."""
    if not isinstance(data, dict):
        return data
    for old, new in names.items():
        if old in data and new in data:
            raise ValueError(f"{where} has both {old} and {new}, two names of one setting")
    return {names.get(key, key): value for key, value in data.items()}
