"""From what a user types to what it names, and from what the lab raises to one sentence."""

from __future__ import annotations

import dataclasses
import glob
import json
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.cli.common import unknown
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.config import Experiment, Probe
    from lab.results.result import Result
    from tasks import Task


def experiment_function(name: str) -> Callable[..., Experiment]:
    """The experiment of this name, of the task of this name, or of the task in this file."""
    import tasks
    from lab import registry
    from lab.cli.experiment import experiment_of_file
    from lab.experiments._any import for_task

    if name in registry.names("experiments"):
        return registry.load("experiments", name)
    if name in tasks.names():
        return for_task(tasks.load(name))
    if is_file(name):
        return experiment_of_file(name)
    raise unknown("experiment", name, [*registry.names("experiments"), *tasks.names()])


def is_file(name: str) -> bool:
    return name.endswith(".py")


def load_task(name: str) -> type[Task]:
    """The task class of a name or of a user's file."""
    import tasks

    if not is_file(name):
        if name not in tasks.names():
            raise unknown("task", name, tasks.names())
        return tasks.load(name)
    if not Path(name).is_file():
        raise UsageError(f"there is no file {name}")
    try:
        cls = tasks.load_file(name)
        cls()
        return cls
    except Exception as error:
        raise UsageError(f"{name} cannot be loaded: {type(error).__name__}: {error}") from None


def with_options(task: Task, sets: tuple[str, ...], split: str | None) -> Task:
    """The task with `OPTION=VALUE` applied; "train" is every task's training split."""
    from lab.config.fields import set_field
    from tasks import refuse

    for text in sets:
        option, equals, value = text.removeprefix("task.").partition("=")
        if not equals:
            raise refuse("--set", text, "it needs the form OPTION=VALUE, such as k=5")
        task = set_field(task, option, value, option)
    if split:
        task = set_field(task, "split", task.splits()[0] if split == "train" else split, "--split")
    return task


def run_folder(run: str, out: Path) -> Path:
    """The folder of a run that is named by its path, or under `out`."""
    for path in (Path(run), out / run):
        if (path / "config.json").is_file():
            return path
    there = [path.parent.name for path in sorted(out.glob("*/config.json"))]
    raise (
        unknown("run", run, there) if there else UsageError(f"there is no run {run}, none in {out}")
    )


def configuration(folder: Path) -> dict[str, Any]:
    """config.json, if it holds an experiment."""
    try:
        data = json.loads((folder / "config.json").read_text())
        if (
            data["task"]["name"]
            and {"cot", "model", "train", "probes", "prompt_repeats"} <= data.keys()
        ):
            return data
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{folder / 'config.json'} holds no experiment of this lab")


def trusted_task(data: dict[str, Any], file: str | None) -> type[Task] | None:
    """The task class of the file that the user gives again, for a run on a task of their own."""
    if file is None:
        return None
    mine = load_task(file)
    if "source" not in data:
        raise UsageError(f"--task does not apply: the task {data['task']['name']} is the lab's own")
    if mine().name != data["task"]["name"]:
        raise UsageError(f"--task {file} cannot be used: the run is on {data['task']['name']}")
    return mine


def parse_probe(text: str, experiment: Experiment) -> Probe:
    """The probe of "length=40,split=test": the run's first one with this changed."""
    import numpy as np

    from lab.config import Probe
    from lab.config.fields import parse
    from tasks import refuse

    task, first = experiment.task, experiment.probes[0]
    hints = typing.get_type_hints(type(task))
    fields = {f.name: hints[f.name] for f in dataclasses.fields(task)}  # type: ignore[arg-type]
    found: dict[str, Any] = {"label": None, "length": first.length, "n": first.n}
    change: dict[str, Any] = {}
    named = []
    for part in re.split(r",(?![^()]*\))", text):  # not inside drop_pair=(0,1)
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in {*found, *fields}:
            keys = ", ".join([*found, *fields])
            raise refuse("--probe", part, f"it needs KEY=VALUE with a key of {keys}")
        if key in found:
            found[key] = value if key == "label" else parse(value, int, f"--probe {key}")
        else:
            change[key] = parse(value, fields[key], f"--probe {key}")
            named.append(f"{key}={value}")
    found["label"] = found["label"] or ",".join(named) or first.label
    probe = Probe(**found, change={**first.change, **change})
    asked = probe.of(task)
    if asked.words != task.words:
        raise refuse("--probe", text, "its vocabulary is not the one that the model was trained on")
    asked.sample(np.random.default_rng(0), 1, probe.length)  # a bad option or length shows here
    return probe


def find_runs(text: str) -> list[Path]:
    """Run folders of a path, of a name under runs/, or of a pattern there."""
    from tasks import refuse

    for place in (Path(text), Path("runs") / text):
        if place.is_dir():
            return [place]
        matches = [Path(match) for match in sorted(glob.glob(str(place)))]
        folders = [match for match in matches if (match / "config.json").exists()]
        if folders:
            return folders
    raise refuse("RUN", text, "there is no such run here or under runs/ (see lab list runs)")


def read_run(path: Path) -> Result:
    """The result of a run folder, or what is wrong with it in a sentence."""
    from lab.results.folder import load
    from tasks import refuse

    try:
        return load(path)
    except FileNotFoundError:
        if (path / "config.json").exists():
            says = "this run is not complete; the command that began it goes on with it"
        else:
            says = f"it is no run folder; name some, such as '{path}/*'"
        raise refuse("RUN", str(path), says) from None
    except (KeyError, TypeError, ValueError):
        raise refuse("RUN", str(path), "its result.json cannot be read") from None
