"""How much of the lead of a new optimizer is left when its rival is tuned too (2509.02046).

Fantastic Pretraining Optimizers tunes every optimizer by coordinate descent and compares them at
the end of the decay only: the gains of new ones shrink when every rival is tuned. Matrix optimizers
lead by 1.4 times in steps at 100 million parameters and by 1.1 times at 1.2 billion. At 130 million
parameters and one Chinchilla budget: AdamW 3.529, Muon 3.464, SOAP 3.483 nats. 2409.11321 (SOAP)
reports at least 40% fewer steps than AdamW, 2407.07972 that Adam, Adafactor, Lion and Signum are
alike and SGD is far behind.

Ours: bigram text (tasks/bigram.py), whose best loss is known, so that the excess loss of a run is
measured without the noise of drawn tokens: the mean divergence of the model from the table. Every
optimizer is run at the default rate of its library or its authors, and at the rate and weight decay
that a coordinate descent found, with the same budget, schedule and batches. The lead of an
optimizer is log2 of AdamW's excess loss over its own. The statistic is how much of its lead tuning
takes away, the smaller one of Muon and SOAP.

The descent, two passes over five rates and two weight decays, is the same for each, on seed 90,
which no record uses. RATES are the default one, about a third of it, and 3, 10 and 30 times it; for
SGD 0.1, 0.03, 0.3, 1 and 3. Muon keeps its default rate:

    lab sweep bigram --steps 300 --batch 16 --length 32 --schedule linear --warmup 30
        --eval-every 0 --seed 90 --optimizer NAME --grid lr=RATES --grid weight_decay=0,0.1
        --descend 2

SGD is an arm beside the others, with the same search: the paper's gap between it and AdamW is not
part of the verdict, because on this task it hardly is one (seed 90: 0.021 against 0.018 nats).

Default rates: AdamW 1e-3 (torch), SOAP 3e-3 (its authors' code and pytorch_optimizer), Muon 0.02
with updates scaled by sqrt(max(1, rows / columns)) (its author's code), which is 0.0125 where they
are scaled to the size of AdamW's (lab/training/optimizers.py), for the tables and vectors too. SGD
has no default rate that anybody uses, and is only run tuned.

Doubts. What is taken away depends on the defaults, which are of other models and larger budgets:
the claim is about what such a comparison seems to show. One model and one budget say nothing about
how leads change with size. Betas, warm-up and schedule are those of the lab and not tuned. `lab
claim optimizers --rates` says nothing here, as it compares the exact match of drawn tokens, which
is 0.52 at every rate: what tunes the arms is the descent, and the default rates are those of their
authors on purpose. The grid is coarse: an optimizer whose best rate lies between two of it loses by
that, each one as likely. A lead that is negative when tuned counts as taken away in full: the
figure shows both. Loss on tokens drawn would be noise of the size of these excesses: the divergence
from the table has none but that of the contexts. The control puts default rates in the place of the
tuned ones, with other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log2
from typing import TYPE_CHECKING, Any, Literal

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.bigram import experiment as bigram
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Name = Literal["adamw", "muon", "soap", "sgd"]
RIVALS: tuple[Name, ...] = ("muon", "soap")
WORDS = {"adamw": "AdamW", "muon": "Muon", "soap": "SOAP", "sgd": "SGD"}
DEFAULT: dict[Name, float] = {"adamw": 1e-3, "muon": 1.25e-2, "soap": 3e-3}
# Rate and weight decay that the descent found.
TUNED: dict[Name, tuple[float, float]] = {
    "adamw": (1e-2, 0.0),
    "muon": (1.25e-2, 0.0),
    "soap": (1e-2, 0.0),
    "sgd": (0.1, 0.0),
}
SEEMS = 0.5  # lead at default rates from which there is something to take away, log2
ROWS = 256
TICKS = (0.005, 0.01, 0.02, 0.04, 0.08)  # of the figure, nats a token


def claim(scale: Scale) -> Claim:
    """Lead of Muon and SOAP over AdamW at default rates, minus their lead when all are tuned."""
    arms = {label(name, "default"): _arm(scale, name, rate, 0.0) for name, rate in DEFAULT.items()}
    arms |= {label(name, "tuned"): _arm(scale, name, *own) for name, own in TUNED.items()}
    return Claim(
        name="optimizers",
        scale=scale,
        source="2509.02046",
        statement="Muon and SOAP lead AdamW by less when all are tuned than at default rates.",
        paper="tuned leads of 1.4 to 1.1 times in steps, from small to large models; at 130 million"
        " parameters 3.529 (AdamW), 3.464 (Muon), 3.483 (SOAP)",
        our_choices="task, model, budget, the excess loss in the place of steps, what a default"
        " rate is, grid of the search, statistic and its bar",
        arms=arms,
        statistic="log2 of AdamW's excess loss over that of Muon or SOAP, at default rates minus"
        " tuned, the smaller of the two; 0 unless both lead at default rates",
        measure=measure,
        threshold=0.25,
        control=Control(
            "default rates in the place of tuned ones",
            {
                label(name, "tuned"): with_disjoint_seeds(arms[label(name, "default")])
                for name in DEFAULT
            },
        ),
        treatment_arm=label("adamw", "tuned"),
        precondition=no_lead,
        axis="lead over AdamW that tuning takes away, log2",
        draw=draw,
    )


def label(name: str, kind: str) -> str:
    """The name of an arm."""
    return f"{WORDS[name]}, {kind} rate"


def _arm(scale: Scale, name: Name, rate: float, weight_decay: float) -> Experiment:
    base = bigram(scale, length=32) if scale == "cpu" else bigram(scale)
    train = replace(
        base.train,
        optimizer=name,
        lr=rate,
        weight_decay=weight_decay,
        schedule="linear",
        eval_every=0,
        eval_rows=0,
        eval_answers=True,
        seed=20,
    )
    if scale == "cpu":
        train = replace(train, steps=300, batch=16, warmup=30)
    return replace(base, name="optimizers", train=train, probes=base.probes[:1])


def excess(result: Result) -> float:
    """The divergence of the model of a finished run from the table, KL(table | model), mean over
    the tokens of held-out rows: its loss minus the least one, nats a token."""
    import numpy as np
    import torch

    from lab.analysis.held_out import whole_rows
    from tasks.bigram import Bigram

    subject = whole_rows(result.run, ROWS)
    task = subject.task
    assert isinstance(task, Bigram)
    tokens = subject.batch.tokens
    p = np.full((*tokens[:, 1:].shape, task.symbols), 1 / task.symbols)  # of the first token
    p[:, 1:] = task.table()[tokens[:, 1:-1]]
    with torch.inference_mode():
        log_q = subject.model(torch.from_numpy(tokens[:, :-1])).double().log_softmax(-1)
    apart = p * (np.log(np.where(p > 0, p, 1)) - log_q[..., : task.symbols].numpy())
    return float(apart.sum(-1).mean())


def lead(excesses: Mapping[str, float], name: str, kind: str) -> float:
    """log2 of AdamW's excess loss over that of an optimizer."""
    return log2(excesses[label("adamw", kind)] / excesses[label(name, kind)])


