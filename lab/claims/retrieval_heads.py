"""Heads that look at what is copied, and what a model loses without them (2404.15574).

The paper finds that fewer than 5% of the heads of a language model have a high retrieval score, how
often a head looks at the very token that the model copies, and that without the best of them the
model does not find a fact that is hidden in its context, while as many heads at random hardly
matter. Models and texts there are large; its falls in accuracy are not known to us.

Ours: the task, copying, whose every answer token is retrieved; four layers of eight heads with
RoPE, because Hard-ALiBi decides beforehand which heads can look back; the number of heads that are
switched off; statistic and bar. The score is that of lab.analysis.analyses.copy_score, on held-out
rows of the longest training length. A head is off when its output is 0 at every token; accuracy is
the exact match, earlier tokens given.

Doubts. The fall would be an artefact if any heads at all were needed: as many of the others, in
thirty random sets, are switched off too, and their mean fall is subtracted. That mean is not near
0, unlike the paper's, because a small model has few heads: a set with the head below that tells a
token which one comes before it breaks the copy too. Such a head has a score near 0, so the heads of
the lowest scores would be no control. It would be an artefact if the model had not learned the
task: then there is little to lose, and the claim cannot hold. It would be one if the best heads
were the best by their place, as upper layers are nearer to the answer: the control takes the scores
of a model of the same form and another seed, so its sets have their place and are not the model's
own. Five such models are asked and the mean counts, because one set of four may hit what this model
needs: in the first record one of six did (lab/claims/records/LOG.md). The random sets are of the
other heads alone, which makes them weaker than sets of all heads. Four of 32 heads are more than
the paper's share, and one task is not a language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.copy import experiment as copy
from lab.figures.ends import hue, median_line
from lab.figures.style import MARKERS
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

OWN = "copy"
SCORED = tuple(f"heads by score, {i}" for i in range(1, 6))
COUNTED: dict[Scale, int] = {"cpu": 4, "gpu": 8}  # heads off, of the statistic
OFF = (1, 2, 3, 4, 6, 8)  # numbers of heads in the figure
KINDS = {"top": "best scores", "random": "others at random"}
DRAWS = 30
ROWS = 256


def claim(scale: Scale) -> Claim:
    """How much more a model loses without its best heads than without others."""
    counted = COUNTED[scale]
    arm = _arm(scale)
    return Claim(
        name="retrieval-heads",
        scale=scale,
        source="2404.15574",
        statement="Without the few heads that look at what is copied a model no longer copies;"
        " without as many others it loses less.",
        paper="fewer than 5% of the heads; without them a hidden fact is not found, random ones"
        " hardly matter; the falls are not known to us",
        our_choices="task, model, number of heads, random sets of the other heads, statistic and"
        f" its bar{REVISED}",
        # One run: the scores are the model's own. The control takes those of five others.
        arms={OWN: arm, **dict.fromkeys(SCORED, arm)},
        statistic=f"fall of exact match without the {counted} heads of the best copy score, minus"
        " the mean fall without as many others",
        measure=measure,
        threshold=0.3,
        control=Control(
            "heads chosen by the scores of models of other seeds, mean of five",
            {name: with_disjoint_seeds(arm, i) for i, name in enumerate(SCORED)},
        ),
        treatment_arm=OWN,
        axis="fall without the best heads minus without others",
        draw=draw,
    )


def _arm(scale: Scale) -> Experiment:
    base = copy(scale, position="rope")
    model, train = base.model, replace(base.train, seed=30)
    if scale == "cpu":
        model, train = replace(model, layers="attention*4"), replace(train, steps=800, lr=1.7e-3)
    return replace(base, name="retrieval-heads", model=model, train=train, probes=base.probes[:1])


def measure(results: Mapping[str, Result]) -> Measured:
    """The difference of the falls, the mean over the models whose scores choose the heads; the
    series has, for each of these, every head's score and the falls by the number of heads off."""
    by = {results[name].run: results[name] for name in SCORED}
    found = [falls_of(results[OWN], one) for one in by.values()]
    falls = [one["falls"][one["counted"]] for one in found]
    return Measured(mean(fall["top"] - fall["random"] for fall in falls), {"chosen_by": found})


def falls_of(result: Result, by: Result) -> dict[str, Any]:
    """scores: of the heads of the run `by`, layer by layer (None: no row of it counts). falls: of
    exact match without heads of `result`, chosen by those scores, by number and kind of set."""
    from lab.analysis.analyses import copy_score
    from lab.analysis.interventions import ablate
    from lab.analysis.subject import open_run

    subject = open_run(result.run, rows=ROWS)
    scores = copy_score.analyze(open_run(by.run, rows=ROWS)).scores
    seed = result.experiment["train"]["seed"]
    counted = COUNTED["cpu" if len(scores) <= 32 else "gpu"]
    falls: dict[str, dict[str, float]] = {}
    for number in sorted({*OFF, counted}):
        found = ablate(subject, scores, number, DRAWS, seed)
        intact, _ = found.intact
        kinds = {
            "top": [found.without_top] if found.without_top else [],
            "random": found.without_random,
        }
        # Without a score no head is above another, and nothing is lost by it.
        falls[str(number)] = {
            kind: intact - mean(exact for exact, _ in pairs) if pairs else 0.0
            for kind, pairs in kinds.items()
        }
    return {
        "scores": [score and score[0] for score in scores.values()],
        "counted": str(counted),
        "falls": falls,
    }


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """The copy score of every head, best first, and what is lost without some of them."""
    left, right = figure.subplots(1, 2, width_ratios=(2, 3), sharey=True)
    series = [seed["chosen_by"][0] for seed in record["series"]]
    for seed in series:
        best = sorted((score or 0.0 for score in seed["scores"]), reverse=True)
        left.plot(range(1, len(best) + 1), best, color=hue(0), alpha=0.5, marker=MARKERS[0])
    for number, (kind, label) in enumerate(KINDS.items()):
        points: dict[float, list[float]] = {}
        for seed in series:
            for heads, fall in seed["falls"].items():
                points.setdefault(int(heads), []).append(fall[kind])
        median_line(right, points, label, number)
    left.set_title("copy score", loc="left")
    left.set(xlabel="heads, best first", ylim=(-0.06, 1.06))
    right.set_title("fall of exact match without heads", loc="left")
    right.set(xlabel="heads switched off", xticks=sorted(points))
