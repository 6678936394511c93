"""Accuracy against length and curves of training: what is drawn equals what the results hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lab.config.experiment import change
from lab.figures import draw, style
from tests.figure_runs import LENGTHS, band, base, finished, line, right, several, wilson


@pytest.mark.parametrize("metric", ["answer", "exact"])
def test_length_draws_medians_and_intervals_over_seeds(tmp_path: Path, metric: str) -> None:
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
            assert y == pytest.approx([np.median(values[x]) for x in LENGTHS])
            drawn = band(figure, f"{group}|{label}")
            for length in LENGTHS:
                assert drawn[length] == pytest.approx((min(values[length]), max(values[length])))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:4] == ["lr=0.001", "lr=0.1", "longer", "hard"]
    assert " ".join(figure.legends[0].get_title().get_text().split()) == (
        "Line: median, dots: seeds. Band: all 3 seeds; covers the median with 75%, not a 95%"
        " interval."
    )
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
    assert y == pytest.approx([np.median(values) for values in losses.values()])
    assert band(figure, "loss of ")[200] == pytest.approx((min(losses[20]), max(losses[20])))
    for label in ("longer", "hard"):
        x, y = line(figure, f"|{label}", 1)
        assert x == [100, 200, 300, 400]
        end = np.median([right(label, 8, seed) for seed in range(3)])  # of its first probe
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
    figure = draw.make_figure(
        [dataclasses.replace(result, curves=[*result.curves, branch])], "curve"
    )
    assert line(figure, "|longer", 1)[0] == [100, 200, 400]
    assert line(figure, "branches of ", 1) == ([150], [0.25])
