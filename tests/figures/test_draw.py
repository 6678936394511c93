"""Figures: what is drawn equals what the results hold, worked out here by hand."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Outcome
from matplotlib.figure import Figure
from matplotlib.text import Text

from lab.cli import plot
from lab.cli.main import main
from lab.config import Experiment, Probe
from lab.config.experiment import change
from lab.experiments.parity import experiment
from lab.figures import draw, style
from lab.results.folder import Folder, load
from lab.results.groups import groups
from lab.results.result import Result, Score
from lab.stats import over_seeds

N = 200  # rows of every probe here
LENGTHS = (8, 12, 20)
Accuracy = Callable[[str, int, int], float]  # of label, length and seed


def wilson(p: float) -> tuple[float, float]:
    z = 1.959963984540054
    middle, half = p + z**2 / (2 * N), z * (p * (1 - p) / N + z**2 / (4 * N**2)) ** 0.5
    return (middle - half) / (1 + z**2 / N), (middle + half) / (1 + z**2 / N)


def score(label: str, length: int, answer: float, exact: float) -> Score:
    return Score(
        probe=label,
        length=length,
        n=N,
        exact=exact,
        low=wilson(exact)[0],
        high=wilson(exact)[1],
        answer=answer,
        answer_low=wilson(answer)[0],
        answer_high=wilson(answer)[1],
        chance=0.5 if label != "hard" else 0.25,
        valid_thought=None,
        first_error=None,
    )


def base(*labels: str, lengths: tuple[int, ...] = LENGTHS, **train: Any) -> Experiment:
    e = experiment(k=2, length=8)
    probes = tuple(Probe(x, length, {}, N) for x in labels or ("longer",) for length in lengths)
    train = {"steps": 40, "batch": 10, "lengths": (4, 6, 8), **train}
    return dataclasses.replace(e, probes=probes, train=dataclasses.replace(e.train, **train))


def right(label: str, length: int, seed: int) -> float:
    """Answers that differ with label, length and seed; two-hundredths, so that rows are whole."""
    drop = 0.04 * seed + (0.1 if label == "hard" else 0)
    return round(max(0.3, 1.06 - 0.03 * length - drop) * N) / N


def finished(
    out: Path, e: Experiment, accuracy: Accuracy = right, way: dict[int, float] | None = None
) -> Result:
    """A run folder as a finished run leaves it, without training. way: answer and exact match of
    every probe at evaluations on the way, by step."""
    folder, seed, train = Folder(out, e), e.train.seed, e.train
    folder.open()
    for step in range(10, train.steps + 1, 10):
        loss, exact = 1 / (step + seed), step / 100
        folder.log({"step": step, "rows": step * train.batch, "loss": loss, "exact": exact})
    curves = []
    for step, value in (way or {}).items():
        scores = [vars(score(p.label, p.length, value, value)) for p in e.probes]
        curves.append({"step": step, "rows": step * train.batch, "scores": scores})
        folder.log(curves[-1])
    final = [
        score(p.label, p.length, accuracy(p.label, p.length, seed), 0.5 * N // 1 / N)
        for p in e.probes
    ]
    last = train.steps * train.batch
    seen = [row["rows"] for row in curves if row["scores"][0]["exact"] >= 1]
    told = {"probe": e.probes[0].label, "length": e.probes[0].length, "threshold": 1.0}
    learned = [told | {"rows": seen[0] if seen else last, "censored": not seen}]
    run = str(folder.path)
    result = Result(run, e.to_json(), tuple(final), curves, 1.0, {}, learned, train.steps)
    folder.finish(result)
    return load(folder.path)


def seeded(e: Experiment, seed: int) -> Experiment:
    return dataclasses.replace(e, train=dataclasses.replace(e.train, seed=seed))


def several(out: Path, e: Experiment, n: int = 3, **more: Any) -> list[Result]:
    return [finished(out, seeded(e, seed), **more) for seed in range(n)]


def line(figure: Figure, label: str, panel: int = 0) -> tuple[list[float], list[float]]:
    (found,) = [x for x in figure.axes[panel].lines if x.get_label() == label]
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def band(figure: Figure, label: str, panel: int = 0) -> dict[float, tuple[float, float]]:
    """Low and high of a band at every x."""
    patches = figure.axes[panel].collections
    (found,) = [p for p in patches if p.get_label() == f"band of {label}"]
    points = found.get_paths()[0].vertices
    return {
        x: (min(y for a, y in points if a == x), max(y for a, y in points if a == x))
        for x in sorted({x for x, _ in points.tolist()})
    }


def test_groups_differ_only_in_their_seed_and_are_named_by_what_differs(tmp_path: Path) -> None:
    runs = []
    for k, cot in itertools.product(("3", "2"), ("false", "true")):
        e = change(change(base(), "task.k", k), "cot", cot)
        runs += [finished(tmp_path, seeded(e, seed)) for seed in (1, 0)]
    found = groups([*runs, runs[0]])  # one given twice
    assert [g.label for g in found] == ["k=2, CoT", "k=2, no CoT", "k=3, CoT", "k=3, no CoT"]
    for group in found:
        assert [r.experiment["train"]["seed"] for r in group.results] == [0, 1]
        (word,) = {(r.experiment["task"]["k"], r.experiment["cot"]) for r in group.results}
        assert group.label == f"k={word[0]}, {'CoT' if word[1] else 'no CoT'}"
    assert [g.label for g in groups(runs[:2])] == [""]


def test_labels(tmp_path: Path) -> None:
    def labels(*experiments: Experiment) -> list[str]:
        return [g.label for g in groups([finished(tmp_path, e) for e in experiments])]

    def changed(path: str, *values: str) -> list[Experiment]:
        return [change(base(), path, value) for value in values]

    assert labels(*changed("train.lengths", "1,2,3", "4", "4,8")) == [
        "trained at 1-3", "trained at 4", "trained at 4,8"]  # fmt: skip
    assert labels(*changed("train.lengths", "1,2,3,5,7,9,30", "4"))[1] == (
        "trained at 1-30 (7 lengths)")  # fmt: skip
    assert labels(*changed("train.lr", "1e-2", "3e-4")) == ["lr=0.0003", "lr=0.01"]
    assert labels(*changed("model.tie_embeddings", "false", "true")) == [
        "tie_embeddings",
        "no tie_embeddings",
    ]
    assert labels(*changed("model.position", "rope", "none")) == ["position=none", "position=rope"]
    other = dataclasses.replace(base(), name="istree")
    faster = dataclasses.replace(change(base(), "train.lr", "0.5"), name="istree")
    assert labels(base(), other) == ["istree", "parity"]
    assert labels(base(), other, faster) == [
        "istree, lr=0.001", "istree, lr=0.5", "parity, lr=0.001"]  # fmt: skip


@pytest.mark.parametrize("metric", ["answer", "exact"])
def test_length_draws_means_and_intervals_over_seeds(tmp_path: Path, metric: str) -> None:
    slow, fast = base("longer", "hard"), change(base("longer", "hard"), "train.lr", "0.1")
    runs = several(tmp_path, slow) + several(tmp_path, fast, accuracy=lambda *a: right(*a) / 2)
    figure = draw.make_figure(runs, "length", metric)
    for half, group in ((1, "lr=0.001"), (2, "lr=0.1")):
        for label in ("longer", "hard"):
            values = {x: [right(label, x, seed) / half for seed in range(3)] for x in LENGTHS}
            if metric == "exact":
                values = {x: [0.5] * 3 for x in LENGTHS}
            x, y = line(figure, f"{group}|{label}")
            assert x == list(LENGTHS)
            assert y == pytest.approx([np.mean(values[x]) for x in LENGTHS])
            drawn = band(figure, f"{group}|{label}")
            for length in LENGTHS:
                assert drawn[length] == pytest.approx(over_seeds(values[length]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:4] == ["lr=0.001", "lr=0.1", "longer", "hard"]
    assert figure.legends[0].get_title().get_text().startswith("Band: 95% BCa interval")
    assert figure.axes[0].get_ylabel() == style.METRICS[metric]
    chance = [x for x in figure.axes[0].lines if x.get_label() == "chance"]
    guesses = {tuple(np.asarray(x.get_ydata()).tolist()) for x in chance}
    assert guesses == ({(0.5,) * 3, (0.25,) * 3} if metric == "answer" else set())


def test_length_of_one_seed_has_wilson_intervals_and_the_training_range(tmp_path: Path) -> None:
    figure = draw.make_figure([finished(tmp_path, base())])
    drawn = band(figure, "|longer")
    for length in LENGTHS:
        assert drawn[length] == pytest.approx(wilson(right("longer", length, 0)))
    (shade,) = [p for p in figure.axes[0].patches if p.get_label() == "trained"]
    assert (shade.get_x(), shade.get_width()) == (4, 8 - 4)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "trained at 4,6,8" in texts
    assert "Wilson" in figure.legends[0].get_title().get_text()


def test_length_shows_where_different_training_ranges_end(tmp_path: Path) -> None:
    e = base(lengths=(8, 12, 256))
    runs = [finished(tmp_path, change(e, "train.lengths", f"4,6,{top}")) for top in (8, 12)]
    figure = draw.make_figure(runs, "length")
    ends = [x.get_xdata()[0] for x in figure.axes[0].lines if x.get_label() == "end of training"]
    assert ends == [8, 12]
    (shade,) = [p for p in figure.axes[0].patches if p.get_label() == "trained"]
    assert (shade.get_x(), shade.get_width()) == (4, 4)  # what both were trained on
    assert figure.axes[0].get_xscale() == "log"  # 8 to 256


@pytest.mark.parametrize(
    ("lengths", "ticks"),
    [((4, 5, 40), [4, 40]), ((10, 11, 12, 20), [10, 11, 12, 20]), ((2, 4, 256), [2, 4, 256])],
)
def test_lengths_are_marked_where_there_is_room(
    tmp_path: Path, lengths: tuple[int, ...], ticks: list[int]
) -> None:
    axes = draw.make_figure([finished(tmp_path, base(lengths=lengths))]).axes[0]
    assert axes.get_xticks().tolist() == ticks
    assert [text.get_text() for text in axes.get_xticklabels()] == [str(x) for x in ticks]


def test_curve_draws_losses_and_evaluations(tmp_path: Path) -> None:
    way = {10: 0.25, 20: 0.5, 30: 1.0}
    e = base("longer", "hard", eval_every=10)
    figure = draw.make_figure(several(tmp_path, e, way=way), "curve")
    x, y = line(figure, "loss of ")
    assert x == [100, 200, 300, 400]
    losses = {s: [1 / (s + seed) for seed in range(3)] for s in (10, 20, 30, 40)}
    assert y == pytest.approx([np.mean(values) for values in losses.values()])
    assert band(figure, "loss of ")[200] == pytest.approx(over_seeds(losses[20]))
    for label in ("longer", "hard"):
        x, y = line(figure, f"|{label}", 1)
        assert x == [100, 200, 300, 400]
        end = np.mean([right(label, 8, seed) for seed in range(3)])  # of its first probe
        assert y == pytest.approx([0.25, 0.5, 1.0, end])
    assert line(figure, "chance", 1)[1] == [0.5, 0.5]


def test_curve_of_a_run_evaluated_only_at_its_end(tmp_path: Path) -> None:
    result = finished(tmp_path, base(steps=2000, lengths=(8,)))
    figure = draw.make_figure([result])
    assert line(figure, "|longer", 1) == ([20_000], [0.5])  # the exact match of `finished`
    x, y = line(figure, "batches of ", 1)
    assert 40 <= len(x) <= 80 and sorted(x) == x and x[0] < 400 and x[-1] > 19_600
    for rows, exact in zip(x, y, strict=True):  # bins of a straight line lie on it
        assert exact == pytest.approx(rows / 1000)


def test_curve_keeps_to_steps_that_all_seeds_reached(tmp_path: Path) -> None:
    runs = several(tmp_path, base(eval_every=10), 2, way={10: 0.25, 20: 0.5})
    runs[1] = dataclasses.replace(runs[1], steps=20, curves=runs[1].curves[:1])
    figure = draw.make_figure(runs, "curve")
    assert line(figure, "|longer", 1)[0] == [100, 200]


def test_curve_shows_decayed_branches_apart(tmp_path: Path) -> None:
    result = finished(tmp_path, base(eval_every=10), way={10: 0.25, 20: 0.5})
    branch = {**result.curves[0], "branch": 15, "rows": 150}
    figure = draw.make_figure([dataclasses.replace(result, curves=[*result.curves, branch])], "curve")
    assert line(figure, "|longer", 1)[0] == [100, 200, 400]
    assert line(figure, "branches of ", 1) == ([150], [0.25])


def test_heatmap_cells_are_means_over_seeds(tmp_path: Path) -> None:
    runs, cells = [], {}
    for row, top in ((2, 12), (0, 4), (1, 8)):
        e = change(base("longer", "hard"), "train.lengths", f"2,{top}")

        def accuracy(label: str, length: int, seed: int, top: int = top) -> float:
            return right(label, length, seed) * top / 12

        runs += several(tmp_path, e, accuracy=accuracy)
        for label, length in itertools.product(("longer", "hard"), LENGTHS):
            values = [accuracy(label, length, seed) for seed in range(3)]
            cells[label, row, length] = np.mean(values)
    runs.append(
        finished(tmp_path, change(base("longer", lengths=(8, 30)), "train.lengths", "2,16"))
    )
    for length in (8, 30):
        cells["longer", 3, length] = right("longer", length, 0)
    assert draw.choose(runs) == "heatmap"
    figure = draw.make_figure(runs)
    for panel, label, columns in ((0, "longer", (*LENGTHS, 30)), (1, "hard", LENGTHS)):
        axes = figure.axes[panel]
        assert axes.get_title(loc="left") == label
        assert [t.get_text() for t in axes.get_xticklabels()] == [str(x) for x in columns]
        assert [t.get_text() for t in axes.get_yticklabels()] == ["4", "8", "12", "16"]
        table = axes.images[0].get_array()
        for (row, column), value in np.ndenumerate(table.filled(-1)):
            assert value == pytest.approx(cells.get((label, row, columns[column]), -1))
    edges = {tuple(x.get_ydata()): x.get_xdata()[0] for x in axes.lines if x.get_label() == "edge"}
    # of tests of 8, 12 and 20: none within 4, one within 8, two within 12 and 16
    assert edges == {(0.5, 1.5): 0.5, (1.5, 2.5): 1.5, (2.5, 3.5): 1.5}


def test_samples_are_medians_and_censored_bars_are_hatched(tmp_path: Path) -> None:
    runs, learns = [], {"1": (10, 20, 30), "2": (20, 30, None), "3": (10, None, None)}
    for k, steps in learns.items():
        for seed, step in enumerate(steps):
            e = seeded(change(base(eval_every=10, lengths=(8,)), "task.k", k), seed)
            way = {s: float(step is not None and s >= step) for s in (10, 20, 30)}
            runs.append(finished(tmp_path, e, way=way))
    assert draw.choose(runs) == "samples"
    figure = draw.make_figure(runs)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [200, 300, 400]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, False, True]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["k=1", "k=2", "k=3"]
    marks = [(x.get_marker(), x.get_xdata()[0], round(x.get_ydata()[0])) for x in axes.lines]
    wanted = [
        (">", 400, y) if step is None else ("o", 10 * step, y)
        for y, steps in enumerate(learns.values())
        for step in steps
    ]
    assert sorted(marks) == sorted(wanted)
    assert "longer (length 8)\nhas exact match at least 1" in axes.get_xlabel()


def test_samples_from_curves_where_a_result_has_no_counts(tmp_path: Path) -> None:
    result = finished(tmp_path, base(eval_every=10), way={10: 0.5, 20: 1.0, 30: 1.0})
    old = dataclasses.replace(result, learned=[])
    (bar,) = draw.make_figure([old], "samples").axes[0].patches
    assert bar.get_width() == 200 and not bar.get_hatch()


def test_samples_of_a_run_that_stopped_at_its_first_evaluation(tmp_path: Path) -> None:
    e = base(eval_every=10, early_stop=True)
    result = dataclasses.replace(finished(tmp_path, e, way={10: 1.0}), steps=10)
    (bar,) = draw.make_figure([result], "samples").axes[0].patches
    assert bar.get_width() == 100 and not bar.get_hatch()
    assert line(draw.make_figure([result], "curve", "exact"), "|longer", 1)[0] == [100]


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


def all_kinds(out: Path, *positions: str) -> dict[str, Figure]:
    way = {10: 0.25, 20: 1.0}
    runs = []
    for name in positions:
        e = change(base("longer", "hard", eval_every=10), "model.position", name)
        runs += several(out, e, way=way)
        runs += several(out, change(e, "train.lengths", "2,4"), way=way)
    found = {"length": draw.make_figure(runs[::2], "length"), "curve": draw.make_figure(runs, "curve")}
    found |= {kind: draw.make_figure(runs, kind) for kind in ("heatmap", "samples")}
    return found


def test_readable_at_column_width_and_without_colour(tmp_path: Path) -> None:
    for kind, figure in all_kinds(tmp_path, "rope", "path", "none", "alibi").items():
        assert figure.get_figwidth() == (7.0 if kind == "heatmap" else 3.4)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01 and box.x1 <= figure.get_figwidth() + 0.01, kind  # nothing cut off
        for text in figure.findobj(Text):
            assert text.get_fontsize() >= 7, text
        if kind in ("length", "curve"):
            lines = [x for x in figure.axes[-1].lines if "|" in str(x.get_label())]
            seen = {(x.get_marker(), str(x.get_linestyle())) for x in lines}
            assert len(seen) == len(lines) == 16


def test_both_formats_are_whole_files_and_the_same_each_time(tmp_path: Path) -> None:
    kept: dict[str, bytes] = {}
    for attempt in range(2):
        for kind, figure in all_kinds(tmp_path / "runs", "rope").items():
            for suffix in ("png", "svg"):
                path = tmp_path / f"{kind}.{suffix}"
                draw.save(figure, path)
                data = path.read_bytes()
                assert not attempt or kept[path.name] == data
                kept[path.name] = data
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


def lab(*args: str) -> Outcome:
    return CliRunner().invoke(main, ["plot", *args])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(plot.KINDS) == {"auto", *draw.KINDS}
    monkeypatch.chdir(tmp_path)
    runs = several(Path("runs"), base(), 2)
    names = [Path(run.run).name for run in runs]
    done = lab("runs/parity-*")
    assert (done.exit_code, done.stdout) == (0, "parity-length.png\n")
    done = lab(*names, f"runs/{names[0]}", "--kind", "curve", "--out", "c.svg", "--json")
    told = json.loads(done.stdout)
    assert told["file"] == "c.svg" and told["kind"] == "curve" and Path("c.svg").exists()
    assert told["groups"] == [{"label": "", "runs": [run.run for run in runs]}]
    several(Path("copy"), base(), 2)
    done = lab("runs/parity-*", "copy/*", "--out", "d.png")
    assert "2 of 4 runs repeat the experiment and seed of another" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nothing"], "RUN = 'nothing' cannot be used: there is no such run"),
        (["runs/x*"], "there is no such run here or under runs/"),
        (["runs"], "it is no run folder; name some, such as 'runs/*'"),
        (["begun"], "this run is not complete"),
        (["damaged"], "RUN = 'runs/damaged' cannot be used: its result.json cannot be read"),
        (["parity-*", "--out", "x.jpg"], "--out = 'x.jpg' cannot be used"),
        (["parity-*", "--kind", "heatmap"], "all these runs were trained at 4,6,8"),
        (["parity-*", "--kind", "pie"], "'pie' is not one of"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    finished(Path("runs"), base())
    for name, result in (("begun", None), ("damaged", "{")):
        folder = Path("runs") / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        if result:
            (folder / "result.json").write_text(result)
    done = lab(*args)
    assert done.exit_code == 2 and not done.stdout
    assert says in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    run = finished(tmp_path, base()).run
    done = lab(run, "--out", str(tmp_path / "no" / "x.png"))
    assert done.exit_code == 1 and "cannot write" in done.stderr


def test_lab_run_leaves_a_plot_and_draws_it_again_when_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--length", "6", "--k", "2", "--steps", "20", "--batch", "16", "--width", "16"]

    def run(*more: str) -> str:
        done = CliRunner().invoke(main, ["run", "parity", *quick, "--eval-every", "10", *more])
        assert done.exit_code == 0 and not done.stderr
        return done.stdout

    told = json.loads(run("--json"))
    plot = Path(told["run"]) / "plot.png"
    assert not plot.exists()
    said = run()
    assert str(plot) in said.splitlines() and max(map(len, said.splitlines())) <= 80
    assert "not learned (exact >= 1.0) within 320 rows (censored)" in " ".join(said.split())
    before = plot.read_bytes()
    plot.write_bytes(b"kept")
    run()
    assert plot.read_bytes() == b"kept"
    plot.unlink()
    assert run() == said and plot.read_bytes() == before

    def full(*anything: object) -> None:
        raise OSError(28, "No space left on device")

    plot.unlink()
    monkeypatch.setattr(draw, "save", full)
    done = CliRunner().invoke(main, ["run", "parity", *quick, "--eval-every", "10"])
    assert done.exit_code == 0 and "Next:" in done.stdout  # the run is complete all the same
    assert done.stderr == f"no plot: cannot write into {told['run']}: No space left on device\n"


def test_the_plot_of_several_seeds_lies_in_the_folder_of_the_first(tmp_path: Path) -> None:
    runs = several(tmp_path, base(), 3)
    assert draw.of_run(runs) == Path(runs[0].run) / "plot-3-seeds.png"
    assert not list(tmp_path.glob("*/plot.png"))


def test_nothing_is_drawn_by_way_of_pyplot(tmp_path: Path) -> None:
    run = finished(tmp_path, base()).run
    code = (
        "import sys; from lab.figures import draw; from lab.results.folder import load;"
        f"draw.of_run([load({run!r})]);"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr
