"""Figures as files: kinds, sizes, formats, and what cannot be drawn."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from lab.config.experiment import change
from lab.figures import draw
from tests.figure_runs import base, finished, reinforced, several
from tests.profiles import NIGHTLY


@pytest.mark.parametrize(
    ("kind", "metric", "says"),
    [
        ("length", None, "every probe of these runs has length 8"),
        ("heatmap", None, "all these runs were trained at 4,6,8"),
        ("samples", None, "was evaluated only at its end; run it with --eval-every"),
        ("samples", "exact", "samples to learn are always counted by exact match"),
        ("pie", None, "kind = 'pie' cannot be used"),
        ("curve", "loss", "metric = 'loss' cannot be used"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    tmp_path: Path, kind: str, metric: str | None, says: str
) -> None:
    runs = several(tmp_path, base(lengths=(8,)), 2)
    with pytest.raises(ValueError, match=says):
        draw.make_figure(runs, kind, metric)
    if kind == "curve":
        for run in runs:
            (Path(run.run) / "metrics.jsonl").unlink()
        with pytest.raises(ValueError, match="no losses are logged"):
            draw.make_figure(runs, kind)


def all_kinds(out: Path, seeds: dict[str, int]) -> dict[str, Figure]:
    """A figure of every kind, of runs with two training ranges and these positions, position to
    number of seeds."""
    way = {10: 0.25, 20: 1.0}
    runs = []
    for name, n in seeds.items():
        e = change(base("longer", "hard", eval_every=10), "model.position", name)
        runs += several(out, e, n, way=way)
        runs += several(out, change(e, "train.lengths", "2,4"), n, way=way)
    sampled = [reinforced(out, kl=kl) for kl in (0.0, 0.1)]
    return {
        kind: draw.make_figure(sampled if kind == "reinforcement" else runs, kind)
        for kind in draw.KINDS
    }


def test_readable_at_column_width_and_without_colour(tmp_path: Path) -> None:
    n = 3 if NIGHTLY else 1
    seeds = {"rope": 3, "path": n, "none": n, "alibi": n}
    for kind, figure in all_kinds(tmp_path, seeds).items():
        assert figure.get_figwidth() == (7.0 if kind in ("heatmap", "reinforcement") else 3.4)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01 and box.x1 <= figure.get_figwidth() + 0.01, kind  # nothing cut off
        for text in figure.findobj(Text):
            assert text.get_fontsize() >= 7, text
        if kind in ("length", "curve"):
            lines = [x for x in figure.axes[-1].lines if "|" in str(x.get_label())]
            seen = {(x.get_marker(), str(x.get_linestyle())) for x in lines}
            assert len(seen) == len(lines) == 16
        if kind == "reinforcement":
            lines = figure.axes[0].lines
            assert len({(x.get_marker(), x.get_linestyle()) for x in lines}) == len(lines) == 6


def test_both_formats_are_whole_files_and_the_same_each_time(tmp_path: Path) -> None:
    """PNG of every kind only under nightly: they cost twice what SVG does."""
    kept: dict[str, bytes] = {}
    for attempt in range(2):
        for kind, figure in all_kinds(tmp_path / "runs", {"rope": 3 if NIGHTLY else 1}).items():
            png = NIGHTLY or kind == "heatmap"  # it has an image in it
            for suffix in ("png", "svg") if png else ("svg",):
                path = tmp_path / f"{kind}.{suffix}"
                draw.save(figure, path)
                data = path.read_bytes()
                assert not attempt or kept[path.name] == data
                kept[path.name] = data
            if png:
                assert kept[f"{kind}.png"].startswith(b"\x89PNG\r\n\x1a\n")
                width = int.from_bytes(kept[f"{kind}.png"][16:20])
                assert width == round(200 * figure.get_figwidth())
            assert ET.fromstring(kept[f"{kind}.svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match=r"a file that ends in \.png or \.svg"):
        draw.save(Figure(), tmp_path / "x.pdf")


def test_the_users_own_style_changes_nothing_and_is_left_alone(tmp_path: Path) -> None:
    runs = several(tmp_path, base(), 2)
    draw.save(draw.make_figure(runs), tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9}):
        draw.save(draw.make_figure(runs), tmp_path / "b.svg")
        assert matplotlib.rcParams["font.size"] == 20
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_plot_of_several_seeds_lies_in_the_folder_of_the_first(tmp_path: Path) -> None:
    runs = several(tmp_path, base(), 3)
    assert draw.of_run(runs) == Path(runs[0].run) / "plot-3-seeds.png"
    assert not list(tmp_path.glob("*/plot.png"))


def test_nothing_is_drawn_by_way_of_pyplot(tmp_path: Path) -> None:
    run = finished(tmp_path, base(), whole=True).run
    code = (
        "import sys; from lab.figures import draw; from lab.results.folder import load;"
        f"draw.of_run([load({run!r})]);"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr
