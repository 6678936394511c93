"""Averaging early and late weights of fine-tuning regains answers that it lost (2504.10478).

Fine-tuning makes a model surer: it answers more prompts right at the first try (Pass@1), and yet
fewer within sixteen tries (Pass@16), because what it gets wrong it repeats. WiSE-FT averages the
weights of an early and of a late checkpoint, here with half of each. The paper shows it for
reasoning of language models; its figures are not known to us first-hand.

Ours: task, model, sizes, rates, statistic and bars. The parent has half learned sums of two numbers
of two digits, without a thought: a quarter of the held-out ones is right. Fine-tuning sees 128 sums
over and over, at a constant rate. Answers to held-out sums are drawn at temperature 1, sixteen for
each prompt. The statistic is the share of the Pass@16 lost between the early and the late
checkpoint that their average has again. It is 0 where nothing was lost (less than 0.05), where
Pass@1 did not rise from the early checkpoint to the late one, and where the average has less than
nine tenths of the Pass@1 of the late one.

Doubts. The gain would be an artefact if the average were only less sure, as is any model at a
higher temperature: that costs Pass@1, so the late checkpoint at temperature 2 is in the figure
(trials, seeds 90 and 91: Pass@16 of the average 0.82 and 0.81 at a Pass@1 of 0.46 and 0.46, of the
hotter late checkpoint 0.81 and 0.76 at 0.32 and 0.30). Nine tenths is not "no lower": on trial
seeds the average had 0.93 to 1.03 of the Pass@1 of the late checkpoint, so here averaging keeps it
and does not raise it. The gain would be one if any average had it: the control has two late
checkpoints. It would be one if fine-tuning had gone on for too long, and the early checkpoint were
better in both: then Pass@1 would not rise, and the statistic is 0. At a rate that decays to 0 the
late checkpoint is better by itself, and the average had 0.86 and 0.96 of its Pass@1 (trials, 2.5
times the rate). One right answer and no thought say nothing about diverse thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, Parent, TrainConfig
from lab.config.experiment import Scale, from_json
from lab.experiments.addition_rl import experiment as addition_rl
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

ARM = "fine-tuning"
SHARE = 0.5  # of the late checkpoint in the average
SAMPLES = 16
LOST = 0.05  # Pass@16, the least that must be lost
HOTTER = 2.0  # temperature of the late checkpoint, for the figure
KEPT = 0.9  # of the Pass@1 of the late checkpoint, the least that the average must have


def claim(scale: Scale) -> Claim:
    """Share of the lost Pass@16 that an average of an early and a late checkpoint regains."""
    arm = _arm(scale)
    early, late = arm.train.keep_steps[0], round(0.8 * arm.train.steps)
    two_late = replace(arm, train=replace(arm.train, keep_steps=(early, late)))
    return Claim(
        name="wise-ft",
        scale=scale,
        source="2504.10478",
        statement="Fine-tuning raises Pass@1 and loses Pass@16; averaging an early and a late"
        " checkpoint regains half of it or more, and keeps Pass@1.",
        paper="Pass@k lost by fine-tuning comes back, at a higher Pass@1; values not known to us"
        " first-hand",
        our_choices="task, model, sizes, rates, the two checkpoints, statistic and its bars",
        arms={ARM: arm},
        statistic="share of the Pass@16 lost from the early to the late checkpoint that the average"
        f" of their weights regains; 0 unless {LOST:g} was lost, Pass@1 rose, and the average has"
        f" {KEPT:g} of it",
        measure=measure,
        threshold=0.5,
        control=Control(
            "the average of two late checkpoints", {ARM: with_disjoint_seeds(two_late)}
        ),
        treatment_arm=ARM,
        axis="share of the lost Pass@16 that averaging regains",
        draw=draw,
    )


def _arm(scale: Scale) -> Experiment:
    base = addition_rl(scale)
    assert base.parent is not None
    rows = base.parent.experiment
    few = TrainConfig(
        steps=500,
        batch=64,
        examples=128,
        lengths=rows.train.lengths,
        lr=4e-4,
        warmup=10,
        schedule="constant",
        eval_every=50,
        eval_answers=False,
        keep_steps=(80,),
        seed=20,
    )
    if scale == "gpu":
        few = replace(few, steps=2_000, batch=256, examples=2_048, lr=1e-4, eval_every=200)
        few = replace(few, keep_steps=(200,))
    return replace(base, name="wise-ft", train=few, parent=Parent(rows), probes=rows.probes[:1])


def passes(result: Result) -> dict[str, dict[str, float]]:
    """Pass@k on held-out prompts, by k: of the first checkpoint that a finished run keeps (early),
    of its last weights (late) and these at a higher temperature (hotter), and of their average with
    the last checkpoint before them that it keeps."""
    from lab.analysis.subject import load_model
    from lab.evaluation.sampling import sample
    from lab.training.checkpoint import blend

    run = from_json(result.experiment)
    kept = run.train.keep_steps
    steps = (kept[0], kept[-1], run.train.steps, run.train.steps)
    early, other, late, average = (load_model(result.run, f"step-{step}")[1] for step in steps)
    blend(average, other, SHARE)
    return {
        name: {
            str(k): estimate.value
            for k, estimate in sample(model, run, run.probes[0], SAMPLES, heat).passes.items()
        }
        for name, model, heat in (
            ("early", early, 1.0),
            ("average", average, 1.0),
            ("late", late, 1.0),
            ("hotter", late, HOTTER),
        )
    }


def regained(passed: Mapping[str, Mapping[str, float]]) -> float:
    """The share of the lost Pass@16 that the average has again, by the rules above."""
    early, average, late = (passed[name] for name in ("early", "average", "late"))
    most = str(SAMPLES)
    lost = early[most] - late[most]
    if lost < LOST or late["1"] <= early["1"] or average["1"] < KEPT * late["1"]:
        return 0.0
    return (average[most] - late[most]) / lost


def measure(results: Mapping[str, Result]) -> Measured:
    """The share regained; the series has Pass@k of each model."""
    series = passes(results[ARM])
    return Measured(regained(series), dict(series))


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Pass@k against k of the early and the late checkpoint, of their average, and of the late one
    at a higher temperature."""
    ax = figure.subplots()
    names = ("average", "early", "late", f"late, temperature {HOTTER:g}")
    for number, (name, key) in enumerate(
        zip(names, ("average", "early", "late", "hotter"), strict=True)
    ):
        points: dict[float, list[float]] = {}
        for seed in record["series"]:
            for k, value in seed[key].items():
                points.setdefault(int(k), []).append(value)
        median_line(ax, points, name, number)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(points), [str(k) for k in points])
    ax.set_title("prompts answered right in one of k tries (Pass@k)", loc="left")
    ax.set(xlabel="k, answers drawn for a prompt")
