"""Turing Programs on longer tapes and numbers than trained on (2407.03310).

The paper trains on up to 50 digits and reports 98% at 100 digits with Hard-ALiBi, 97% for n x 1 and
n x 3 multiplication; it has random machines too (Sec. 5.3). All from secondary sources; its figures
for machines and for other positions, its model, optimizer and budget are not known to us. Our
choice: the form of the tapes (tasks/_program.py), every model and budget, which positions are
compared, and the statistic.

The verdict of the gpu scale is about addition; that of the cpu scale about a random machine of 26
symbols and one state, four steps of it, on tapes of 4 to 12 cells, because addition on the few
digits that a CPU has time for decides nothing: all positions are right on them and wrong on the
next length (lab/claims/records/LOG.md). Half of the heads of Hard-ALiBi are banded.

    value = the least, over the arms with another position, of
        accuracy of Hard-ALiBi at 1.5x, minus that of the arm there
        accuracy of the arm at 1x, minus its own at 1.5x
    and of the lead over the arm without a scratchpad at 1.5x

so every other position must have learned its own lengths, and lost them, for the claim to hold.
1x is the largest trained length; accuracy is the whole answer, free-running. The probes go on to 2x
and, at cpu scale, to 3x and 4x.

The control removes the windows: Hard-ALiBi whose heads see all tokens is attention without
positions.

Beside the verdict, the cpu scale trains Hard-ALiBi on addition and multiplication (n x 1) of 1 to 4
digits, in base 10 and in base 16. Do they fail because their ten digits make the n-grams of a tape
repeat, which Hard-ALiBi copies by? Then a larger base would carry further. The series and the
figure have where the first wrong token of their thoughts is, in the median over the rows
(lab/claims/_first_wrong.py). Tape 1 begins with the digits of the first number, the last of them,
the one under the head, as a letter: at most token 4 in training. Thoughts of more digits that go
wrong first at token 4 of tape 1 have taken the head for a place, and have not looked for the end of
the number; wrong at a later token of the tape they have copied the number and lost the rest.

Doubts. The lead would be an artefact if the other positions had too few steps or a wrong rate. Each
of them has to be right at 1x first, as what it loses from there on bounds the statistic, and the
record has its curve; rates-turing-length-cpu.json beside it has its rates. It would be one if the
probe could be passed without looking anything up: every row of 1.5x is longer than all rows of
training, and held out. It would be narrow if this machine suited Hard-ALiBi alone, and so it is:
one machine, whose 26 symbols were chosen because few n-grams repeat on such tapes. The claim
ngram-length says what fewer symbols cost, addition and multiplication beside the verdict what other
programs do, and the probes at 3x and 4x how far even this goes. The arm without a scratchpad has
the same rows but fewer tokens to learn from; its accuracy at 1x says whether its loss is one of
length or of learning, and nothing here excludes that more rows would teach it. Four steps of a
machine of one state change few cells, so it may need no thought for them: in the record at cpu
scale it carries nearly as far, and the claim fails for it. The control is the arm without positions
under other seeds, so it fails when that arm does: it shows that the bands matter, and not which of
their widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lab.claims._first_wrong import first_wrong
from lab.claims._scores import curves, score, trained
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.config.model import Position
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured, with_disjoint_seeds
from tasks import Task
from tasks.addition import Addition
from tasks.multiplication import Multiplication
from tasks.sgd import Sgd
from tasks.turing_machine import TuringMachine

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

OWN = "hard_alibi"
BARE = "no scratchpad"
POSITIONS = ("rope", "alibi", "none")
NAMES = {
    OWN: "Hard-ALiBi",
    "rope": "RoPE",
    "alibi": "ALiBi",
    "none": "no positions",
    BARE: BARE,
}
LABEL = "held out"
MAIN: dict[Scale, Task] = {
    "cpu": TuringMachine(states=1, symbols=26, steps=4),
    "gpu": Addition(),
}
BESIDE: dict[Scale, dict[str, Task]] = {
    "cpu": {
        "addition, base 10": Addition(),
        "addition, base 16": Addition(base=16),
        "multiplication, base 10": Multiplication(),
        "multiplication, base 16": Multiplication(base=16),
    },
    "gpu": {
        f"{program}, {position}": task
        for program, task in (
            ("multiplication", Multiplication()),
            ("sgd", Sgd()),
            ("turing machine", TuringMachine()),
        )
        for position in (OWN, "rope")
    },
}


def claim(scale: Scale) -> Claim:
    """The lead of Hard-ALiBi at 1.5 times the largest training length."""
    arms = {name: _arm(scale, MAIN[scale], name) for name in (OWN, *POSITIONS, BARE)}
    for name, task in BESIDE[scale].items():
        arms[name] = _arm(scale, task, "rope" if name.endswith("rope") else OWN)
    main = "addition carries to 1.5 times the trained digits"
    if scale == "cpu":
        main = "a random machine is run on tapes 1.5 times as long as those of training"
    return Claim(
        name="turing-length",
        scale=scale,
        source="2407.03310",
        statement=f"With a Turing Program for a scratchpad, {main} under Hard-ALiBi, and not under"
        " RoPE, ALiBi, no positions, or without the scratchpad.",
        paper="trained on up to 50 digits, 98% right at 100 digits with Hard-ALiBi (as told by"
        " others); the figures of machines and of other positions are not known to us",
        our_choices="statistic and threshold, tape format, model and budget"
        + (
            "; up to 50 digits"
            if scale == "gpu"
            else f"; a machine of 26 symbols and 1 state, 4 steps, 4 to 12 cells{REVISED}"
        ),
        arms=arms,
        statistic="lead of Hard-ALiBi in accuracy at 1.5x over each other arm, or what another"
        " position loses from 1x to 1.5x if that is less",
        measure=measure,
        threshold=0.5,
        control=Control("the band opened: no positions", {OWN: with_disjoint_seeds(arms["none"])}),
        treatment_arm=OWN,
        axis="lead of Hard-ALiBi at 1.5x",
        draw=draw,
    )


def _arm(scale: Scale, task: Task, name: str) -> Experiment:
    cot, position = name != BARE, cast(Position, OWN if name == BARE else name)
    arm = _cpu(task, position) if scale == "cpu" else _gpu(task, position)
    return replace(arm, cot=cot)


def _cpu(task: Task, position: Position) -> Experiment:
    machine = isinstance(task, TuringMachine)
    least, most, steps, lr = (4, 12, 1000, 1.5e-2) if machine else (1, 4, 500, 5e-3)
    if isinstance(task, Multiplication):
        steps = 700  # it has the larger table to learn: three digits, not two and a carry
    far = over_lengths(LABEL, (most * 3, most * 4), 128, split="test") if machine else ()
    return Experiment(
        name="turing-length",
        task=task,
        cot=True,
        model=ModelConfig(
            layers="attention*3", width=128, heads=8, position=position, qk_norm=True
        ),
        train=TrainConfig(
            steps=steps,
            batch=64,
            lengths=tuple(range(least, most + 1)),
            optimizer="muon",
            lr=lr,
            warmup=50,
            eval_every=steps // 8,
            eval_rows=128,
            eval_answers=False,
            seed=20,
        ),
        probes=_probes(most, 256) + far,
    )


def _gpu(task: Task, position: Position) -> Experiment:
    # Samples of SGD take five tokens each, twice for every step: fewer of them.
    most = 24 if isinstance(task, Sgd) else 50
    least = 1 if isinstance(task, Addition) else 2  # shortest length with held-out inputs
    return Experiment(
        name="turing-length",
        task=task,
        cot=True,
        model=ModelConfig(layers="attention*6", width=512, heads=16, position=position),
        train=TrainConfig(
            steps=20_000,
            batch=16,
            lengths=tuple(range(least, most + 1)),
            lr=5e-4,
            warmup=500,
            precision="bf16",
            eval_every=2000,
            eval_rows=128,
            eval_answers=False,
        ),
        probes=_probes(most, 128),
    )


def _probes(most: int, n: int) -> tuple[Probe, ...]:
    return over_lengths(LABEL, (most, most * 3 // 2, most * 2), n, split="test")


def measure(results: Mapping[str, Result]) -> Measured:
    """The lead of Hard-ALiBi, at most what another position has lost; and where thoughts go wrong
    first, for each length of the arms under Hard-ALiBi that have one."""
    near = trained(results[OWN])
    far = near * 3 // 2

    def right(name: str, length: int) -> float:
        return score(results[name], LABEL, length).answer

    lead = {name: right(OWN, far) - right(name, far) for name in (*POSITIONS, BARE)}
    lost = {name: right(name, near) - right(name, far) for name in POSITIONS}
    wrong = {
        name: [[s.length, *at] for s in result.scores if (at := first_wrong(result, s))]
        for name, result in results.items()
        if result.experiment["model"]["position"] == OWN and result.experiment["cot"]
    }
    series = {"lead": lead, "lost": lost, "near": near, "far": far, "first_wrong": wrong}
    return Measured(min(*lead.values(), *lost.values()), series)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy against length for every arm of the verdict, and below it the other programs, named
    with the place of their first wrong token at 1.5x."""
    scale: Scale = record["scale"]
    upper, lower = figure.subplots(2, 1)
    curves(upper, record, {name: NAMES[name] for name in (OWN, *POSITIONS, BARE)}, LABEL)
    places = {name: _usual_place(record, name) for name in BESIDE[scale]}
    curves(lower, record, {name: f"{name}{place}" for name, place in places.items()}, LABEL)
    titles = {
        "cpu": ("a machine of 26 symbols", "cells of the tape", "Hard-ALiBi on numbers", "digits"),
        "gpu": ("addition", "digits", "other programs", "digits, samples or cells"),
    }[scale]
    for ax, title, unit in zip((upper, lower), titles[::2], titles[1::2], strict=True):
        ax.set_title(f"{title}: accuracy of the answer", loc="left")
        ax.set(xlabel=unit)


def _usual_place(record: Mapping[str, Any], name: str) -> str:
    """Where the first wrong token of an arm is at 1.5 times its trained length: the middle seed."""
    far = record["experiments"][name]["train"]["lengths"][-1] * 3 // 2
    found = [seed["first_wrong"].get(name, []) for seed in record["series"]]
    places = sorted(place for of_seed in found for length, *place in of_seed if length == far)
    if not places:
        return ""
    tape, token, tokens = places[(len(places) - 1) // 2]
    return f":\nfirst wrong: tape {tape}, token {token} of {tokens}"