def missing(excesses: Mapping[str, float]) -> str | None:
    """A sentence if, in one seed, an optimizer does not lead at default rates."""
    for name in RIVALS:
        own = lead(excesses, name, "default")
        if own < SEEMS:
            return f"at default rates {WORDS[name]} leads AdamW by {own:.3f}, below {SEEMS}"
    return None


def no_lead(series: Sequence[Mapping[str, Any]]) -> str | None:
    """What is missing in the first seed in which something is."""
    return next(filter(None, (missing(seed["excess"]) for seed in series)), None)


def measure(results: Mapping[str, Result]) -> Measured:
    """The lead that tuning takes away, of the optimizer that loses less; the series has the excess
    loss of every arm."""
    excesses = {name: excess(result) for name, result in results.items()}
    taken = min(lead(excesses, n, "default") - lead(excesses, n, "tuned") for n in RIVALS)
    return Measured(0.0 if missing(excesses) else taken, {"excess": excesses})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """The excess loss of every optimizer at its default rate and at the tuned one."""
    ax = figure.subplots()
    for number, name in enumerate(WORDS):
        points: dict[float, list[float]] = {
            at: [seed["excess"][label(name, kind)] for seed in record["series"]]
            for at, kind in enumerate(("default", "tuned"))
            if label(name, kind) in record["arms"]
        }
        median_line(ax, points, WORDS[name], number)
    ax.set_yscale("log", base=2)
    ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    ax.minorticks_off()
    ax.set_xticks([0, 1], ["default rates", "tuned"])
    every = [nats for seed in record["series"] for nats in seed["excess"].values()]
    ax.set(xlim=(-0.15, 1.15), ylim=(0.7 * min(every), 1.3 * max(every)))
    ax.set_title("loss above the least one, nats a token", loc="left")
