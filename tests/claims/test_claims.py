"""Claims: every file of lab/claims at both scales, the verdict, records, figures, the command."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lab import registry
from lab.claims.cot_sparsity import GUESSED, correlation
from lab.config import Experiment
from lab.config.experiment import Scale, from_json
from lab.data.batches import visible
from lab.data.position_ids import check_rows, position_ids
from lab.nn.model import Model
from lab.results.result import Result, Score
from lab.results.summary import samples_to
from lab.verdicts.protocol import SEED_OFFSET, Claim
from lab.verdicts.verdict import evaluate_claim
from tasks import Role

NAMES = registry.names("claims")
BOTH: list[tuple[str, Scale]] = [(name, scale) for name in NAMES for scale in ("cpu", "gpu")]
LOOKS_INTO_RUNS = {"cot-sparsity", "gate-sink"}  # their statistic needs weights, not scores alone
PLAIN = [name for name in NAMES if name not in LOOKS_INTO_RUNS]

both = pytest.mark.parametrize(("name", "scale"), BOTH)


def made(e: Experiment, exact: float) -> Result:
    """A finished run of an experiment that is right on this share of every probe all along."""
    scores = tuple(
        Score(p.label, p.length, p.n, *[exact] * 6, p.of(e.task).chance(p.length), None, None)
        for p in e.probes
    )
    every = e.train.eval_every or e.train.steps
    told = [{"probe": s.probe, "length": s.length, "n": s.n, "exact": exact} for s in scores]
    steps = [*range(every, e.train.steps, every), e.train.steps]
    curves = [{"step": s, "rows": s * e.train.batch, "scores": told} for s in steps]
    return Result(
        run=f"runs/{e.slug}",
        experiment=e.to_json(),
        scores=scores,
        curves=curves[:-1],
        seconds=1.0,
        environment={"device": "none"},
        learned=samples_to(curves, e.train.threshold),
        steps=e.train.steps,
    )


def told(claim: Claim, arm: Callable[[str], float], control: Callable[[str], float]) -> Any:
    """Results by slug in which each arm, and each of the control's own, scores as these say."""
    found: dict[str, Result] = {}
    for arms, exact in ((claim.arms, arm), (claim.control.arms, control)):
        for name, one in arms.items():
            for e in claim.seeded(one):
                found.setdefault(e.slug, made(e, exact(name)))
    return found


@both
def test_what_a_claim_says_of_itself(name: str, scale: Scale) -> None:
    found = registry.load("claims", name)(scale)
    assert (found.name, found.scale) == (name, scale) and found.seeds >= 3
    assert re.match(r"\d{4}\.\d{5}", found.source), "the paper comes first"
    assert found.statement.endswith(".") and found.statement[0].isupper()
    for text in (found.paper, found.our_choices, found.statistic, found.control.why):
        assert len(text) > 10 and text == text.strip() and "  " not in text
    assert math.isfinite(found.threshold)
    doc = importlib.import_module(f"lab.claims.{name.replace('-', '_')}").__doc__ or ""
    assert found.source[:10] in doc and re.search(r"\b[Oo]urs?\b|\bwe chose\b", doc)


@both
def test_the_control_replaces_arms_by_others(name: str, scale: Scale) -> None:
    found = registry.load("claims", name)(scale)
    assert found.control.arms and set(found.control.arms) <= set(found.arms)
    for arm, changed in found.control.arms.items():
        assert changed.slug != found.arms[arm].slug, "nothing was taken away"
    needed = found.experiments()
    assert len({e.slug for e in needed}) == len(needed)
    arms = {e.slug for e in found.arms.values()}
    own = {e.slug for e in found.control.arms.values()} - arms
    # The arm without thought of arc-unseen is looked at alone, not compared with another.
    assert own or name == "arc-unseen", "an arm is compared with itself"
    seeds = {e.train.seed for arm in found.arms.values() for e in found.seeded(arm)}
    assert seeds == set(range(min(seeds), min(seeds) + found.seeds))
    asked = {e.train.seed for arm in found.control.arms.values() for e in found.seeded(arm)}
    assert asked <= seeds | {SEED_OFFSET + seed for seed in seeds}


