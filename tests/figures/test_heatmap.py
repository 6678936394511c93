"""Heat maps: cells are medians over seeds."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from lab.config.experiment import change
from lab.figures import draw
from tests.figure_runs import LENGTHS, base, finished, right, several


def test_heatmap_cells_are_medians_over_seeds(tmp_path: Path) -> None:
    runs, cells = [], {}
    for row, top in ((2, 12), (0, 4), (1, 8)):
        e = change(base("longer", "hard"), "train.lengths", f"2,{top}")

        def accuracy(label: str, length: int, seed: int, top: int = top) -> float:
            return right(label, length, seed) * top / 12

        runs += several(tmp_path, e, accuracy=accuracy)
        for label, length in itertools.product(("longer", "hard"), LENGTHS):
            values = [accuracy(label, length, seed) for seed in range(3)]
            cells[label, row, length] = np.median(values)
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
    # of tests of 8, 12 and 20: none within 4, one within 8, two within 12; no values at 16, no mark
    assert edges == {(0.5, 1.5): 0.5, (1.5, 2.5): 1.5}
