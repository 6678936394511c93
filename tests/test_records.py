"""Records say where they come from, and the README shows what they hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab import registry
from lab.bench.speeds import markdown
from lab.bench.train import sentence
from lab.config.experiment import from_json
from lab.results.reader import read_json
from lab.verdicts.rates import trials
from lab.verdicts.records import file_name, records, records_folder
from lab.verdicts.records import markdown as verdicts
from lab.verdicts.verdict import decide

ROOT = Path(__file__).resolve().parent.parent
BENCHES = ROOT / "notebooks" / "records"
RECORDS = records_folder()


@pytest.mark.parametrize(
    "path", sorted([*BENCHES.glob("bench-*.json"), *RECORDS.glob("*.json")]), ids=lambda p: p.name
)
def test_records_name_their_command_and_environment(path: Path) -> None:
    record = read_json(path)
    if path.name.startswith("bench-"):
        assert record["command"].startswith("lab bench ") and record["rows"]
    else:
        assert record["command"].startswith(f"lab claim {record['claim']} ")
        of_rates = record["command"].endswith(" --rates")
        kind = "rates" if of_rates else "claim"
        assert path.name == file_name(record["claim"], record["scale"], kind)
    assert {"lab", "git", "python", "torch", "device", "threads"} <= set(record["environment"])


def test_the_speeds_that_are_shown_are_those_of_the_record() -> None:
    path = BENCHES / "bench-kernels.json"
    expected = markdown(read_json(path) if path.exists() else None)
    page = (ROOT / "kernels" / "README.md").read_text()
    shown = re.search(r"<!-- speeds -->\n(.*)\n<!-- /speeds -->", page, re.DOTALL)
    assert shown and shown[1] == expected


def test_the_readmes_sentence_on_training_is_that_of_the_record() -> None:
    shown = re.search(r"<!-- training -->\n(.*)<!-- /training -->", _readme(), re.DOTALL)
    assert shown and " ".join(shown[1].split()) == sentence(read_json(BENCHES / "bench-train.json"))


CLAIMS = records(RECORDS)


@pytest.mark.parametrize("record", CLAIMS, ids=lambda r: f"{r['claim']}-{r['scale']}")
def test_a_recorded_verdict_follows_from_its_values(record: dict[str, Any]) -> None:
    """Threshold and arms are those of the claim today; without a control that fails, nothing."""
    claim = registry.load("claims", record["claim"])(record["scale"])
    assert (record["threshold"], record["above"]) == (claim.threshold, claim.above)
    assert set(record["arms"]) == set(claim.arms)
    for side in (record, record["negative_control"]):
        assert len(side["values"]) == record["seeds"] >= 6
        verdict, over = decide(side["values"], claim.threshold, claim.above)
        assert over and side["interval"] == list(over.interval)
        assert (side["median"], side["coverage"]) == (over.median, over.ranks.coverage)
        controlled = side is not record or record["negative_control"]["verdict"] == "fails"
        assert side["verdict"] == (
            "inconclusive" if verdict == "holds" and not controlled else verdict
        )
    assert (record["diagnosis"] is None) == (record["verdict"] == "holds")


@pytest.mark.parametrize("record", CLAIMS, ids=lambda r: f"{r['claim']}-{r['scale']}")
def test_a_record_is_of_the_experiments_that_the_claim_runs_today(record: dict[str, Any]) -> None:
    """Fields that came later have their defaults; a changed protocol wants a new record."""
    claim = registry.load("claims", record["claim"])(record["scale"])
    for arms, side in ((claim.arms, record), (claim.control.arms, record["negative_control"])):
        ran = {name: from_json(experiment) for name, experiment in side["experiments"].items()}
        assert ran == dict(arms)
        assert {name: len(runs) for name, runs in side["arms"].items()} == dict.fromkeys(
            arms, record["seeds"]
        )


@pytest.mark.parametrize("path", sorted(RECORDS.glob("rates-*.json")), ids=lambda p: p.name)
def test_no_arm_of_a_claim_learns_better_at_another_rate(path: Path) -> None:
    record = read_json(path)
    tried = trials(registry.load("claims", record["claim"])(record["scale"]))
    assert set(record["arms"]) == set(tried)
    for name, arm in record["arms"].items():
        assert arm["best"] == arm["rate"], name
        assert from_json(arm["experiment"]) == tried[name][arm["rate"]], "another protocol"


def test_the_readmes_verdicts_are_those_of_the_records() -> None:
    shown = re.search(r"<!-- claims -->\n(.*)\n<!-- /claims -->", _readme(), re.DOTALL)
    assert shown and shown[1] == verdicts(CLAIMS, registry.names("claims"))


def test_a_record_becomes_a_table() -> None:
    def rows(name: str, forward: float, backward: float) -> list[dict[str, Any]]:
        base = {"operator": "PaTH", "shape": "A", "implementation": name, "microseconds": 1e6}
        return [
            {**base, "pass": "forward", "microseconds_graph": forward, "over_floor": forward / 281},
            {**base, "pass": "backward", "microseconds_graph": backward, "over_floor": 1.19},
        ]

    failed = {"operator": "PaTH", "shape": "A", "implementation": "fla", "error": "RuntimeError"}
    made = [*rows("lab", 300.4, 900), failed, *rows("slow", 900, 900), *rows("fast", 400, 800)]
    made += rows("fastest alone", 1, 1)
    table = markdown({"environment": {"device": "H200", "git": "abc"}, "rows": made}).splitlines()
    assert table[-1] == "| PaTH | 300 / 900 (1.1 / 1.2) | fast: 400 / 800 |"
    assert table[2].count("|") == table[3].count("|") == table[4].count("|")


def test_the_readmes_figures_are_there() -> None:
    paths = [ROOT / path for path in re.findall(r"!\[.*?\]\((.*?)\)", _readme())]
    assert paths and {path.parent for path in paths} == {RECORDS}
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) < 100_000
        assert (RECORDS / file_name(path.stem, "cpu")).exists(), "drawn from no record"


def test_the_readme_is_short() -> None:
    assert len(_readme().splitlines()) < 150


def _readme() -> str:
    return (ROOT / "README.md").read_text()
