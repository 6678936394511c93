"""Attention becomes sparse as parity is learned (2410.05459, Fig. 1b and 3b).

Fig. 1b follows accuracy and the normalised entropy of the heads of the first layer (lab.analysis
has the definition) over the first 10^6 rows: n = 30, k = 3, 4 layers of 4 heads, lr 1e-4, with and
without thought; the gpu scale is that. Fig. 3b is the map of attention of the thought, with the
secret columns marked. Ours: the cpu scale (n = 16, one layer, width 64), the rank correlation, and
that accuracy below 0.2 counts as 0.2, because fixed guesses lie there (1/8 of the thoughts of three
bits). At cpu scale most checkpoints lie in the first 100 steps, where accuracy rises. Two protocols
came before: in the first, six of nine checkpoints came after the rise, where accuracies are equal
and have no rank; in the second, accuracy below 0.6 counted as 0.6, the guesses of an answer without
thought, which cut off half of the rise (lab/claims/records/LOG.md). The seeds are new each time.

Doubts. Entropy falls while almost anything is learned, so a correlation over one run could be one
of both with the step: the control trains as long on thoughts of random bits, where accuracy never
rises and the statistic has to fail. It then fails by rule, because constant accuracy has no rank;
that its entropy stays up is in its series and not in its value. The rise would be missed if the
checkpoints lay after it; most lie in the first 100 steps, and accuracy at each is in the record.
The statistic does not show that sparsity causes accuracy, and one layer of two heads says nothing
of deeper models. The arm without thought never learns k = 3 in this budget and enters no statistic.
Rates: rates-cot-sparsity-cpu.json beside the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.config.presets import PRESETS
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured
from tasks.parity import Parity

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

GUESSED = 0.2  # exact match of fixed guesses: 1/8, of three bits of a thought
ROWS = 256  # on which attention is measured


def claim(scale: Scale) -> Claim:
    """Rank correlation of accuracy and entropy over the checkpoints of a run."""
    arms = {label: _arm(scale, cot) for label, cot in (("CoT", True), ("no CoT", False))}
    noise = replace(arms["CoT"].train, cot_noise="static", cot_noise_rate=0.5)
    return Claim(
        name="cot-sparsity",
        scale=scale,
        source="2410.05459, Fig. 1b and 3b",
        statement="As accuracy with chain of thought rises, the normalised entropy of attention"
        " falls.",
        paper="accuracy jumps when the entropy drops, with CoT and without; exact values are not"
        " printed",
        our_choices="statistic and threshold; constant learning rate"
        + (
            f"; the first {10**6:,} of 10^7 rows, weights in fp32 under bf16 autocast"
            if scale == "gpu"
            else f"; n = 16, 1 layer, 2 heads, width 64{REVISED}"
        ),
        arms=arms,
        statistic="rank correlation of accuracy (below 0.2 counts as 0.2) and mean entropy of the"
        " heads of layer 1, over checkpoints of the run with CoT",
        measure=measure,
        threshold=-0.5,
        above=False,
        control=Control(
            "thoughts of random bits, so accuracy never rises",
            {"CoT": replace(arms["CoT"], train=noise)},
        ),
        treatment_arm="CoT",
        axis="rank correlation of accuracy and entropy over training",
        draw=draw,
    )


def _arm(scale: Scale, cot: bool) -> Experiment:
    if scale == "cpu":
        n, model = 16, ModelConfig(layers="attention", width=64, heads=2)
        keep = (*range(10, 101, 10), 120, 160)
        train = TrainConfig(
            steps=240, batch=256, lr=1e-3, eval_every=10, eval_rows=1024, keep_steps=keep, seed=30
        )
    else:
        n, model = 30, replace(PRESETS["gpt2-4"], heads=4)
        keep = (50, 100, 200, 300, 450, 600, 900, 1300)
        train = TrainConfig(
            steps=1950, batch=512, lr=1e-4, eval_every=50, precision="bf16", keep_steps=keep
        )
    return Experiment(
        name="cot-sparsity",
        task=Parity(k=3),
        cot=cot,
        model=model,
        train=replace(train, lengths=(n,), schedule="constant", eval_answers=False),
        probes=(Probe("held out", n, {"split": "test"}),),
    )


def measure(results: Mapping[str, Result]) -> Measured:
    """The correlation in the arm with CoT; the series has every arm's attention."""
    series = {name: _attention_over_steps(result) for name, result in results.items()}
    cot = series["CoT"]
    return Measured(correlation(cot["exact"], cot["entropy"]), series)