@both
def test_every_arm_can_be_run(name: str, scale: Scale) -> None:
    """Rows of each training length and probe, and a model that has places for them."""
    found = registry.load("claims", name)(scale)
    for e in [*found.arms.values(), *found.control.arms.values()]:
        assert from_json(check_rows(e).to_json()) == e
        with torch.device("meta"):
            Model(e.model, len(e.task.words))
        lengths = [(e.task, n) for n in e.train.lengths]
        for task, length in [*lengths, *((p.of(e.task), p.length) for p in e.probes)]:
            rows = task.scored_part(visible(e, task.sample(np.random.default_rng(0), 2, length)))
            assert (rows.roles == Role.ANSWER).any(1).all()
            ids = position_ids(task, e.model, rows)
            if e.model.position in ("learned", "coupled", "predicted"):
                most = rows.tokens.shape[1] if ids is None else int(ids.max()) + 1
                assert most <= e.model.max_positions, "no place is left for its tokens"


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("exact", [0.0, 0.5])
def test_no_claim_holds_where_every_run_scores_alike(name: str, exact: float) -> None:
    found = registry.load("claims", name)("cpu")
    judged = evaluate_claim(found, told(found, lambda arm: exact, lambda arm: exact))
    assert judged["verdict"] != "holds" and judged["negative_control"]["verdict"] != "holds"


def starts(*words: str) -> Callable[[str], bool]:
    return lambda arm: arm.startswith(words)


