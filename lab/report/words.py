"""A report in words: what was asked, and what came of it, from the scores alone.

    solved    a seed whose exact match on a probe reaches train.threshold (1 unless changed)
    chance    free-running answers no better than the best fixed guess (Score.at_chance), where
              that guess is right more than once in a hundred
    carries   to the largest probed length up to which exact match, mean over seeds, is at least
              HOLDS at every probed length (0.9: our choice)

The first probe decides about the headline of a group: experiments ask first for what was trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.results.groups import Group, span
from lab.results.result import Score

HOLDS = 0.9


GUESS = 0.01  # a best guess below this is no measure of chance


LONG = 36  # letters of a label


@dataclass(frozen=True)
class Headline:
    """Of one group. kind: solved, partly, chance or not; headline: the same in a few words."""

    kind: str
    headline: str
    sentences: tuple[str, ...]


def figure(value: float | None) -> str:
    """A share with three digits, and more where 1.000 would be a lie."""
    if value is None:
        return "-"
    return f"{value:.3f}" if not 0.9995 <= value < 1 else f"{value:.5f}"


def names(found: Sequence[Group]) -> dict[str, str]:
    """What a report calls each group, by its label: the label, or a letter where one is long."""
    if all(len(group.label) <= LONG for group in found):
        return {group.label: group.label for group in found}
    return {group.label: _letter(number) for number, group in enumerate(found)}


def _letter(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    more, last = divmod(number, 26)
    return (_letter(more - 1) if more else "") + chr(ord("A") + last)


def verdict(group: Group) -> Headline:
    """What the scores of a group say."""
    first = [result.scores[0] for result in group.results]
    solved, seeds = _solved(group, first), len(first)
    says = (
        f"solved by {solved} of {seeds} seeds" if solved else f"not solved by any of {seeds} seeds"
    )
    if seeds == 1:
        says = "solved" if solved else "not solved"
    if solved:
        kind = "solved" if solved == seeds else "partly"
    else:
        kind = "chance" if _chance(first) else "not"
        says = "at chance" if kind == "chance" else says
    if len(group.results[0].scores) > 1:
        says += f" ({first[0].probe}, length {first[0].length})"
    labels = dict.fromkeys(score.probe for score in group.results[0].scores)
    sentences = [sentence for label in labels for sentence in _of_label(group, label)]
    return Headline(kind, says, tuple(sentences))


def _of_label(group: Group, label: str) -> list[str]:
    numbers = [i for i, score in enumerate(group.results[0].scores) if score.probe == label]
    by_length = {
        group.results[0].scores[i].length: [result.scores[i] for result in group.results]
        for i in numbers
    }
    if len(by_length) > 1:
        return [_reach(group, label, by_length)]
    return [_one(group, found) for found in by_length.values()]


def _one(group: Group, scores: Sequence[Score]) -> str:
    """A probe at one length: solved, at chance or between, in every seed."""
    where = f"{scores[0].probe} (length {scores[0].length})"
    exact, answer = _mean(scores, "exact"), _mean(scores, "answer")
    if _chance(scores):
        guess = figure(scores[0].chance)
        return f"{where}: answers stay at chance, {figure(answer)} right, {guess} by guessing."
    solved, seeds = _solved(group, scores), len(scores)
    says = f"exact match {figure(exact)}, answers right {figure(answer)}"
    if seeds > 1:
        each = ", ".join(figure(score.exact) for score in scores)
        says = f"{solved} of {seeds} seeds solve it; mean {says}; exact match of each seed {each}"
    return f"{where}: {says}, on {scores[0].n:,} rows."


def _reach(group: Group, label: str, by_length: dict[int, list[Score]]) -> str:
    """A probe at several lengths: how far it carries, beside the lengths of training."""
    lengths = sorted(by_length)
    mean = {length: _mean(by_length[length], "exact") for length in lengths}
    good = next((i for i, x in enumerate(lengths) if mean[x] < HOLDS), len(lengths))
    trained = f"trained at {span(group.lengths)}"
    ends = f"{figure(mean[lengths[-1]])} at length {lengths[-1]}"
    if not good:
        first = f"at length {lengths[0]} ({figure(mean[lengths[0]])})"
        return f"{label}: exact match is below {HOLDS} already {first}, and {ends} ({trained})."
    reach = lengths[good - 1]
    times = reach / max(group.lengths)
    beside = "the longest trained" if times == 1 else f"{times:.3g} times the longest trained"
    says = f"{label}: exact match stays at {HOLDS} or more up to length {reach}, {beside}"
    rest = "the longest probed" if good == len(lengths) else f"and is {ends}"
    return f"{says}, {rest} ({trained})."


def learned(group: Group, number: int) -> str:
    """Training rows to the first evaluation at which probe `number` was learned, for every seed;
    "> 102,400" is censored: not learned by then."""
    rows = [r.learned[number] for r in group.results if number < len(r.learned)]
    shown = [("> " if row["censored"] else "") + f"{row['rows']:,}" for row in rows]
    return ", ".join(shown) or "-"


def interval(scores: Sequence[Score], name: str) -> tuple[float, float]:
    """95%: BCa over seeds, or Wilson's over rows of a single seed. name: exact or answer."""
    from lab.stats import over_seeds

    found = over_seeds([getattr(score, name) for score in scores])
    prefix = "" if name == "exact" else "answer_"
    return found or (getattr(scores[0], f"{prefix}low"), getattr(scores[0], f"{prefix}high"))


