"""A report in words: what the experiment is and what its scores say.

    solved    seeds whose exact match on a probe reaches train.threshold (1 unless changed)
    chance    free-running answers no better than the best fixed guess (Score.at_chance), where
              that guess is right more than once in a hundred
    reach     the longest probed length that is still right, as lab.results.words defines it for the
              terminal too

The first probe decides the headline of a group: experiments put the probe of the trained lengths
first.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.results.groups import Group, span
from lab.results.lineage import ancestors
from lab.results.result import Score
from lab.results.steps import samples
from lab.results.words import generalization, generalization_in_words, share
from lab.verdicts.why import why

GUESS = 0.01  # a best guess below this is no measure of chance

LONG = 36  # letters of a label


@dataclass(frozen=True)
class Headline:
    """What the scores of a group say. kind: solved, partly, chance or not; headline: the same in a
    few words; sentences: one on every label of probes, or on every probe."""

    kind: str
    headline: str
    sentences: tuple[str, ...]


def title(grouped: Sequence[Group]) -> str:
    """The names of the experiments, and how many runs and settings: "parity: 2 runs"."""
    names = ", ".join(dict.fromkeys(str(group.settings["name"]) for group in grouped))
    runs = sum(len(group.results) for group in grouped)
    several = f", {len(grouped)} settings" if len(grouped) > 1 else ""
    return f"{names}: {runs} run{'s' if runs > 1 else ''}{several}"


def short_names(grouped: Sequence[Group]) -> dict[str, str]:
    """What a report calls each group, by its label: the label, or a letter where one is long."""
    if all(len(group.label) <= LONG for group in grouped):
        return {group.label: group.label for group in grouped}
    return {group.label: _letter(number) for number, group in enumerate(grouped)}


def _letter(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    more, last = divmod(number, 26)
    return (_letter(more - 1) if more else "") + chr(ord("A") + last)


def verdict(group: Group) -> Headline:
    """The headline of a group, by its first probe, and a sentence on each label of probes."""
    first = [result.scores[0] for result in group.results]
    solved, seeds = _solved(group, first), len(first)
    if seeds == 1:
        text = "solved" if solved else "not solved"
    elif solved:
        text = f"solved by {solved} of {seeds} seeds"
    else:
        text = f"not solved by any of {seeds} seeds"
    if solved:
        kind = "solved" if solved == seeds else "partly"
    elif _chance(first):
        kind, text = "chance", "at chance"
    else:
        kind = "not"
    if len(group.results[0].scores) > 1:
        text += f" ({first[0].probe}, length {first[0].length})"
    labels = dict.fromkeys(score.probe for score in group.results[0].scores)
    sentences = [sentence for label in labels for sentence in _of_label(group, label)]
    sentences += why(group.results)
    return Headline(kind, text, tuple(sentences))


def _of_label(group: Group, label: str) -> list[str]:
    """A sentence on the reach of a label with several lengths; else one on each of its probes."""
    numbers = [i for i, score in enumerate(group.results[0].scores) if score.probe == label]
    if len({group.results[0].scores[i].length for i in numbers}) > 1:
        return [generalization_in_words(generalization(group.results, label))]
    return [_one(group, [result.scores[i] for result in group.results]) for i in numbers]


def _one(group: Group, scores: Sequence[Score]) -> str:
    """A probe at one length: solved, at chance or between, in every seed."""
    where = f"{scores[0].probe} (length {scores[0].length})"
    exact, answer = (median([getattr(s, name) for s in scores]) for name in ("exact", "answer"))
    if _chance(scores):
        guess = f"{share(scores[0].chance)} for the best fixed guess"
        return f"{where}: answers stay at chance, {share(answer)} right against {guess}."
    solved, seeds = _solved(group, scores), len(scores)
    text = f"exact match {share(exact)}, answers right {share(answer)}"
    if seeds > 1:
        each = ", ".join(share(score.exact) for score in scores)
        text = f"{solved} of {seeds} seeds solve it; median {text}; exact match of each seed {each}"
    return f"{where}: {text}, on {scores[0].n:,} rows."


def learned(group: Group, number: int) -> str:
    """Training rows of every seed until probe `number` was first learned at an evaluation;
    "> 102,400" is censored: not learned by then."""
    rows = [r.learned[number] for r in group.results if number < len(r.learned)]
    shown = [("> " if row["censored"] else "") + f"{row['rows']:,}" for row in rows]
    return ", ".join(shown) or "-"


def interval(scores: Sequence[Score], name: str) -> tuple[float, float]:
    """Interval of one probe: of the median over seeds, or Wilson's over the rows of a single seed.
    name: exact or answer."""
    from lab.stats import over_seeds

    over = over_seeds([getattr(score, name) for score in scores])
    prefix = "" if name == "exact" else "answer_"
    wilson = getattr(scores[0], f"{prefix}low"), getattr(scores[0], f"{prefix}high")
    return over.interval if over else wilson


def intervals(grouped: Sequence[Group]) -> str:
    """What `interval` is for these groups, and how often it covers: "over seeds, all 3 seeds;
    covers the median with 75%, not a 95% interval"."""
    from lab.stats import ranks

    counts = sorted({len(group.results) for group in grouped})
    texts = [f"over seeds, {ranks(n)}" if n > 1 else "95% Wilson, over rows" for n in counts]
    return "; or ".join(texts)


