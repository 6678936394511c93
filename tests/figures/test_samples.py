"""Samples to learn: medians, and budgets that a run needed more than."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lab.config.experiment import change
from lab.figures import draw
from tests.figure_runs import base, finished, line, seeded


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