def correlation(exact: Sequence[float], entropies: Sequence[Sequence[float]]) -> float:
    """Spearman's rank correlation of exact [C] and the mean over heads of entropies [C,H] over C
    checkpoints; 0 where accuracy never leaves the range of guesses, or either is constant."""
    from scipy.stats import spearmanr

    clipped = [max(value, GUESSED) for value in exact]
    mean = [sum(heads) / len(heads) for heads in entropies]
    if len(set(clipped)) == 1 or len(set(mean)) == 1:
        return 0.0
    return float(spearmanr(clipped, mean).statistic)


def _attention_over_steps(result: Result) -> dict[str, Any]:
    """At each kept checkpoint of a run: exact match, entropy of each head of the first layer, and
    the most attention of any head on the secret bits; and the attention map of the last one."""
    from lab.analysis.heads import measure as measure_heads
    from lab.analysis.subject import open_run

    exact = {row["step"]: row["scores"][0]["exact"] for row in result.curves}
    exact[result.steps] = result.scores[0].exact
    steps = [*result.experiment["train"]["keep_steps"], result.steps]
    entropies, secret = [], []
    for step in steps:
        subject = open_run(result.run, rows=ROWS, at=f"step-{step}")
        heads = measure_heads(subject).heads
        entropies.append([h.entropy for h in heads if h.layer == 0])
        secret.append(max(h.dependency_weight or 0.0 for h in heads))
    assert isinstance(subject.task, Parity)
    secret_bits = subject.task.support(subject.probe.length)
    return {
        "steps": steps,
        "exact": [exact[step] for step in steps],
        "entropy": entropies,
        "secret": secret,
        "map": _map(subject),
        "secret_columns": secret_bits.tolist(),
    }


def _map(subject: Any) -> list[list[float]]:
    """Attention of the first layer, mean over rows and heads: [supervised queries, T]."""
    from lab.analysis.subject import layers
    from tasks import Role

    weights = layers(subject)[0].weights
    assert weights is not None
    start = int((subject.batch.roles[0] == Role.PROMPT).sum()) - 1
    rows = weights.mean((0, 1))[start:-1, :-1].tolist()
    return [[round(value, 4) for value in row] for row in rows]


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy and entropy against training steps, and below them the last attention map of the
    first seed with CoT."""
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1))
    arms = [(arm, "with CoT" if arm == "CoT" else "without") for arm in record["arms"]]
    lines = [(arm, told, what) for arm, told in arms for what in ("exact", "entropy")]
    for number, (arm, told, what) in enumerate(lines):
        points: dict[float, list[float]] = {}
        for seed in record["series"]:
            for step, value in zip(seed[arm]["steps"], seed[arm][what], strict=True):
                heads = value if isinstance(value, list) else [value]
                points.setdefault(step, []).append(sum(heads) / len(heads))
        name = f"{'accuracy' if what == 'exact' else what} {told}"
        median_line(upper, points, name, number, dots=False)
    upper.set_title("accuracy, and entropy of attention (1: uniform)", loc="left")
    upper.set(xlabel="training steps", ylim=(-0.03, 1.03))
    last = record["series"][0]["CoT"]
    lower.pcolormesh(last["map"], cmap="Greys", vmin=0, vmax=1, edgecolors="0.85", linewidth=0.3)
    lower.set_yticks([i + 0.5 for i in range(len(last["map"]))], range(1, len(last["map"]) + 1))
    lower.set_xticks(
        [c + 0.5 for c in last["secret_columns"]], ["secret"] * len(last["secret_columns"])
    )
    lower.set(xlabel="token of the row", ylabel="step of\nthe thought")
    lower.invert_yaxis()
    lower.set_title("attention at the end, first seed with CoT", loc="left")