def solved(group: Group, number: int) -> str:
    """How many seeds solved probe `number`: "2 of 3"."""
    scores = [result.scores[number] for result in group.results]
    return f"{_solved(group, scores)} of {len(scores)}"


def _solved(group: Group, scores: Sequence[Score]) -> int:
    threshold = group.settings.get("train.threshold", 1.0)
    return sum(score.exact >= threshold for score in scores)


def _chance(scores: Sequence[Score]) -> bool:
    return scores[0].chance > GUESS and all(score.at_chance for score in scores)


def question(grouped: Sequence[Group]) -> str:
    """The question of the lab's own experiments, from their docstrings, or a general one."""
    from lab import registry

    names = sorted({str(group.settings["name"]) for group in grouped})
    known = [name for name in names if name in registry.names("experiments")]
    questions = [
        (inspect.getdoc(registry.load("experiments", name)) or "").partition("\n\n")[0]
        for name in known
    ]
    if questions and len(known) == len(names):
        return " ".join(" ".join(text.split()) for text in questions)
    if len(names) > 1:
        return f"How do these runs compare on {', '.join(names)}?"
    generalizes = "how well does it generalize to longer or unseen inputs?"
    return f"Can this model learn {names[0]}, and {generalizes}"


def facts(group: Group) -> dict[str, str]:
    """The experiment of a group in words: task, rows, model, training, seeds and probes."""
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
    objective = s.get("train.objective", "next_token")
    if completions := samples(group.results[0]):
        rows += f", as prompts of {completions} completions each, by {objective},"
    elif objective == "distillation":
        rows += f", by distillation of attention (targets: {s.get('train.targets', 'own')}),"
    return {
        "Task": ", ".join([str(s["task.name"]), *shown]),
        "Rows": _rows(s, any(x.valid_thought is not None for x in group.results[0].scores)),
        "Model": f"{s['model.layers']}, width {s['model.width']}, heads {s['model.heads']},"
        f" positions: {s['model.position']}",
        "Training": f"{took} steps of {rows} at length {span(group.lengths)};"
        f" {s['train.optimizer']}, learning rate {s['train.lr']:g}, schedule {s['train.schedule']}"
        + _stages(group),
        "Seeds": ", ".join(str(r.experiment["train"]["seed"]) for r in group.results),
        "Probes": "; ".join(_probes(s["probes"])),
    }


def _stages(group: Group) -> str:
    """Where training started from, and what of the first weights it kept."""
    s, first = group.settings, group.results[0].experiment
    names = ancestors(first)
    text = f"; from the weights of {', which started from '.join(names)}" if names else ""
    if names and len(group.results) > 1 and not first["parent"]["fixed"]:
        text += " (each seed from a run of its own seed)"
    if names and s.get("train.optimizer_state") == "kept":
        text += ", with the state of its optimizer"
    if s.get("train.freeze"):
        text += f"; frozen: {', '.join(s['train.freeze'])}"
    if s.get("train.ema"):
        text += f"; probes score an average of the weights with decay {s['train.ema']:g}"
    return text


def _rows(s: dict[str, Any], thought: bool) -> str:
    text = "with chain of thought" if thought else "prompt and answer, as the task has no thought"
    text = text if s["cot"] else "the answer alone, no chain of thought"
    if s.get("prompt_repeats", 1) > 1:
        text += f"; the model reads the prompt {s['prompt_repeats']} times"
    if s.get("train.reveal"):
        text += f"; fractions of the solution given as a hint: {s['train.reveal']}"
        if s.get("train.reveal_of", "own") == "other":
            text += ", of another row in training"
    if s.get("train.cot_noise", "none") != "none":
        text += f"; {s['train.cot_noise']} noise in the training thoughts"
    return text


def _probes(probes: Sequence[dict[str, Any]]) -> list[str]:
    """Probes of one label and one change on a line: "test at 8,16,32 (split = test), 512 rows"."""
    merged: dict[tuple[str, str, int], list[int]] = {}
    for probe in probes:
        change = ", ".join(f"{k} = {v}" for k, v in probe["change"].items())
        merged.setdefault((probe["label"], change, probe["n"]), []).append(probe["length"])
    return [
        f"{label} at length{'s' * (len(lengths) > 1)} {span(lengths)}"
        + (f" ({change})" if change else "")
        + f", {n:,} rows"
        + " each" * (len(lengths) > 1)
        for (label, change, n), lengths in merged.items()
    ]
