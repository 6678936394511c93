"""A user's own claim file, small: training helps (for tests; no paper says less)."""

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.verdicts.protocol import Claim, Control, Measured, with_disjoint_seeds
from tasks.parity import Parity


def claim(scale):
    """Exact match of a trained model minus that of one with a single step of training."""
    trained = Experiment(
        name="my-claim",
        task=Parity(k=1),
        cot=False,
        model=ModelConfig(layers="attention", width=16, heads=1),
        train=TrainConfig(steps=60, batch=32, lengths=(4,), lr=1e-2),
        probes=(Probe("held out", 4, {"split": "test"}, 64),),
    )
    untrained = replace(trained, train=replace(trained.train, steps=1))
    return Claim(
        name="my-claim",
        scale=scale,
        source="ours",
        statement="A model learns which bit is the answer.",
        paper="there is no paper",
        our_choices="everything",
        arms={"trained": trained, "untrained": untrained},
        statistic="exact match of the trained model minus that of the untrained one",
        measure=measure,
        threshold=0.2,
        control=Control("no training", {"trained": with_disjoint_seeds(untrained)}),
        treatment_arm="trained",
        draw=draw,
    )


def measure(results):
    exact = {name: result.scores[0].exact for name, result in results.items()}
    return Measured(exact["trained"] - exact["untrained"], {"exact": exact})


def draw(figure, record):
    ax = figure.subplots()
    for seed in record["series"]:
        ax.plot(list(seed["exact"]), list(seed["exact"].values()), "o", color="0.2")
    ax.set(ylabel="exact match")
