"""Results that an older lab wrote."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from lab.config import ModelConfig, Probe, TrainConfig
from lab.results.result import Result
from tasks import refuse


def with_todays_fields(result: Result) -> Result:
    """The same, with settings that an older lab did not know as they were then: at their defaults.

    ValueError when something in it is not of its kind; a folder may come from anywhere.
    """
    try:
        told = dict(result.experiment)
        parts: tuple[tuple[str, Any], ...] = (("model", ModelConfig), ("train", TrainConfig))
        for name, cls in parts:
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in told[name].items()}
            told[name] = dataclasses.asdict(cls(**values))
        told = json.loads(json.dumps(told))
        _kinds(told, {"name": str, "cot": bool, "task": dict, "probes": list})
        _kinds(told["task"], {"name": str})
        for probe in told["probes"]:
            Probe(**probe)
            _kinds(probe, {"label": str, "length": int, "n": int, "change": dict})
        for score in result.scores:
            for name, value in vars(score).items():
                optional = name in ("valid_thought", "first_error") and value is None
                if not optional:
                    _kinds({name: value}, {name: str if name == "probe" else int | float})
        for row in result.learned:
            _kinds(row, {"rows": int, "censored": bool})
        _kinds(vars(result), {"steps": int, "seconds": int | float, "environment": dict})
        if not result.scores:
            raise ValueError("no scores")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise refuse("RUN", result.run, f"its result.json is damaged: {error}") from None
    return dataclasses.replace(result, experiment=told)


def _kinds(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(values[name], kind):
            raise ValueError(f"{name} = {values[name]!r}")
