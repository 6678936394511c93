"""Groups of runs that differ only in their seed, and their labels."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from lab.config import Experiment
from lab.config.experiment import change
from lab.results.groups import groups
from tests.figure_runs import base, finished, seeded


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


def test_evaluation_on_the_way_makes_no_difference(tmp_path: Path) -> None:
    """Two seeds that were evaluated differently are one group, unless training stops by it."""
    often = change(change(base(), "train.eval_every", "10"), "train.eval_rows", "8")
    seeds = [often, seeded(base(), 1)]
    (group,) = groups([finished(tmp_path, e) for e in seeds])
    assert group.label == "" and len(group.results) == 2
    faster = change(often, "train.lr", "0.5")
    assert [g.label for g in groups([finished(tmp_path, e) for e in (*seeds, faster)])] == [
        "lr=0.001", "lr=0.5"]  # fmt: skip
    stops = [
        change(e, "train.early_stop", "true")
        for e in (often, change(often, "train.eval_every", "20"))
    ]
    assert [g.label for g in groups([finished(tmp_path, e) for e in stops])] == [
        "eval_every=10", "eval_every=20"]  # fmt: skip