# Which arms are solved, to how much the others are, and how much those of the control are.
STORIES: dict[str, tuple[Callable[[str], bool], float, float]] = {
    "cot-parity": (starts("CoT"), 0.5, 0.1),
    "arc-unseen": (starts("CoT, "), 0.5, 0.5),
    "rnn-gap": (starts("transformer", "hybrid"), 0.6, 0.6),
    "recall-state": (starts("attention", "based"), 0.3, 1.0),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_the_paper_saw_holds_and_its_control_fails(name: str) -> None:
    found = registry.load("claims", name)("cpu")
    solved, rest, control = STORIES[name]

    def seen(arm: str) -> float:
        return 1.0 if solved(arm) else rest

    results = told(found, seen, lambda arm: control)
    judged = evaluate_claim(found, results)
    assert judged["verdict"] == "holds", judged["values"]
    assert judged["negative_control"]["verdict"] == "fails", judged["negative_control"]["values"]
    if name != "arc-unseen":  # its control has no runs of its own
        void = evaluate_claim(found, told(found, seen, seen))
        assert void["negative_control"]["verdict"] == "holds"
        assert (void["verdict"], void["interval"]) == ("inconclusive", judged["interval"])
        assert void["diagnosis"]["cause"] == "control"
    opposite = evaluate_claim(
        found, told(found, lambda arm: rest if solved(arm) else 1.0, lambda arm: 1.0)
    )
    assert opposite["verdict"] == "fails"


@pytest.mark.parametrize(("quick", "doublings"), [(0, 1), (7, 1), (8, 0.5), (9, 0)])
def test_the_median_of_sixteen_architectures(quick: int, doublings: float) -> None:
    """Some of them learn without a thought as soon as with one, the others never."""
    found = registry.load("claims", "cot-parity")("gpu")
    shapes = [(len(e.model.stack()), e.model.heads) for e in found.arms.values()]
    assert set(shapes) == set(product(range(1, 5), repeat=2)) and len(shapes) == 16 * 2 * 4
    soon = list(dict.fromkeys(shapes))[:quick]

    def exact(e: Experiment) -> float:
        return 1.0 if e.cot or (len(e.model.stack()), e.model.heads) in soon else 0.5

    measured = found.measure({name: made(e, exact(e)) for name, e in found.arms.items()})
    every, most = 20 * 512, 19_531 * 512
    assert measured.value == pytest.approx(doublings * math.log2(most / every))
    growth = measured.series["growth_per_step_of_k"]
    assert len(growth) == 16 and growth["1 layers, 1 heads"] == {"CoT": 1.0, "no CoT": 1.0}


@pytest.mark.parametrize("name", PLAIN)
def test_a_record_is_json_and_enough_to_draw_from(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for scale in ("cpu", "gpu"):
        found = registry.load("claims", name)(scale)
        results = told(found, lambda arm: 1.0 if "no" in arm else 0.25, lambda arm: 0.5)
        kept = json.loads(json.dumps(evaluate_claim(found, results)))
        assert (kept["statistic"], kept["threshold"]) == (found.statistic, found.threshold)
        assert set(kept["arms"]) == set(found.arms) and len(kept["values"]) == found.seeds
        assert set(kept["negative_control"]["arms"]) == set(found.control.arms)
        drawn_to(found, kept, tmp_path / f"{scale}.png")
    assert not (tmp_path / "runs").exists()


def drawn_to(found: Claim, kept: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(6.8, 3.0), layout="constrained")
    found.draw(figure, kept)
    for ax in figure.axes:
        assert ax.lines or ax.collections or ax.images or ax.patches, "an empty panel"
        assert ax.get_xlabel() or ax.get_ylabel()
    figure.savefig(path)
    assert path.stat().st_size > 5000


def test_the_lowest_unseen_accuracy_decides() -> None:
    found = registry.load("claims", "arc-unseen")("gpu")
    results = {name: made(e, 0.99 if name[:3] == "CoT" else 0.4) for name, e in found.arms.items()}
    assert found.measure(results).value == 0.99
    low = results["CoT, d = 20, k = 10"]
    unseen = [replace(s, exact=0.7) if s.probe == "unseen" else s for s in low.scores]
    results["CoT, d = 20, k = 10"] = replace(low, scores=tuple(unseen))
    assert found.measure(results).value == 0.7


def test_a_model_that_never_answers_is_no_worse_than_a_coin() -> None:
    found = registry.load("claims", "rnn-gap")("cpu")
    results = {name: made(e, 0.55 if "transf" in name else 0.0) for name, e in found.arms.items()}
    assert found.measure(results).value == pytest.approx(0.05)


def test_models_of_the_gap_have_equal_parameters() -> None:
    for scale in ("cpu", "gpu"):
        sizes = {}
        for name, e in registry.load("claims", "rnn-gap")(scale).arms.items():
            with torch.device("meta"):
                model = Model(e.model, len(e.task.words))
            learned = [p.numel() for p in model.parameters() if p.requires_grad]
            sizes[name] = sum(learned)
        assert max(sizes.values()) <= 1.15 * min(sizes.values()), sizes


def test_which_states_are_small() -> None:
    """By hand: width 32 in four heads, 16 pairs; below each mixer but mamba, for each of 32
    channels, three tokens before this one and one number."""
    below = 32 * (3 + 1)
    numbers = {"gru": 32, "lstm": 64, "linear": 4 * 8 * 8}
    numbers["deltanet"] = 3 * 3 * 32 + 4 * 8 * 8
    assert all(below + size < 2 * 16 * 32 for size in numbers.values())
    found = registry.load("claims", "recall-state")("cpu")
    assert set(found.control.arms) == {f"{name}, width 32" for name in [*numbers, "attention"]}
    assert {(e.train.lengths, e.probes[0].length) for e in found.control.arms.values()} == {
        ((2,), 2)
    }
    results = {name: made(e, 0.5) for name, e in found.arms.items()}
    kept = found.measure(results).series["state_and_accuracy"]
    assert kept["mamba, width 32"] == [2 * 64 * (3 + 16), 0.5]
    for name, size in numbers.items():
        assert kept[f"{name}, width 32"] == [below + size, 0.5]
    large = ("attention", "based", "mamba")
    assert min(kept[f"{name}, width 32"][0] for name in large) > 2 * 16 * 32


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 4)), min_size=2, max_size=9))
def test_rank_correlation_by_its_definition(points: list[tuple[int, int]]) -> None:
    def ranks(values: list[float]) -> np.ndarray:  # how many are below, and half of the ties
        return np.array([sum((w < v) + 0.5 * (w == v) for w in values) for v in values])

    exact, entropy = [a / 10 for a, _ in points], [[b / 4, (4 - b) / 2] for _, b in points]
    a, b = ranks([max(x, 0.6) for x in exact]), ranks([sum(heads) for heads in entropy])
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt((a @ a) * (b @ b))
    expected = float(a @ b) / size if size else 0.0
    assert correlation(exact, entropy) == pytest.approx(expected, abs=1e-9)


def test_accuracy_that_only_guesses_has_no_correlation() -> None:
    falling = [[1 - i / 10, 0.5] for i in range(6)]
    assert correlation([0.01, 0.3, 0.5, 0.52, GUESSED, 0.1], falling) == 0.0
    assert correlation([0.01, 0.3, 0.5, 0.7, 0.9, 1.0], falling) < -0.9
    assert correlation([0.01, 0.3, 0.5, 0.7, 0.9, 1.0], [[0.5]] * 6) == 0.0
