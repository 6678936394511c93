"""Balancing experts over all micro-batches of a step, or over each one alone (2501.11873).

A load-balancing loss over a micro-batch of one domain makes every domain spread over all experts;
over the global batch, experts may divide the domains. The paper trains language models of 3.4 to 43
billion parameters and reports that perplexity falls by 0.185 as the balance batch grows from 2 to
512. How far its experts divide the domains is not known to us as a number.

Ours: three tasks in one vocabulary in the place of domains (tasks/mixture.py), each micro-batch of
one of them; model, budget, statistic and bar. The statistic is the mutual information of expert and
task (lab/analysis/analyses/experts.py), at most log2(3) = 1.58 bits, the mean over the layers,
under the global loss minus under the micro one. The mean, because which layer divides the tasks
varies from run to run.

Doubts. Experts of a model that has learned nothing may be divided too: the statistic is 0 unless
both arms are right on every task, on shares of its rows that differ by no more than TIE. An even
load may not be reached under the global loss, and one expert for everything would be no division:
the series has the shares of the experts. The tokens of the tasks differ, and a router that reads a
token knows its task: that gives both arms the same reason to divide, and the micro loss is what
keeps one of them from it. The weight of the loss decides too: at 0.1 nothing is divided in either
arm; 0.006 was chosen on seeds from 90 on for both arms alike, and so was the bar. Each arm has the
rate at which it learns best (rates-global-balance-cpu.json), which is 3e-3 under the global loss
and 2e-3 elsewhere; with 2e-3 in both arms trial seeds 91 and 92 have leads of 0.25 and 0.21. The
control shuffles the micro-batches of both arms, whose losses then nearly agree: if the global loss
did more than see other tasks, the difference would stay. That divided experts are better is not
shown; the loss of each task is in the series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import TYPE_CHECKING, Any, Literal

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.mixture import experiment as mixture
from lab.figures.ends import hue
from lab.figures.style import MARKERS
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

GLOBAL, MICRO = "global balance", "micro balance"
OVER: dict[str, Literal["global", "micro"]] = {GLOBAL: "global", MICRO: "micro"}
ROWS = 384  # on which experts are counted, of all tasks; and on which the loss of a task is taken
RIGHT, TIE = 0.8, 0.15  # least exact match on a task, and how far the arms may be apart


def claim(scale: Scale) -> Claim:
    """Bits that an expert tells of the task, balanced over a step minus over a micro-batch."""
    arms = {name: _arm(scale, over, "one_part") for name, over in OVER.items()}
    return Claim(
        name="global-balance",
        scale=scale,
        source="2501.11873",
        statement="Experts divide the tasks among them when their load is balanced over all"
        " micro-batches of a step, and not when over each micro-batch of one task.",
        paper="perplexity 0.185 lower as the balance batch grows from 2 to 512; experts by domain"
        " without a number known to us",
        our_choices="tasks in the place of domains, model, budget, statistic and its bar",
        arms=arms,
        statistic="mutual information of expert and task in bits, mean over layers, global minus"
        " micro balance; 0 unless both arms have learned every task equally well",
        measure=measure,
        threshold=0.1,
        control=Control(
            "every micro-batch has rows of all tasks",
            {name: _arm(scale, over, "mixed") for name, over in OVER.items()},
        ),
        treatment_arm=GLOBAL,
        precondition=unequal,
        axis="bits of the task in the expert, global minus micro",
        draw=draw,
    )


def _arm(scale: Scale, over: Any, rows: Any) -> Experiment:
    base = mixture(scale)
    model = replace(base.model, experts=8, balance_over=over)
    train = replace(base.train, micro_batches=rows, seed=20)
    if scale == "cpu":
        model = replace(model, aux_loss_weight=6e-3)
        # Found by `lab claim global-balance --rates`.
        lr = 3e-3 if (over, rows) == ("global", "one_part") else 2e-3
        train = replace(train, grad_accum=6, steps=600, lr=lr, eval_every=100)
    return replace(base, name="global-balance", model=model, train=train)


def experts(result: Result) -> dict[str, Any]:
    """Of a finished run: information, bits of each router; shares of the experts in the choices of
    each task, [layers][tasks][experts]; loss, nats a supervised token, and exact by task."""
    from lab.analysis.analyses.experts import analyze
    from lab.analysis.interventions import exact_and_loss
    from lab.analysis.subject import open_run

    load = analyze(open_run(result.run, rows=ROWS))
    options = range(len(load.routers[0].counts[0]))
    return {
        "information": [router.information for router in load.routers],
        "shares": [
            [[router.share(part, e) for e in options] for part in range(len(load.parts))]
            for router in load.routers
        ],
        "loss": {
            part: exact_and_loss(open_run(result.run, part, rows=ROWS))[1] for part in load.parts
        },
        "exact": {score.probe: score.exact for score in result.scores[1:]},
    }


def missing(arms: Mapping[str, Any]) -> str | None:
    """A sentence if, in one seed, an arm has not learned a task, or the other one better."""
    for task in arms[MICRO]["exact"]:
        right = {name: arms[name]["exact"][task] for name in OVER}
        for name, share in right.items():
            if share < RIGHT:
                return f"{name} is right on {share:.3f} of {task}, below {RIGHT}"
        if abs(right[GLOBAL] - right[MICRO]) > TIE:
            return f"on {task} the arms are right on {right[GLOBAL]:.3f} and {right[MICRO]:.3f}"
    return None


def unequal(series: Sequence[Mapping[str, Any]]) -> str | None:
    """What is missing in the first seed in which something is."""
    return next(filter(None, map(missing, series)), None)


def measure(results: Mapping[str, Result]) -> Measured:
    """Information, mean over layers, global minus micro balance; 0 if something is missing."""
    arms = {name: experts(result) for name, result in results.items()}
    bits = {name: mean(one["information"]) for name, one in arms.items()}
    return Measured(0.0 if missing(arms) else bits[GLOBAL] - bits[MICRO], arms)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Bits of the task in the expert, by layer, of the arms and of those of the control; below,
    which experts the tasks choose in the layer with most bits of the first seed."""
    axes = figure.subplot_mosaic([["bits", "bits"], [GLOBAL, MICRO]], height_ratios=(1.25, 1))
    ax = axes["bits"]
    sides = (("", record["series"]), ("\nshuffled", record["negative_control"]["series"]))
    names = []
    for at, (name, (word, series)) in enumerate((n, s) for s in sides for n in OVER):
        names.append(name + word)
        layers = len(series[0][name]["information"])
        for layer in range(layers):
            bits = [seed[name]["information"][layer] for seed in series]
            x = at + 0.5 * ((layer + 0.5) / layers - 0.5)
            style: dict[str, Any] = {"color": hue(layer + 1), "marker": MARKERS[layer], "ls": ""}
            ax.plot([x] * len(bits), bits, ms=4, alpha=0.6, mew=0, **style)
            ax.plot(x, median(bits), ms=8, mfc="none", mew=1.4, **style)
            if not at:
                ax.annotate(
                    f"layer {layer + 1}",
                    (x, median(bits)),
                    (8, 6),
                    color=hue(layer + 1),
                    textcoords="offset points",
                    fontsize="small",
                )
    ax.set_xticks(range(len(names)), names)
    ax.set(xlim=(-0.6, len(names) - 0.4), ylim=(-0.03, 1.2 * ax.get_ylim()[1]))
    ax.set_title("bits of the task in the choice of an expert", loc="left")
    first = record["series"][0]
    bits = first[GLOBAL]["information"]
    layer = bits.index(max(bits))
    darkest = max(map(max, first[GLOBAL]["shares"][layer]))
    for name in OVER:
        shares, own = first[name]["shares"][layer], axes[name]
        own.imshow(shares, cmap="Greys", vmin=0, vmax=darkest, aspect="auto")
        own.set_yticks(range(len(shares)), list(first[name]["exact"]))
        own.set_xticks(range(len(shares[0])), [str(1 + e) for e in range(len(shares[0]))])
        own.set_title(f"{name}: share of choices", loc="left")
        own.set(xlabel=f"expert of layer {layer + 1}, first seed")
