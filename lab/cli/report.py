"""The command lab report: some runs as a page of HTML, or in short on stdout."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.common import MINE, as_cli_errors
from lab.cli.resolve import find_runs, load_task, read_run
from lab.errors import UsageError

OUT = "file to write  [default: stdout, or EXPERIMENT-report.html]"


EXAMPLES = "rows of each probe to show, 0 for none, nor attention  [default: 3]"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--html", "as_html", is_flag=True, help="one self-contained page, with figures")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help=OUT)
@click.option("--examples", type=click.IntRange(0), help=EXAMPLES)
@click.option("--task", "file", metavar="FILE.py", help=MINE)
def report(
    runs: tuple[str, ...], as_html: bool, out: Path | None, examples: int | None, file: str | None
) -> None:
    """Say what was asked and what came of it, for finished runs: folders, names or patterns.

    Without --html: question, verdict and scores as Markdown on stdout. With it: a page that also
    has curves, rows that the model wrote with the first wrong token marked, maps of attention and
    the configuration.
    """
    import torch

    from lab.config import Trusted
    from lab.errors import RunFailed
    from lab.report import markdown, page
    from lab.results.files import write_text

    with as_cli_errors():
        if not as_html and (examples is not None or file):
            raise UsageError("--examples and --task do not apply: only --html looks at the models")
        paths = dict.fromkeys(path for text in runs for path in find_runs(text))
        results = [read_run(path) for path in paths]
        if as_html:
            if file and not any("source" in result.experiment for result in results):
                raise UsageError("--task does not apply: every task here is the lab's own")
            trusted = Trusted(None if file is None else load_task(file))
            torch.set_num_threads(1)  # small tensors: threads only wait for each other
            written = page.html(results, 3 if examples is None else examples, trusted)
            out = out or Path(page.file_name(results))
        else:
            written = markdown.text(results) + "\n"
    if out is None:
        click.echo(written, nl=False)
        return
    with as_cli_errors():
        try:
            write_text(out, written)
        except OSError as error:
            raise RunFailed(f"cannot write {out}: {error.strerror or error}") from None
    click.echo(out)
