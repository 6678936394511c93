"""The command line: `lab run parity --cot`. Results on stdout, progress on stderr.

Exit code 0: done; 1: failed or interrupted; 2: a mistake in the command. Nothing heavy is imported
before a command needs it, so `lab --help` is quick.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

import lab
from lab.cli.analyze import analyze
from lab.cli.bench import bench
from lab.cli.board import board
from lab.cli.claim import claim
from lab.cli.common import Group
from lab.cli.doctor import doctor
from lab.cli.eval import eval_
from lab.cli.export import export
from lab.cli.list import list_
from lab.cli.plot import plot
from lab.cli.report import report
from lab.cli.run import run
from lab.cli.sweep import sweep
from lab.cli.task import check, show


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(lab.__version__, prog_name="lab")
def main() -> None:
    """Which small models learn which reasoning tasks, and how well do they generalize?"""
    for name in ("tasks", "kernels"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).parent.parent if spec and spec.origin else None
        if origin != Path(lab.__file__).resolve().parent.parent:
            raise click.ClickException(
                f"the package {name!r} of another distribution ({origin}) hides the lab's own;"
                " install the lab in a virtual environment of its own"
            )


RESULTS = (eval_, analyze, plot, report, board, claim, list_)


for command in (run, sweep, *RESULTS, show, check, export, bench, doctor):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
