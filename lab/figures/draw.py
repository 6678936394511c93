"""Figures of run folders: accuracy against length, curves of training, heat maps, samples to learn.

`lab plot RUN...` and the plot.png of every finished run come from here. Runs that differ only in
their seed are one group (lab.results.groups). Figures fit one column of a paper (3.4 inches, fonts
of 7 points and more) and can be read without colour: groups differ in marker and line style too.
Nothing uses pyplot, so figures share no state; the same runs give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.figures.style import METRICS, printable
from lab.files import write_bytes
from lab.results.groups import Group, groups
from lab.results.reader import exists
from lab.results.result import Result
from lab.results.steps import samples
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure


KINDS = ("length", "curve", "heatmap", "samples", "reinforcement")

SUFFIXES = (".png", ".svg")

STYLE = {
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 7,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "svg.hashsalt": "lab",
    "text.parse_math": False,  # a label may come from a file: a dollar is a dollar
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}


def make_figure(
    results: Sequence[Result],
    kind: str = "auto",
    metric: str | None = None,
    names: Mapping[str, str] | None = None,
) -> Figure:
    """The figure of some runs. kind: one of KINDS, or auto, as `choose` says. metric: exact
    (teacher- forced exact match) or answer (free-running); None: answer, or exact where evaluations
    did not decode. names: what the figure calls a group, by its label, where that is another name.

    ValueError when these runs have no data for this kind.
    """
    import matplotlib.style

    from lab.figures.heatmap import heatmap
    from lab.figures.lines import curve, length
    from lab.figures.reinforcement import reinforcement
    from lab.figures.samples import samples as samples_to_learn

    if not results:
        raise refuse("runs", [], "one run or more")
    if kind == "auto":
        kind = choose(results)
    if metric not in (None, *METRICS):
        raise refuse("metric", metric, " or ".join(METRICS))
    kinds: dict[str, Callable[[list[Group], str | None], Figure]] = {
        "length": length,
        "curve": curve,
        "heatmap": heatmap,
        "samples": samples_to_learn,
        "reinforcement": reinforcement,
    }
    if kind not in kinds:
        raise refuse("kind", kind, f"auto or one of {', '.join(KINDS)}")
    ignore = ("train.lengths",) if kind == "heatmap" else ()
    with matplotlib.style.context(["default", STYLE]):
        grouped = groups(results, ignore)
        if names:
            grouped = [replace(g, label=names.get(g.label, g.label)) for g in grouped]
        figure = kinds[kind](grouped, metric)
    printable(figure)
    return figure


def choose(results: Sequence[Result]) -> str:
    """The kind for `auto`: reinforcement where all runs are trained by it, else as `of_scores`."""
    return "reinforcement" if all(map(samples, results)) else of_scores(results)


def of_report(results: Sequence[Result]) -> list[str]:
    """The kinds that a report shows: that of `auto`, and what else these runs have data for. A loss
    of reinforcement tells nothing."""
    kinds = [choose(results), of_scores(results), "curve"]
    if kinds[0] == "reinforcement":
        return [kind for kind in kinds[:2] if kind != "curve"]
    return list(dict.fromkeys(kinds))


def of_scores(results: Sequence[Result]) -> str:
    """The kind of figure that scores are enough for: a heat map of three or more training ranges on
    several lengths, accuracy against length where a label has several, samples to learn for several
    groups that were evaluated on the way, else the curves of training."""
    grouped = groups(results)
    probes = {(i, s.probe, s.length) for i, g in enumerate(grouped) for s in g.results[0].scores}
    if len(probes) > len({(i, label) for i, label, _ in probes}):  # a label with two lengths
        ranges = {g.lengths for g in grouped}
        return "heatmap" if len(ranges) > 2 else "length"
    if len(grouped) > 1 and all(any("branch" not in row for row in r.curves) for r in results):
        return "samples"
    return "curve"


def check(path: Path) -> None:
    """ValueError for a file whose suffix is none of SUFFIXES."""
    if path.suffix.lower() not in SUFFIXES:
        raise refuse("--to", str(path), f"a file that ends in {' or '.join(SUFFIXES)}")


def save(figure: Figure, path: Path, palette: bool = False) -> None:
    """Write a figure in the format of the file's suffix, .png (200 dots an inch) or .svg, whole or
    not at all. palette: a PNG of 256 colours, which has about 0.4 of the bytes. ValueError for
    another suffix, OSError where the file cannot be written."""
    import io

    import matplotlib.style

    check(path)
    kind = path.suffix.lower()[1:]
    buffer, undated = io.BytesIO(), {"Software": None} if kind == "png" else {"Date": None}
    with matplotlib.style.context(["default", STYLE]):
        figure.savefig(buffer, format=kind, dpi=200, metadata=undated)
    if palette and kind == "png":
        from PIL import Image

        flat = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        flat.save(buffer, kind, optimize=True)
    write_bytes(path, buffer.getvalue())


def file_name(results: Sequence[Result], kind: str) -> str:
    """<experiment>-<kind>.png, or runs-<kind>.png of several experiments."""
    names = {result.experiment["name"] for result in results}
    name = names.pop() if len(names) == 1 else "runs"
    return re.sub(r"[^\w-]+", "-", name) + f"-{kind}.png"  # a name from a folder is no path


def of_run(results: Sequence[Result]) -> Path:
    """The file of the figure of one experiment's seeds, drawn unless it exists: plot.png in the
    folder of a single run, plot-N-seeds.png in the folder of the first of N runs."""
    several = len(results) > 1
    name = f"plot-{len(results)}-seeds.png" if several else "plot.png"
    path = Path(results[0].run) / name
    if not exists(path):
        save(make_figure(results), path)
    return path
