"""The command `lab board`: every run of a folder on one page that sorts and filters."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.common import as_cli_errors, cannot_write, complete, say


@click.command()
@click.argument("runs", default="runs", shell_complete=complete("runs"))
@click.option(
    "--to",
    default="board.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="file to write",
)
@click.option(
    "--reports", is_flag=True, help="first write the report of each complete run that has none"
)
def board(runs: str, to: Path, reports: bool) -> None:
    """Write a page of all runs that sorts and filters.

    RUNS is a folder of runs, or a pattern such as "parity-*". The page needs no other file and no
    network. A run links to report.html in its folder where there is one: --reports writes them, or
    `lab report RUN --html`.
    """
    from lab.files import write_text
    from lab.report import board as page
    from lab.results.frame import entries

    with as_cli_errors():
        found = entries(runs, lambda line: say(line, err=True))
    try:
        if reports:
            _reports([Path(entry.run) for entry in found if entry.scores])
        title = f"{len(found)} run{'s' if len(found) != 1 else ''} in {runs}"
        write_text(to, page.html(found, to, title))
    except OSError as error:
        raise cannot_write(to, error) from None
    say(to)


def _reports(folders: list[Path]) -> None:
    """Write the page of each run, unless it is there."""
    import torch

    from lab.files import write_text
    from lab.report import page
    from lab.report.board import REPORT
    from lab.results.find import readable
    from lab.results.reader import exists

    torch.set_num_threads(1)  # small tensors: threads only wait for each other
    missing = [path for path in folders if not exists(path / REPORT)]
    for result in readable(missing, lambda line: say(line, err=True)):
        write_text(Path(result.run) / REPORT, page.html([result]))
