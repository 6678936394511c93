"""The figure of a run by reinforcement, and the sentence on its completions, against their log."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.config import Parent
from lab.figures import choose, make_figure, of_report
from lab.figures.reinforcement import PANELS
from lab.figures.series import since_parent
from lab.results.groups import groups
from lab.results.result import Result
from lab.results.steps import ends, largest_pass
from lab.verdicts.why import why
from tests.figure_runs import base, finished, line, logged_value, reinforced


def test_every_panel_shows_what_was_logged(tmp_path: Path) -> None:
    results = [reinforced(tmp_path, seed) for seed in (0, 1)]
    assert choose(results) == "reinforcement" and of_report(results) == ["reinforcement"]
    figure = make_figure(results)
    for panel, names in enumerate([("pass@1", "pass@4"), *((name,) for name in PANELS)]):
        for name in names:
            x, y = line(figure, f"{name} of ", panel)
            assert x == [10 * s for s in range(1, 41)]
            middle = [
                np.median([logged_value(name, s, seed) for seed in (0, 1)]) for s in range(1, 41)
            ]
            assert y == pytest.approx(middle)
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.texts]
    assert told == ["Pass@1 of samples", "Pass@4 of samples", "right answers, greedy, held out"]


def test_the_accuracy_begins_at_that_of_the_parent(tmp_path: Path) -> None:
    """Its own where its run is there, on the same probe, and the child started from its end."""
    parent = base("held out", lengths=(8, 16))
    finished(tmp_path, parent, lambda *_: 0.3, whole=True)
    child = replace(parent, probes=parent.probes[1:], parent=Parent(parent))
    child = replace(child, train=replace(child.train, objective="grpo", samples=6))
    rows = child.train.steps * child.train.batch
    result = finished(tmp_path, child, lambda *_: 0.9, {10: 0.5}, whole=True)

    def drawn(result: Result) -> tuple[list[float], list[float]]:
        (group,) = groups([result])
        series = since_parent(group, "answer")
        return series.x.tolist(), series.values[:, 0].tolist()

    assert drawn(result) == ([0, 10 * child.train.batch, rows], [0.3, 0.5, 0.9])
    other = replace(child, probes=(replace(child.probes[0], n=7),))
    assert drawn(finished(tmp_path, other, lambda *_: 0.9, whole=True)) == ([rows], [0.9])
    midway = replace(parent, train=replace(parent.train, keep_steps=(1,)))
    finished(tmp_path, midway, lambda *_: 0.3, whole=True)
    early = replace(child, parent=Parent(midway, "step-1"))
    assert drawn(finished(tmp_path, early, lambda *_: 0.9, whole=True)) == ([rows], [0.9])
    shutil.rmtree(tmp_path / parent.slug)
    assert drawn(result)[0] == [10 * child.train.batch, rows]


def test_several_settings_are_several_lines(tmp_path: Path) -> None:
    figure = make_figure([reinforced(tmp_path), reinforced(tmp_path, kl=0.1)], "reinforcement")
    labels = [x.get_label() for x in figure.axes[1].lines]
    assert len(labels) == 2 and len({x.get_marker() for x in figure.axes[1].lines}) == 2


def test_other_runs_are_refused(tmp_path: Path) -> None:
    plain = finished(tmp_path, base(lengths=(8,)))
    assert largest_pass(plain) is None and ends([plain], "reward") is None
    with pytest.raises(ValueError, match="trained on the rows of its task"):
        make_figure([plain], "reinforcement")
    with pytest.raises(ValueError, match="always shows reward"):
        make_figure([reinforced(tmp_path)], "reinforcement", "exact")
    assert choose([plain, reinforced(tmp_path)]) != "reinforcement"


def test_the_sentence_has_the_first_and_the_last_tenth(tmp_path: Path) -> None:
    results = [reinforced(tmp_path, seed) for seed in (0, 1)]
    first, last = (np.mean(part) for part in (range(1, 5), range(37, 41)))
    told = why(results)[0]
    for name, text in (("reward", "reward"), ("pass@4", "Pass@4"), ("written", "tokens")):
        low, high = (
            np.mean([logged_value(name, s, seed) for seed in (0, 1)]) for s in (first, last)
        )
        assert f"{text} {low:.3g} to {high:.3g}" in told
    assert why([finished(tmp_path, base(lengths=(8,)))])[0].startswith("No curve")
