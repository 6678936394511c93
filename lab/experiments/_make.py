"""Experiments from Python: a name or a function, and options by plain name.

    make("parity", k=4, lr=3e-4)    k is the experiment's own option, lr a field of its training

The command line parses texts and then calls `make` too, so both give the same experiment.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import tasks
from lab import registry
from lab.config import PRESETS, Experiment, ModelConfig, Parent, TrainConfig
from lab.config.fields import describe, fits, in_words
from lab.config.parent import with_model
from lab.experiments._any import for_task
from tasks import Task, refuse

PARTS = {"model": ModelConfig, "train": TrainConfig}
Function = Callable[..., Experiment]


def make(experiment: str | Function, **options: Any) -> Experiment:
    """The experiment of a name, a task, a FILE.py or a function, with these options.

    options: the experiment's own parameters, fields of model and train by their plain names (the
    experiment's own parameter where both have the name), `preset`, `prompt_repeats` and `parent`.
    Fields of one part are set together, because they may need each other. The model is that of
    `parent`, but for what the options say of it. A name that ends in .py executes
    that file. ValueError for an unknown name (with the nearest ones) and for a bad value.
    """
    function = of_name(experiment) if isinstance(experiment, str) else experiment
    label = experiment if isinstance(experiment, str) else "the experiment"
    types = option_types(function)
    for name, value in options.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, 3) or sorted(types)
            allowed = f"{label} has no such option; the nearest are {', '.join(near)}"
            raise refuse(name, value, allowed)
        if not fits(value, types[name]):
            raise refuse(name, value, f"it must be {in_words(types[name])}")
    own = {info.name for info in describe(function)}
    made = function(**{name: value for name, value in options.items() if name in own})
    if options.get("preset") is not None and "preset" not in own:
        made = with_model(made, PRESETS[options["preset"]])
    if "prompt_repeats" in options and "prompt_repeats" not in own:
        made = replace(made, prompt_repeats=options["prompt_repeats"])
    changes = {
        part: replace(getattr(made, part), **values)
        for part, cls in PARTS.items()
        if (values := _of_part(cls, options, own))
    }
    parent = None if "parent" in own else options.get("parent")
    if parent is not None:
        changes["model"] = _fitting(changes.get("model", made.model), function(), options, parent)
        return replace(made, **changes, parent=parent)
    if "model" in changes:
        made = with_model(made, changes.pop("model"))
    return replace(made, **changes) if changes else made


def _fitting(
    model: ModelConfig, default: Experiment, options: Mapping[str, Any], parent: Parent
) -> ModelConfig:
    """The model of a parent, in which every field that the options name, or that differs from the
    experiment's default, has the value of this model."""
    named = {name for name in vars(model) if name in options}
    named |= {name for name in vars(model) if vars(model)[name] != vars(default.model)[name]}
    return replace(parent.experiment.model, **{name: vars(model)[name] for name in named})


def option_types(function: Function) -> dict[str, Any]:
    """The type of every option that `make` takes for this experiment."""
    types: dict[str, Any] = {"preset": Literal[tuple(PRESETS)], "prompt_repeats": int}
    types["parent"] = Parent
    for source in (ModelConfig, TrainConfig, function):
        types |= {info.name: info.type for info in describe(source)}
    return types


def of_name(name: str) -> Function:
    """The experiment's function of one of the lab's experiments or tasks, or of a FILE.py.

    ValueError for an unknown name. A file is executed.
    """
    if name in registry.names("experiments"):
        function: Function = registry.load("experiments", name)
        return function
    if name in tasks.names():
        return for_task(tasks.load(name))
    if registry.is_file(name):
        return of_file(name)
    known = [*registry.names("experiments"), *tasks.names()]
    near = difflib.get_close_matches(name, known, 1) or sorted(set(known))
    raise refuse("experiment", name, f"the nearest names are {', '.join(near)}")


def of_file(path: str) -> Function:
    """The experiment of a user's file, which this executes once.

    The file defines a function `experiment`, or one Task, which then gets the experiment of any
    task. A task class that the file defines itself makes the file the `source` of the experiment.
    """
    module = tasks.load_module(path)
    own = getattr(module, "experiment", None)
    source = str(Path(path).resolve())
    if not callable(own):
        classes = _task_classes(module)
        if len(classes) != 1:
            allowed = f"it must define a function `experiment` or one Task, it has {len(classes)}"
            raise refuse("file", path, allowed)
        return for_task(classes[0], source)
    for info in describe(own):
        if info.default is MISSING:
            raise refuse("parameter", info.name, f"`experiment` in {path} must give it a default")

    @functools.wraps(own)
    def experiment(**options: Any) -> Experiment:
        made = own(**options)
        if not isinstance(made, Experiment):
            raise refuse("file", path, "its function `experiment` must return an Experiment")
        if type(made.task).__module__ != module.__name__:
            return made
        if len(_task_classes(module)) != 1:
            allowed = "an experiment on a task of its own file needs exactly one public Task there"
            raise refuse("file", path, allowed)
        return _with_source(made, module, source)

    return experiment


def _with_source(made: Experiment, module: ModuleType, source: str) -> Experiment:
    """The experiment, and those of its ancestors that are on the task of this file, with it."""
    parent = made.parent
    if parent and type(parent.experiment.task).__module__ == module.__name__:
        parent = replace(parent, experiment=_with_source(parent.experiment, module, source))
    return replace(made, source=source, parent=parent)


def _task_classes(module: ModuleType) -> list[type[Task]]:
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Task)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _of_part(part: type, options: Mapping[str, Any], own: set[str]) -> dict[str, Any]:
    names = {field.name for field in fields(part)} - own
    return {name: value for name, value in options.items() if name in names}
