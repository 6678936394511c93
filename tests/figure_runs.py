"""Run folders as finished runs leave them, without training, and readers of their figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lab.config import Experiment, Probe
from lab.experiments.parity import experiment
from lab.results.folder import Folder, load
from lab.results.result import Result, Score

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
    out: Path,
    e: Experiment,
    accuracy: Accuracy = right,
    way: dict[int, float] | None = None,
    whole: bool = False,
) -> Result:
    """The result of a finished run, without training, and its folder with metrics.jsonl, which
    figures read. way: answer and exact match of every probe at evaluations on the way, by step.
    whole: the folder has config.json and result.json too, and the result is read from it."""
    folder, seed, train = Folder(out, e), e.train.seed, e.train
    folder.path.mkdir(parents=True, exist_ok=True)
    log = []
    for step in range(10, train.steps + 1, 10):
        loss, exact = 1 / (step + seed), step / 100
        log.append({"step": step, "rows": step * train.batch, "loss": loss, "exact": exact})
    curves = []
    for step, value in (way or {}).items():
        scores = [vars(score(p.label, p.length, value, value)) for p in e.probes]
        curves.append({"step": step, "rows": step * train.batch, "scores": scores})
    lines = [json.dumps(row) + "\n" for row in log + curves]
    folder.metrics.write_text("".join(lines))
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
    if not whole:
        return result
    folder.open()
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


TOLD = ("reward", "pass@1", "pass@4", "idle", "entropy", "written")


def logged_value(name: str, step: int, seed: int) -> float:
    return (TOLD.index(name) + 1) * step / 100 + seed / 10


def reinforced(out: Path, seed: int = 0, kl: float = 0.0) -> Result:
    """A run of 40 steps, 10 prompts each, whose log has numbers of every step. Of 6 completions
    Pass@4 is the largest."""
    e = seeded(base("held out", lengths=(8,)), seed)
    e = dataclasses.replace(
        e, train=dataclasses.replace(e.train, objective="grpo", samples=6, kl=kl)
    )
    result = finished(out, e)
    rows = [
        {"step": s, "rows": 10 * s, "loss": 0.0, "exact": 0.5}
        | {name: logged_value(name, s, seed) for name in TOLD}
        for s in range(1, 41)
    ]
    (Path(result.run) / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return result
