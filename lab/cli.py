"""The command line: `lab run parity --cot`. Results on stdout, progress on stderr.

Exit code 0: done; 1: failed or interrupted; 2: a mistake in the command. Nothing heavy is imported
before a command needs it, so `lab --help` stays quick.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab import __version__
from lab._names import JSON, experiment_function, mistakes
from lab._task_commands import bench, check, export, show

if TYPE_CHECKING:
    from lab.config import Experiment
    from lab.results import Result


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lab")
def main() -> None:
    """A laboratory for what small sequence models learn to reason about, and how far it carries."""
    for name in ("tasks", "kernels"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).parent.parent if spec and spec.origin else None
        if origin != Path(__file__).resolve().parent.parent:
            raise click.ClickException(
                f"the package {name!r} of another distribution ({origin}) hides the lab's own;"
                " install the lab in a virtual environment of its own"
            )


class _Runs(click.Group):
    """One subcommand per experiment, made from its signature when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        import tasks
        from lab import experiments

        return sorted({*experiments.names(), *tasks.names()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        return _run_command(name, experiment_function(name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Experiments"):
            formatter.write_text("  ".join(self.list_commands(ctx)))


@main.group(cls=_Runs, subcommand_metavar="NAME [OPTIONS]")
def run() -> None:
    """Train and evaluate an experiment (a NAME below, or your own task's FILE.py).

    `lab run NAME --help` shows its options. The same command again prints the finished run; an
    interrupted one goes on.
    """


def _run_command(name: str, function: Callable[..., Experiment]) -> click.Command:
    from lab._options import Command, Option, from_config, from_signature
    from lab.presets import PRESETS

    own = from_signature(function, "Experiment")
    extra = [
        Option(["--seeds"], type=click.IntRange(1), default=1, help="runs, each with its own seed"),
        Option(["--set", "sets"], multiple=True, metavar="PATH=VALUE", help="task.k=10, ..."),
        Option(["--out"], type=click.Path(path_type=Path), default=Path("runs"), help="folder"),
        Option(["--device"], type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
        Option(["--threads"], type=click.IntRange(1), default=1, help="of torch, for a single run"),
        Option(["--checkpoint-every"], type=click.IntRange(1), default=50, help="steps"),
        Option(["--compile"], is_flag=True, help="torch.compile, where it pays"),
        Option(["--json", "as_json"], is_flag=True, help="print one JSON document, nothing else"),
    ]
    for option in extra:
        option.section, option.show_default = "Run", not option.is_flag
    again = Option(
        ["--reads"],
        type=click.IntRange(1),
        help="times the prompt is read, 2: just read twice  [default: 1]",
        section="Experiment",
    )
    paper = Option(
        ["--preset"],
        type=click.Choice(list(PRESETS)),
        help="a paper's model; further options change it",
        section="Model",
    )
    default = function()
    taken = [p.name for p in [*own, *extra] if p.name]
    return Command(
        name,
        params=[*own, again, *extra, paper, *from_config(default, taken)],
        callback=lambda **given: _go(name, function, given),
        help=(function.__doc__ or "").partition("\n\n")[0],
    )


def _go(name: str, function: Callable[..., Experiment], given: dict[str, Any]) -> None:
    from dataclasses import replace

    from lab._options import build
    from lab.progress import progress
    from lab.run import run as run_one
    from lab.sweep import run_many

    out, device, quiet = given["out"], given["device"], given["as_json"]
    every = given["checkpoint_every"]
    with mistakes():
        base = build(function, given, given["sets"])
        for probe in base.probes:  # a bad option is found before a run folder is made
            probe.of(base.task).sample(_any_rng(), 1, probe.length)
        for length in base.train.lengths:
            base.task.sample(_any_rng(), 1, length)
        first = base.train.seed
        several = [
            replace(base, train=replace(base.train, seed=first + i)) for i in range(given["seeds"])
        ]
        labels = [f"seed {e.train.seed}" for e in several]
        with progress(labels, base.train.steps, quiet) as show:
            if len(several) == 1:
                found = [
                    run_one(
                        base,
                        out,
                        device,
                        given["threads"],
                        every,
                        given["compile"],
                        watch=lambda row: show([row]),
                        warn=lambda text: click.echo(text, err=True),
                    )
                ]
            else:
                found = run_many(several, out, device, None, show, every, given["compile"])
    if given["as_json"]:
        click.echo(json.dumps(_document(found)))
    else:
        _print_results(name, base, found)


def _any_rng() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def _document(found: list[Result]) -> dict[str, Any]:
    if len(found) == 1:
        return found[0].to_json()
    from lab.results import summary

    return {"runs": [result.to_json() for result in found], "summary": summary(found)}


def _print_results(name: str, experiment: Experiment, found: list[Result]) -> None:
    from rich.console import Console

    from lab import view
    from lab.results import summary

    console = Console()
    console.print(view.scores(found))
    rows = experiment.train.steps * experiment.train.batch
    if len(found) == 1:
        for score in found[0].scores:
            click.echo(view.in_words(score, rows))
    else:
        for line in summary(found):
            click.echo(view.summary_in_words(line))
    folders = Path(found[0].run).parent if len(found) > 1 else found[0].run
    seconds = sum(result.seconds for result in found)
    click.echo(f"{folders}  ({seconds:.0f} s of training and evaluation)")
    other = "--no-cot" if experiment.cot else "--cot"
    this = "--cot" if experiment.cot else "--no-cot"
    click.echo(f"Next: lab run {name} {other}   lab show {name} {this}   lab list runs")


@main.command("list")
@click.argument("what", type=click.Choice(["tasks", "mixers", "experiments", "runs"]))
@click.option("--out", default="runs", show_default=True, type=click.Path(path_type=Path))
@JSON
def list_(what: str, out: Path, as_json: bool) -> None:
    """List what there is: tasks, mixers, experiments, or the runs under --out."""
    if what == "runs":
        _list_runs(out, as_json)
        return
    import typing

    import tasks
    from lab import experiments, mixers
    from lab.config import ModelConfig

    names = {"tasks": tasks, "mixers": mixers, "experiments": experiments}[what].names()
    click.echo(json.dumps(names) if as_json else "\n".join(names))
    if what == "mixers" and not as_json:
        from lab.presets import PRESETS

        click.echo("\nPut together with --layers NAME*TIMES,NAME. Around and inside them:")
        for field in ("position", "gate", "gate_at", "norm", "mlp_act", "embed"):
            choices = typing.get_args(typing.get_type_hints(ModelConfig)[field])
            click.echo(f"  --{field.replace('_', '-')} {' | '.join(choices)}")
        switches = ("forget", "qk-norm", "kv-heads", "log-length", "experts", "sigma", "tie")
        click.echo("  " + " ".join(f"--{name}" for name in switches))
        click.echo("  --preset " + " | ".join(PRESETS))


def _list_runs(out: Path, as_json: bool) -> None:
    from rich.console import Console

    from lab import view
    from lab.results import load_all

    complete = list(load_all(out))
    unfinished = [
        path.parent.name
        for path in sorted(out.glob("*/config.json"))
        if not (path.parent / "result.json").exists()
    ]
    if as_json:
        rows = [r.to_json() for r in complete]
        click.echo(json.dumps({"complete": rows, "unfinished": unfinished}))
    elif not complete and not unfinished:
        click.echo(f"No runs under {out}. Try: lab run parity --cot")
    else:
        Console().print(view.runs(complete, unfinished))


@main.command()
@JSON
def doctor(as_json: bool) -> None:
    """Say what this machine can do: torch, triton, GPU, bf16, threads."""
    from lab.doctor import examine

    found = examine()
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name.ljust(width)}  {value}")


for command in (show, check, export, bench):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
