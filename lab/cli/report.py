"""The command `lab report`: finished runs as a page of HTML, or in short on stdout."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.common import (
    FILE,
    MIXER_FILES,
    OUT,
    TASK_FILE,
    as_cli_errors,
    cannot_write,
    complete,
    say,
)
from lab.cli.resolve import load_named, read_runs, trusted_files
from lab.errors import UsageError

TO = "file to write  [default: stdout, or EXPERIMENT-report.html]"


ANALYZE = "also make this analysis of each model (lab list analyses); repeatable"
EXAMPLES = "rows of each probe to show; 0: neither rows nor attention  [default: 3]"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete("runs"))
@click.option("--html", "as_html", is_flag=True, help="one self-contained page, with figures")
@click.option("--to", type=FILE, metavar="FILE", help=TO)
@OUT
@click.option("--examples", type=click.IntRange(0), help=EXAMPLES)
@click.option(
    "--analyze",
    "analyses",
    multiple=True,
    metavar="NAME",
    shell_complete=complete("analyses"),
    help=ANALYZE,
)
@TASK_FILE
@MIXER_FILES
def report(
    runs: tuple[str, ...],
    as_html: bool,
    to: Path | None,
    out: Path,
    examples: int | None,
    analyses: tuple[str, ...],
    task_file: str | None,
    mixer_files: tuple[str, ...],
) -> None:
    """Report finished runs: question, verdict, scores. RUN is a folder, a name under --out, or a
    pattern such as "parity-*".

    Without --html the report is Markdown on stdout. With it the report is a page that also has
    curves, rows that the model wrote with the first wrong token marked, maps of attention, and the
    configuration.
    """
    import torch

    from lab.files import write_text
    from lab.report import markdown, page

    with as_cli_errors():
        if not as_html and (examples is not None or analyses or task_file or mixer_files):
            options = "--examples, --analyze, --task and --mixer"
            raise UsageError(f"{options} do not apply: only --html opens the models")
        for name in analyses:
            load_named("analyses", name)  # an unknown name is refused before a model is opened
        results = read_runs(runs, out)
        if as_html:
            configurations = [result.experiment for result in results]
            trusted = trusted_files(configurations, task_file, mixer_files)
            torch.set_num_threads(1)  # small tensors: threads only wait for each other
            shown = 3 if examples is None else examples
            written = page.html(results, shown, trusted, analyses)
            to = to or Path(page.file_name(results))
        else:
            written = markdown.text(results) + "\n"
    if to is None:
        click.echo(written, nl=False)
        return
    with as_cli_errors():
        try:
            write_text(to, written)
        except OSError as error:
            raise cannot_write(to, error) from None
    say(to)
