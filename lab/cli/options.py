"""Command-line options made from signatures and dataclass fields, so that --help is never behind.

An experiment's own parameters come first; every field of ModelConfig and TrainConfig is an option
too. `lab.config.fields` describes and parses all of them, so a flag and --set read values alike.
"""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from lab import registry
from lab.config import Experiment
from lab.config.experiment import change
from lab.config.fields import FieldInfo, describe, parse, split_assignment
from lab.errors import UsageError
from lab.experiments._make import PARTS, make, option_types
from tasks import Task

SHORT = 28  # letters of choices that --help shows beside the name of an option


class Option(click.Option):
    """An option with a section in --help. common: --help shows it without --help-all.

    choices: what completion offers.
    """

    def __init__(
        self,
        declarations: Sequence[str],
        section: str = "Options",
        common: bool = False,
        choices: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(declarations, **settings)
        self.section, self.common, self.choices = section, common, choices

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The choices of an option that begin with what is typed."""
        if self.choices:
            before, comma, last = incomplete.rpartition(",")  # of a list, such as layers
            offered = [before + comma + c for c in self.choices if c.startswith(last)]
            return [CompletionItem(text) for text in offered]
        return super().shell_complete(ctx, incomplete)


class Command(click.Command):
    """A command whose --help groups its options, and shows all of them only with --help-all."""

    ALL = "lab.cli.help_all"

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), self._help_all()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section each."""
        everything = ctx.meta.get(self.ALL, False)
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and (everything or getattr(param, "common", True)):
                sections.setdefault(getattr(param, "section", "Help"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def _help_all(self) -> Option:
        def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
            if value and not ctx.resilient_parsing:
                ctx.meta[self.ALL] = True
                click.echo(ctx.get_help(), color=ctx.color)
                ctx.exit()

        return Option(
            ["--help-all"],
            section="Help",
            common=True,
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=show,
            help=f"Show all {len(self.params)} options, those of model and training too.",
        )


def from_signature(
    function: Callable[..., Any],
    section: str,
    only: Collection[str] | None = None,
    common: bool = True,
) -> list[click.Parameter]:
    """One option for each parameter of a function, or for those of `only`."""
    return [
        _option(info, info.default, section, common)
        for info in describe(function)
        if only is None or info.name in only
    ]


def from_config(experiment: Experiment, taken: Collection[str]) -> list[click.Parameter]:
    """Options for the fields of model and train that are not `taken`, with this run's defaults."""
    return [
        _option(info, getattr(getattr(experiment, part), info.name), part.title(), info.common)
        for part, cls in PARTS.items()
        for info in describe(cls)
        if info.name not in taken
    ]


def build(
    function: Callable[..., Experiment], given: dict[str, Any], sets: Sequence[str]
) -> Experiment:
    """The experiment of the given options (None: not given) and of every --set PATH=VALUE."""
    options = {
        name: option_value(given[name], kind, name)
        for name, kind in option_types(function).items()
        if given.get(name) is not None
    }
    experiment = make(function, **options)
    for text in sets:
        path, value = split_assignment(text, "--set", "task.k=10")
        experiment = change(experiment, path, value)
    return experiment


def check_once(
    function: Callable[..., Experiment], given: dict[str, Any], paths: Sequence[tuple[str, str]]
) -> None:
    """UsageError when two options set one field.

    given: as for `build`. paths: of --set and --grid, each as (what was typed, its path).
    """
    named = [(flag(name), name) for name in option_types(function) if given.get(name) is not None]
    typed: dict[str, str] = {}
    for option, path in [*named, *paths]:
        field = _field(function, path)
        if field in typed:
            raise UsageError(f"{option} cannot be used: {typed[field]} sets {field} too")
        typed[field] = option


def _field(function: Callable[..., Experiment], path: str) -> str:
    """The field that an option or a path sets: k and task.k are both task.k."""
    own = {info.name for info in describe(function)}
    if path in own and path in {f.name for f in dataclasses.fields(type(function().task))}:  # type: ignore[arg-type]
        return f"task.{path}"
    parts = [
        part for part, cls in PARTS.items() if path in {f.name for f in dataclasses.fields(cls)}
    ]
    return f"{parts[0]}.{path}" if parts else path


def typed(
    function: Callable[..., Experiment], given: dict[str, Any], sets: Sequence[str]
) -> list[str]:
    """The options of a command that say what is run, as a shell takes them."""
    options = []
    for name in option_types(function):
        value = given.get(name)
        if isinstance(value, bool):
            options.append(flag(name) if value else flag(f"no-{name}"))
        elif value is not None:
            options.append(f"{flag(name)} {shlex.quote(str(value))}")
    return [*options, *(f"--set {shlex.quote(text)}" for text in sets)]


def task_options(task: Task, plain: Task) -> list[str]:
    """--set for every option in which a task differs from another one of its class."""
    values = ((f.name, getattr(task, f.name)) for f in dataclasses.fields(task))  # type: ignore[arg-type]
    changed = [(name, value) for name, value in values if value != getattr(plain, name)]
    return [f"--set {shlex.quote(f'{name}={_shown(value, None)}')}" for name, value in changed]


def set_paths(sets: Sequence[str]) -> list[tuple[str, str]]:
    """Every --set as `check_once` takes it."""
    return [(f"--set {text}", split_assignment(text, "--set", "task.k=10")[0]) for text in sets]


def option_value(value: Any, hint: Any, name: str) -> Any:
    """The value of an option from its text; click has made values of the others already."""
    return parse(value, hint, flag(name)) if isinstance(value, str) else value


def flag(name: str) -> str:
    """The option on the command line: eval_every is --eval-every."""
    return "--" + name.replace("_", "-")


def _option(info: FieldInfo, default: Any, section: str, common: bool) -> Option:
    text = info.help
    choices = tuple(map(str, info.choices))
    offered = registry.names("mixers") if info.name == "layers" else choices
    if info.type is bool:
        declared = f"{flag(info.name)}/{flag('no-' + info.name)}"
        settings: dict[str, Any] = {"default": None, "is_flag": True}
    else:
        declared = flag(info.name)
        listed = "|".join(choices)
        if len(listed) > SHORT:
            text, listed = f"{text}; one of {', '.join(choices)}", "NAME"
        settings = {"type": str, "metavar": listed or _metavar(info.type)}
    facts = "; ".join(filter(None, (f"default: {_shown(default, info.unit)}", info.range)))
    text = f"{text}  [{facts}]".strip()
    return Option([declared, info.name], section, common, offered, help=text, **settings)


def _shown(default: Any, unit: str | None) -> str:
    """A default as --help shows it and as the option takes it."""
    if default is None or default is dataclasses.MISSING or default == ():
        return "none"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default} {unit}" if unit else str(default)


def _metavar(hint: Any) -> str:
    names = {int: "INTEGER", float: "NUMBER", str: "TEXT"}
    kinds = [names[kind] for kind in (typing.get_args(hint) or (hint,)) if kind in names]
    listed = typing.get_origin(hint) is tuple
    return kinds[-1] + (",..." if listed else "") if kinds else "VALUE"
