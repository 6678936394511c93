"""The command `lab plot`: a figure of finished runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lab.cli.common import FILE, JSON, OUT, as_cli_errors, cannot_write, complete, say
from lab.cli.resolve import read_runs

KINDS = ["auto", "length", "curve", "heatmap", "samples", "reinforcement"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete("runs"))
@click.option(
    "--kind", type=click.Choice(KINDS), default="auto", show_default=True, help="see below"
)
@click.option(
    "--metric",
    type=click.Choice(["exact", "answer"]),
    help="teacher-forced exact match, or the answer after the model's own thought"
    "  [default: answer, where the runs have it]",
)
@click.option(
    "--to",
    type=FILE,
    metavar="FILE",
    help="figure to write, .png or .svg  [default: EXPERIMENT-KIND.png]",
)
@OUT
@JSON
def plot(
    runs: tuple[str, ...],
    kind: str,
    metric: str | None,
    to: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw a figure of finished runs. RUN is a folder, a name under --out, or a pattern such as
    "parity-*".

    Runs that differ only in their seed are one line with a band, labelled with the settings in
    which it differs from the others.

    \b
    length   accuracy against length, the training range shaded
    curve    loss and accuracy against training rows seen
    heatmap  accuracy by training length and test length
    samples  training rows until the first probe was learned
    reinforcement  reward, Pass@k and entropy of sampled completions
    auto     the kind that these runs have most data for
    """
    from lab.figures import draw
    from lab.results.groups import groups

    with as_cli_errors():
        if to is not None:
            draw.check(to)
        results = read_runs(runs, out)
        kind = draw.choose(results) if kind == "auto" else kind
        figure = draw.make_figure(results, kind, metric)
        to = to or Path(draw.file_name(results, kind))
        try:
            draw.save(figure, to)
        except OSError as error:
            raise cannot_write(to, error) from None
    drawn = groups(results)
    left_out = len(results) - sum(len(group.results) for group in drawn)
    if left_out:
        message = f"{left_out} of {len(results)} runs repeat the experiment and seed of another"
        say(f"{message}; each counts once.", err=True)
    if as_json:
        drawn_groups = [{"label": g.label, "runs": [r.run for r in g.results]} for g in drawn]
        click.echo(json.dumps({"file": str(to), "kind": kind, "groups": drawn_groups}))
    else:
        say(to)