def solved(group: Group, number: int) -> str:
    """Of probe `number`: "2 of 3"."""
    scores = [result.scores[number] for result in group.results]
    return f"{_solved(group, scores)} of {len(scores)}"


def _solved(group: Group, scores: Sequence[Score]) -> int:
    threshold = group.settings.get("train.threshold", 1.0)
    return sum(score.exact >= threshold for score in scores)


def _chance(scores: Sequence[Score]) -> bool:
    return scores[0].chance > GUESS and all(score.at_chance for score in scores)


def _mean(scores: Sequence[Score], name: str) -> float:
    return float(np.mean([getattr(score, name) for score in scores]))


def question(found: Sequence[Group]) -> str:
    """What the lab's own experiment of this name asks, or that it is somebody's own."""
    from lab import registry

    names = sorted({str(group.settings["name"]) for group in found})
    known = [name for name in names if name in registry.names("experiments")]
    asked = [
        (inspect.getdoc(registry.load("experiments", name)) or "").partition("\n\n")[0]
        for name in known
    ]
    if asked and len(known) == len(names):
        return " ".join(" ".join(text.split()) for text in asked)
    if len(names) > 1:
        return f"How do these runs compare on {', '.join(names)}?"
    return f"Can this model learn {', '.join(names)}, and how far does it carry?"


def facts(group: Group) -> dict[str, str]:
    """An experiment in words, a line each."""
    s = group.settings
    options = {k[5:]: v for k, v in s.items() if k.startswith("task.") and k[5:] != "name"}
    shown = [
        f"{k} = {v}" for k, v in options.items() if v not in (None, 0, False, "") and k != "split"
    ]
    steps = [result.steps for result in group.results]
    fresh = (
        "fresh rows" if s["train.examples"] is None else f"of {s['train.examples']:,} fixed rows"
    )
    rows = f"{s['train.batch']:,} {fresh}"
    took = f"{min(steps):,}" + (f" to {max(steps):,}" if max(steps) > min(steps) else "")
    return {
        "Task": ", ".join([str(s["task.name"]), *shown]),
        "Rows": _rows(s, any(x.valid_thought is not None for x in group.results[0].scores)),
        "Model": f"{s['model.layers']}, width {s['model.width']}, heads {s['model.heads']},"
        f" positions: {s['model.position']}",
        "Training": f"{took} steps of {rows} at length {span(group.lengths)};"
        f" {s['train.optimizer']}, learning rate {s['train.lr']:g}, {s['train.schedule']}",
        "Seeds": ", ".join(str(r.experiment["train"]["seed"]) for r in group.results),
        "Probes": "; ".join(_probes(s["probes"])),
    }


def _rows(s: dict[str, Any], thought: bool) -> str:
    says = "with chain of thought" if thought else "prompt and answer, as the task has no thought"
    says = says if s["cot"] else "the answer alone, no chain of thought"
    if s.get("prompt_repeats", 1) > 1:
        says += f"; the prompt is read {s['prompt_repeats']} times"
    if s.get("train.reveal"):
        says += f"; shares of the thought given away: {s['train.reveal']}"
    if s.get("train.cot_noise", "none") != "none":
        says += f"; {s['train.cot_noise']} noise in the training thoughts"
    return says


def _probes(probes: Sequence[dict[str, Any]]) -> list[str]:
    """Probes of one label and one change on a line: "test at 8,16,32 (split = test), 512 rows"."""
    found: dict[tuple[str, str, int], list[int]] = {}
    for probe in probes:
        change = ", ".join(f"{k} = {v}" for k, v in probe["change"].items())
        found.setdefault((probe["label"], change, probe["n"]), []).append(probe["length"])
    return [
        f"{label} at length{'s' * (len(lengths) > 1)} {span(lengths)}"
        + (f" ({change})" if change else "")
        + f", {n:,} rows"
        for (label, change, n), lengths in found.items()
    ]
