"""The command line: `lab run parity --cot`. Results on stdout, progress on stderr.

Exit code 0: done; 1: failed or interrupted; 2: a mistake in the command. Nothing heavy is imported
before a command needs it, so `lab --help` stays quick.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import click

from lab import __version__
from lab._analysis_command import analyze
from lab._claim_command import claim
from lab._eval_command import eval_
from lab._list_command import list_
from lab._names import JSON
from lab._plot_command import plot
from lab._report_command import report
from lab._run_command import run
from lab._sweep_command import sweep
from lab._task_commands import bench, check, export, show


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


RESULTS = (eval_, analyze, plot, report, claim, list_)
for command in (run, sweep, *RESULTS, show, check, export, bench):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
