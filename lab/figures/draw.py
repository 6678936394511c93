"""Figures of run folders: accuracy against length, curves of training, heat maps, samples to learn.

`lab plot RUN...` and the plot.png of every finished run come from here. Runs that differ only in
their seed are one group (lab.results.groups). Figures fit one column of a paper (3.4 inches, fonts
of 7 points and more) and read without colour: groups differ in marker and line style too.
No pyplot, so no state between figures; the same runs give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.figures.style import METRICS
from lab.results.groups import Group, groups
from lab.results.result import Result
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure


KINDS = ("length", "curve", "heatmap", "samples")


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
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}


def draw(results: Sequence[Result], kind: str = "auto", metric: str | None = None) -> Figure:
    """The figure of some runs. kind: one of KINDS, or auto for what the runs have most to show of.
    metric: exact or answer; without one answer, or exact where evaluations did not decode.

    ValueError when these runs hold nothing of this kind.
    """
    import matplotlib.style

    from lab.figures.heatmap import heatmap
    from lab.figures.lines import curve, length
    from lab.figures.samples import samples

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
        "samples": samples,
    }
    if kind not in kinds:
        raise refuse("kind", kind, f"auto or one of {', '.join(KINDS)}")
    ignore = ("train.lengths",) if kind == "heatmap" else ()
    with matplotlib.style.context(["default", STYLE]):
        return kinds[kind](groups(results, ignore), metric)


def choose(results: Sequence[Result]) -> str:
    """The kind for `auto`: a heat map of three or more training ranges on several lengths, accuracy
    against length where a label has several, samples to learn for several groups that were
    evaluated on the way, else the curves of training."""
    found = groups(results)
    probes = {(i, s.probe, s.length) for i, g in enumerate(found) for s in g.results[0].scores}
    if len(probes) > len({(i, label) for i, label, _ in probes}):  # a label with two lengths
        ranges = {g.lengths for g in found}
        return "heatmap" if len(ranges) > 2 else "length"
    if len(found) > 1 and all(any("branch" not in row for row in r.curves) for r in results):
        return "samples"
    return "curve"


def check(path: Path) -> None:
    """Turn down a file whose suffix is of no known format."""
    if path.suffix.lower() not in SUFFIXES:
        raise refuse("--out", str(path), f"a file that ends in {' or '.join(SUFFIXES)}")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says, .png (200 dots an inch) or .svg; whole or not at all."""
    import io
    import os

    import matplotlib.style

    check(path)
    kind = path.suffix.lower()[1:]
    held, undated = io.BytesIO(), {"Software": None} if kind == "png" else {"Date": None}
    with matplotlib.style.context(["default", STYLE]):
        figure.savefig(held, format=kind, dpi=200, metadata=undated)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    neighbour.write_bytes(held.getvalue())
    os.replace(neighbour, path)


def file_name(results: Sequence[Result], kind: str) -> str:
    """<experiment>-<kind>.png, or runs-<kind>.png of several experiments."""
    names = {result.experiment["name"] for result in results}
    name = names.pop() if len(names) == 1 else "runs"
    return re.sub(r"[^\w-]+", "-", name) + f"-{kind}.png"  # a name from a folder is no path


def of_run(results: Sequence[Result]) -> Path:
    """The figure of one experiment's seeds, drawn unless it is there: plot.png in the folder of the
    run, plot-N-seeds.png in that of the first of N."""
    several = len(results) > 1
    name = f"plot-{len(results)}-seeds.png" if several else "plot.png"
    path = Path(results[0].run) / name
    if not path.exists():
        save(draw(results), path)
    return path
