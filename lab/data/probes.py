"""A probe from text, as a user types it."""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

from lab.config import Experiment, Probe
from lab.config.fields import parse, split_assignment
from lab.data.size import row_tokens
from tasks import refuse


def parse_probe(text: str, experiment: Experiment, option: str = "--probe") -> Probe:
    """The probe of "length=40,split=test": the run's first probe with these values changed. option:
    what errors call the text."""
    task, first = experiment.task, experiment.probes[0]
    hints = typing.get_type_hints(type(task))
    fields = {f.name: hints[f.name] for f in dataclasses.fields(task)}  # type: ignore[arg-type]
    own: dict[str, Any] = {"label": None, "length": first.length, "n": first.n}
    keys = ", ".join([*own, *fields])
    example = f"length=40, with a key of {keys}"
    change: dict[str, Any] = {}
    named = []
    for part in re.split(r",(?![^()]*\))", text):  # not inside drop_pair=(0,1)
        key, value = split_assignment(part, option, example)
        if key not in {*own, *fields}:
            raise refuse(option, part, f"it needs KEY=VALUE with a key of {keys}")
        if key in own:
            own[key] = value if key == "label" else parse(value, int, f"{option} {key}")
        else:
            change[key] = parse(value, fields[key], f"{option} {key}")
            named.append(f"{key}={value}")
    own["label"] = own["label"] or ",".join(named) or first.label
    probe = Probe(**own, change={**first.change, **change})
    asked = probe.of(task)
    if asked.words != task.words:
        raise refuse(option, text, "its vocabulary is not the one that the model was trained on")
    row_tokens(asked, probe.length)  # a bad option or length shows here
    return probe
