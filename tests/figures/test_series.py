"""The numbers of figures as arrays, against run folders whose scores are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lab.figures import series
from lab.results.groups import Group, groups
from tests.figure_runs import LENGTHS, base, finished, right, several, wilson


def group(out: Path, n: int, **train: object) -> Group:
    (found,) = groups(several(out, base("longer", "hard", **train), n, way={10: 0.25, 20: 0.5}))
    return found


def test_by_length_has_a_series_for_each_label_shortest_first(tmp_path: Path) -> None:
    (runs,) = groups([finished(tmp_path, base("longer", "hard", lengths=LENGTHS[::-1]))])
    drawn = series.by_length(runs, "answer")
    assert [one.label for one in drawn] == ["longer", "hard"]
    for one in drawn:
        assert one.x.tolist() == list(LENGTHS)
        answers = [right(one.label, x, 0) for x in LENGTHS]
        assert one.values.tolist() == [[answer] for answer in answers]
        ends = np.stack([one.low, one.high], 1)
        np.testing.assert_allclose(ends, [wilson(answer) for answer in answers])


def test_bands_of_several_seeds_are_over_seeds(tmp_path: Path) -> None:
    (one, _) = series.by_length(group(tmp_path, 3), "answer")
    values = [[right("longer", x, seed) for seed in range(3)] for x in LENGTHS]
    assert one.values.tolist() == values
    for low, high, seeds in zip(one.low, one.high, values, strict=True):
        assert (low, high) == (min(seeds), max(seeds))


def test_evaluations_end_with_the_final_one_and_leave_branches_apart(tmp_path: Path) -> None:
    result = finished(tmp_path, base(eval_every=10), way={10: 0.25, 20: 0.5})
    branch = {**result.curves[0], "branch": 15, "rows": 150}
    result = dataclasses.replace(result, curves=[*result.curves, branch])
    assert [row["rows"] for row in series.evaluations(result)] == [100, 200, 400]
    assert [row["rows"] for row in series.evaluations(result, branches=True)] == [150]


def test_by_rows_keeps_to_evaluations_that_all_seeds_have(tmp_path: Path) -> None:
    runs = group(tmp_path, 2, eval_every=10)
    first, second = runs.results
    second = dataclasses.replace(second, steps=20, curves=second.curves[:1])
    (one, _) = series.by_rows(dataclasses.replace(runs, results=(first, second)), "answer")
    assert one.x.tolist() == [100, 200]
    assert one.values[0].tolist() == [0.25, 0.25]
    assert one.values[1].tolist() == [0.5, right("longer", 8, 1)]  # the second has ended there


def test_logged_steps_are_averaged_in_bins(tmp_path: Path) -> None:
    runs = group(tmp_path, 1, steps=2000, eval_every=10)
    one = series.logged(runs, "loss")  # 200 logged steps: 40 bins of 3, then 40 of 2
    assert len(one.x) == series.POINTS
    steps = np.arange(10, 2001, 10)
    bins = [*steps[:120].reshape(40, 3), *steps[120:].reshape(40, 2)]
    assert one.x.tolist() == pytest.approx([10 * some.mean() for some in bins])
    assert one.values[:, 0] == pytest.approx([np.mean(1 / some) for some in bins])
    assert np.isnan(one.low).all() and np.isnan(one.high).all()
