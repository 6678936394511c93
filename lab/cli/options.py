"""Command-line options made from signatures and dataclass fields, so that --help is never behind.

An experiment's own parameters come first; every field of ModelConfig and TrainConfig is an option
too. All are parsed by lab.config.fields, so a flag and --set read values the same way.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any

import click

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import change
from lab.config.fields import parse
from lab.config.presets import PRESETS
from tasks import refuse

PARTS = {"model": ModelConfig, "train": TrainConfig}


class Option(click.Option):
    """An option that --help shows under a section."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A command whose --help groups its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def from_signature(
    function: Callable[..., Any], section: str, only: Collection[str] | None = None
) -> list[click.Parameter]:
    """One option for each parameter, or for those of `only`; its help is the line "name: ..." of
    the docstring."""
    hints = typing.get_type_hints(function)
    helps = _helps(inspect.getdoc(function) or "")
    return [
        _option(p.name, hints[p.name], p.default, helps.get(p.name, ""), section)
        for p in inspect.signature(function).parameters.values()
        if only is None or p.name in only
    ]


def from_config(default: Experiment, taken: Sequence[str]) -> list[click.Parameter]:
    """Options for the fields of model and train that are not `taken`, with this run's defaults."""
    found: list[click.Parameter] = []
    for part, cls in PARTS.items():
        hints = typing.get_type_hints(cls)
        helps = _helps(inspect.getdoc(cls) or "")
        for field in dataclasses.fields(cls):
            if field.name not in taken:
                value = getattr(getattr(default, part), field.name)
                text = helps.get(field.name, "")
                found.append(_option(field.name, hints[field.name], value, text, part.title()))
    return found


def build(
    function: Callable[..., Experiment], given: dict[str, Any], sets: Sequence[str]
) -> Experiment:
    """The experiment of the given options (None: not given) and of every --set PATH=VALUE."""
    own = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    kwargs = {
        name: option_value(given[name], hints[name], name)
        for name in own
        if given.get(name) is not None
    }
    experiment = function(**kwargs)
    if given.get("preset"):
        experiment = dataclasses.replace(experiment, model=PRESETS[given["preset"]])
    if given.get("prompt_repeats"):
        experiment = dataclasses.replace(experiment, prompt_repeats=given["prompt_repeats"])
    for part, cls in PARTS.items():  # all fields of a part at once: they may need each other
        kinds = typing.get_type_hints(cls)
        new = {
            name: parse(str(given[name]), kinds[name], "--" + name.replace("_", "-"))
            for name in (field.name for field in dataclasses.fields(cls))
            if name not in own and given.get(name) is not None
        }
        changed = dataclasses.replace(getattr(experiment, part), **new)
        experiment = dataclasses.replace(experiment, **{part: changed})
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals:
            raise refuse("--set", text, "it needs the form PATH=VALUE, such as task.k=10")
        experiment = change(experiment, path, value)
    return experiment


def option_value(value: Any, hint: Any, name: str) -> Any:
    """The value of an option from its text (a flag has it already)."""
    return value if isinstance(value, bool) else parse(value, hint, f"--{name.replace('_', '-')}")


def _option(name: str, hint: Any, default: Any, text: str, section: str) -> Option:
    flag = name.replace("_", "-")
    shown = "none" if default is None else default
    kind: dict[str, Any]
    if isinstance(default, tuple):
        shown = ",".join(map(str, default)) or "none"
    if hint is bool:
        shown = flag if default else f"no-{flag}"
        declared = f"--{flag}/--no-{flag}"
        kind = {"default": None, "is_flag": True}
    else:
        declared, kind = f"--{flag}", {"type": str, "metavar": _metavar(hint)}
    text = f"{text}  [default: {shown}]".strip()
    return Option([declared, name], help=text, section=section, **kind)


def _metavar(hint: Any) -> str:
    for kind in (hint, *typing.get_args(hint)):  # a choice, or a choice that may be none
        if typing.get_origin(kind) is typing.Literal:
            return "|".join(map(str, typing.get_args(kind)))
    names = {int: "INTEGER", float: "NUMBER", str: "TEXT"}
    parts = [names[h] for h in (typing.get_args(hint) or (hint,)) if h in names]
    listed = typing.get_origin(hint) is tuple
    return parts[-1] + (",..." if listed else "") if parts else "VALUE"


def _helps(doc: str) -> dict[str, str]:
    """The sentences "name: text." of a docstring, whether a line each or run together."""
    doc = " ".join(doc.partition("\n\n")[2].split()) if "\n\n" in doc else " ".join(doc.split())
    found = re.split(r"(?:^|(?<=[.\s]))([a-z_][a-z_0-9]*): ", doc)
    return {
        name: text.strip().rstrip(".") for name, text in zip(found[1::2], found[2::2], strict=True)
    }
