"""Records of claims: their order, their names and the table of the README.

From runs to a record and its table: tests/claims/test_cot_sparsity.py. The lab's own records:
tests/test_records.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.stats import over_seeds
from lab.verdicts.records import (
    file_name,
    interval_in_words,
    markdown,
    number,
    records,
    records_folder,
)
from tests.claim_results import NAMES


def test_records_are_in_order_of_name_and_scale(tmp_path: Path) -> None:
    """Found by their file names, ordered by what they hold; other files are left alone."""
    named = records(records_folder())[0]
    for name, scale in (("b", "gpu"), ("b", "cpu"), ("a-b", "gpu")):
        path = tmp_path / file_name(name, scale)
        path.write_text(json.dumps({**named, "claim": name, "scale": scale}))
    (tmp_path / "notes.json").write_text("{")
    loaded = [(record["claim"], record["scale"]) for record in records(tmp_path)]
    assert loaded == [("a-b", "gpu"), ("b", "cpu"), ("b", "gpu")]


def test_the_labs_own_records_are_of_its_claims() -> None:
    stored = {record["claim"] for record in records(records_folder())}
    assert stored and stored <= set(NAMES)


def test_numbers_in_words() -> None:
    assert (number(None), number(0.12345), number(12345)) == ("-", "0.123", "1.23e+04")
    assert interval_in_words(None) == "-"
    assert interval_in_words(over_seeds([0.5, 0.7, 1])) == "0.5 to 1"


@pytest.mark.parametrize(("above", "side"), [(True, "at least"), (False, "at most")])
def test_a_row_of_the_table(above: bool, side: str) -> None:
    values = [2.0, 0.1, 0.4, 0.25, 0.25, 0.25]
    record = {
        **{"claim": "c", "scale": "cpu", "source": "2410.05459", "verdict": "fails"},
        **{"statistic": "ratio", "threshold": 1.5, "above": above, "seeds": 6, "values": values},
        **{"diagnosis": {"cause": "budget", "why": ""}, "negative_control": {"verdict": "fails"}},
    }
    beyond = "1 of 6" if above else "5 of 6"
    assert markdown([record]).splitlines()[2] == (
        f"| `c` (2410.05459) | cpu | **fails** (budget) | ratio: 0.25 ({side} 1.5)"
        f" | 0.1 to 2 (96.9%) | {beyond} | fails |"
    )
    older = {**record, "mean": 0.5, "seeds": 3, "values": values[:3], "diagnosis": None}
    row = markdown([older]).splitlines()[2]
    assert "**fails** (older rule, 3 seeds) | ratio: 0.4 (" in row and "| 0.1 to 2 (75%) |" in row
    assert "No claim is recorded" in markdown([])
    assert markdown([record], ["b", "c"]).splitlines()[3:] == [
        "",
        "New, or changed since they were last run: `b`.",
    ]
