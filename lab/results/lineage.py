"""Where a run started from, read from the JSON of its experiment (lab.config.parent).

ancestors(data)    ["addition-1a2b3c4d@step-500", "addition-5e6f7a8b"], the parent first
family(data)       "addition-9c0d1e2f@step-500", the same for every seed
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.config.experiment import slug
from lab.results.folder import load
from lab.results.result import Result


def ancestors(experiment: Mapping[str, Any]) -> list[str]:
    """The run and checkpoint of each ancestor, the parent first; [] without one."""
    parent = experiment.get("parent")
    if not parent:
        return []
    return [_name(parent["experiment"], parent["at"]), *ancestors(parent["experiment"])]


def parent_result(result: Result) -> Result | None:
    """The result of the parent, whose run folder is beside that of the run; None without a parent,
    where its folder is not there or damaged, and where the run did not start from its end."""
    parent = result.experiment.get("parent")
    if not parent or parent["at"]:
        return None
    name = slug(parent["experiment"])
    if Path(name).name != name:  # from a file, which may be a stranger's
        return None
    try:
        return load(Path(result.run).parent / name)
    except (OSError, ValueError):
        return None


def family(experiment: Mapping[str, Any]) -> str | None:
    """The name that the parent has with seed 0, unless it is fixed: experiments that differ in
    their seed alone have one family. None without a parent."""
    parent = experiment.get("parent")
    return parent and _name(_seedless(parent), parent["at"])


def _seedless(parent: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment of a parent with the seed 0, and so those before it, up to a fixed one."""
    data = dict(parent["experiment"])
    if parent["fixed"]:
        return data
    data["train"] = {**data["train"], "seed": 0}
    if "parent" in data:
        data["parent"] = {**data["parent"], "experiment": _seedless(data["parent"])}
    return data


def _name(experiment: Mapping[str, Any], at: str | None) -> str:
    return slug(experiment) + (f"@{at}" if at else "")
