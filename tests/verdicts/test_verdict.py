"""The verdict of a claim, its record, its figure, and the command `lab claim`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import registry
from lab.cli.main import main
from lab.config import Experiment
from lab.config.experiment import from_json
from lab.runs.sweep import run_many
from lab.stats import over_seeds
from lab.verdicts.diagnosis import LEARNED, diagnose
from lab.verdicts.protocol import Claim, Control
from lab.verdicts.records import file_name, markdown, records
from lab.verdicts.verdict import decide, evaluate_claim, record
from tests.claims.test_claims import NAMES, drawn_to, made, told

numbers = st.floats(-3, 3) | st.sampled_from([math.inf, -math.inf])


@given(st.lists(numbers, min_size=1, max_size=5), st.floats(-3, 3), st.booleans())
@settings(max_examples=80)
def test_the_verdict_by_its_definition(values: list[float], bar: float, above: bool) -> None:
    verdict, interval = decide(values, bar, above)
    if len(values) == 1:
        assert (verdict, interval) == ("inconclusive", None)
        return
    if any(map(math.isinf, values)):
        assert interval == (min(values), max(values))
    else:
        assert interval == over_seeds(values)
        assert min(values) - 1e-9 <= interval[0] <= interval[1] <= max(values) + 1e-9
    beyond = [end >= bar if above else end <= bar for end in interval]
    expected = "holds" if all(beyond) else "inconclusive" if any(beyond) else "fails"
    assert verdict == expected


def test_verdicts_that_are_known() -> None:
    assert decide([0.97, 0.99, 1.0], 0.95, True)[0] == "holds"
    assert decide([0.97, 0.99, 1.0], 0.95, False)[0] == "fails"
    assert decide([0.9, 0.95, 1.0], 0.95, True)[0] == "inconclusive"
    assert decide([0.5, 0.5], 0.5, True) == ("holds", (0.5, 0.5))
    assert decide([0.0, 0.0], -0.5, False) == ("fails", (0.0, 0.0))
    assert decide([math.inf, 3.0], 2.0, True) == ("holds", (3.0, math.inf))
    assert decide([math.inf, 1.0], 2.0, True)[0] == "inconclusive"
    assert decide([-math.inf, -math.inf], 2.0, True)[0] == "fails"
    with pytest.raises(ValueError, match="not a number"):
        decide([0.5, math.nan], 0.5, True)


def test_a_control_that_replaces_nothing_is_refused() -> None:
    found = registry.load("claims", "rnn-gap")("cpu")
    stray = Control("nothing", {"transfromer": next(iter(found.arms.values()))})
    with pytest.raises(ValueError, match=r"replaces no arm: \['transfromer'"):
        replace(found, control=stray)


def tiny(found: Claim, seeds: int = 2) -> Claim:
    """The same claim with sixteen steps of eight rows and a narrow model."""

    def arm(e: Experiment) -> Experiment:
        keep = tuple(range(2, 2 + len(e.train.keep_steps)))
        short = replace(e.train, steps=16, batch=8, eval_every=1, eval_rows=16, keep_steps=keep)
        probes = tuple(replace(p, n=16) for p in e.probes)
        return replace(e, train=short, probes=probes, model=replace(e.model, width=16))

    arms = {name: arm(e) for name, e in found.arms.items()}
    control = {name: arm(e) for name, e in found.control.arms.items()}
    return replace(found, arms=arms, control=replace(found.control, arms=control), seeds=seeds)


def test_a_claim_from_its_runs_to_its_figure(tmp_path: Path) -> None:
    """Untrained models, judged by the weights in their run folders: no accuracy, no claim."""
    found = tiny(registry.load("claims", "cot-sparsity")("cpu"))
    found = replace(found, arms={"CoT": found.arms["CoT"]})  # fewer processes
    wanted = found.experiments()
    assert len(wanted) == 4
    results = run_many(wanted, tmp_path / "runs", "cpu")
    by_slug = {e.slug: r for e, r in zip(wanted, results, strict=True)}
    made_of = record(found, by_slug, "lab claim cot-sparsity --seeds 2")
    assert made_of["values"] == [0.0, 0.0] and made_of["verdict"] == "fails"
    assert made_of["negative_control"]["verdict"] == "fails"
    assert made_of["environment"] == results[0].environment, "all runs of one place"
    assert from_json(made_of["experiments"]["CoT"]) == found.arms["CoT"]
    elsewhere = replace(results[0], environment={"git": "b", "kernels": {"a": 1}, "threads": 1})
    here = replace(results[0], environment={"git": "a", "kernels": {"b": 2}, "threads": 1})
    both = dict(zip(by_slug, (elsewhere, here, here, here), strict=True))
    told = {"git": "a, b", "kernels": {"a": 1, "b": 2}, "threads": 1}
    assert record(found, both, "")["environment"] == told
    run = made_of["series"][0]["CoT"]
    assert run["steps"] == [*range(2, 14), 16] and len(run["exact"]) == len(run["steps"])
    assert all(0 < e <= 1 for heads in run["entropy"] for e in heads) and len(run["map"]) == 4
    assert np.allclose(np.array(run["map"]).sum(1) <= 1.001, True) and len(run["map"][0]) == 19

    path = tmp_path / file_name("cot-sparsity", "cpu")
    path.write_text(json.dumps(made_of))
    (kept,) = records(tmp_path)
    assert kept == json.loads(json.dumps(made_of)) and kept["command"].endswith("--seeds 2")
    drawn_to(found, kept, tmp_path / "figure.png")
    lines = markdown([kept]).splitlines()
    assert len(lines) == 3 and {line.count("|") for line in lines} == {7}
    for text in ("`cot-sparsity`", "2410.05459", "**fails**", "at most -0.5", "0 to 0 (2 seeds)"):
        assert text in lines[2]
    assert "No claim is recorded" in markdown([])


def test_the_list_of_claims() -> None:
    done = CliRunner().invoke(main, ["claim", "--list", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert list(dict.fromkeys(row["claim"] for row in rows)) == NAMES
    assert {"cot-parity", "cot-sparsity", "arc-unseen", "rnn-gap", "recall-state"} <= set(NAMES)
    assert all({"claim", "scale", "verdict"} <= set(row) for row in rows)
    table = CliRunner().invoke(main, ["claim", "--list"])
    assert table.exit_code == 0 and all(name in table.stdout for name in NAMES)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "name a claim (arc-unseen, "),
        (["cot-sparsty"], "did you mean 'cot-sparsity'?"),
        (["cot-sparsity", "--seeds", "1"], "--seeds"),
        (["cot-sparsity", "--scale", "tpu"], "--scale"),
        (["cot-sparsity", "--minutes", "0"], "--minutes"),
        (["cot-sparsity", "--figure", "a.pdf"], "ends in .png or .svg"),
    ],
)
def test_mistakes(args: list[str], says: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["claim", *args])
    assert done.exit_code == 2 and says in done.stderr and not done.stdout
    assert not list(tmp_path.iterdir()), "a refused claim leaves nothing behind"


def test_a_story_told_twice_gives_one_record_a_run() -> None:
    found = replace(registry.load("claims", "rnn-gap")("cpu"), seeds=2)
    results = told(found, lambda arm: 0.9 if arm.startswith("mamba") else 0.7, lambda arm: 0.8)
    judged = evaluate_claim(found, results)
    assert judged["values"] == pytest.approx([-0.2, -0.2]) and judged["mean"] < 0
    other = judged["negative_control"]
    assert other["values"] == pytest.approx([-0.1, -0.1]), "mamba against mamba of other seeds"
    assert other["verdict"] == "fails"
    assert [run["run"] for run in judged["arms"]["mamba, n = 8"]] == [
        e.slug for e in found.seeded(found.arms["mamba, n = 8"])
    ]


@pytest.mark.parametrize(
    ("answer", "exact", "at_three_quarters", "verdict", "at"),
    [
        (0.95, 0.3, 0.3, "fails", "claim at this scale"),
        (0.95, 0.9, 0.9, "inconclusive", "seeds"),
        (0.95, 0.9, 0.8, "inconclusive", "budget"),
        (0.95, 0.9, None, "fails", "claim at this scale"),
        (0.99, 0.98, 0.7, "fails", "claim at this scale"),
        (0.6, 0.6, 0.5, "fails", "budget"),
        (0.6, 0.6, 0.6, "inconclusive", "scale"),
        (0.6, 0.6, 0.9, "fails", "scale"),
        (0.6, 0.6, None, "fails", "budget or scale"),
    ],
)
def test_what_is_at_fault(
    answer: float, exact: float, at_three_quarters: float | None, verdict: str, at: str
) -> None:
    """Evaluations every 125 of 1,000 steps: that at 750 is the last in the first three quarters."""
    found = registry.load("claims", "turing-length")("cpu")
    results = {}
    for e in found.seeded(found.arms["hard_alibi"]):
        one = made(e, 0.0)
        home = replace(one.scores[0], exact=exact, answer=answer)
        curves = [
            {**row, "scores": [{**row["scores"][0], "exact": at_three_quarters}]}
            for row in one.curves
            if row["step"] == 750 and at_three_quarters is not None
        ]
        stray = {"step": 740, "branch": 800, "scores": [{"exact": exact}]}
        results[e.slug] = replace(one, scores=(home, *one.scores[1:]), curves=[*curves, stray])
    told = diagnose(found, results, verdict, [])
    assert told and told["cause"] == at and f"accuracy {answer:.3f}" in told["why"]
    assert diagnose(found, results, "holds", []) is None
    bare = diagnose(
        replace(found, precondition=lambda series: "nothing is there"), results, verdict, []
    )
    assert bare and ("nothing is there" in bare["why"]) == (answer >= LEARNED)
    assert bare["cause"] == ("scale" if answer >= LEARNED else at)


def test_the_subject_is_an_arm_and_asked_first_what_it_was_trained_on() -> None:
    for name in NAMES:
        for scale in ("cpu", "gpu"):
            found = registry.load("claims", name)(scale)  # type: ignore[arg-type]
            subject = found.arms[found.treatment_arm]
            assert subject.probes[0].length in subject.train.lengths
            with pytest.raises(ValueError, match="the treatment_arm"):
                replace(found, treatment_arm="nobody")


@pytest.mark.parametrize(("evaluations", "kept"), [(0, 0), (1, 1), (20, 20), (21, 11), (80, 20)])
def test_a_record_keeps_some_points_of_a_curve(evaluations: int, kept: int) -> None:
    found = replace(registry.load("claims", "rnn-gap")("cpu"), seeds=2)
    results = told(found, lambda arm: 0.5, lambda arm: 0.5)
    row = next(iter(results.values())).curves[0]
    many = [{**row, "rows": 64 * i} for i in range(evaluations)]
    results = {slug: replace(r, curves=many) for slug, r in results.items()}
    curve = evaluate_claim(found, results)["arms"]["mamba, n = 8"][0]["curve"]
    assert len(curve) == kept and curve == sorted(curve)
    assert not kept or curve[0] == [0, [0.5]]
