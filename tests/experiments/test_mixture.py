"""The experiment on a mixture: its probes, and children of other vocabularies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.config import Parent
from lab.config.experiment import change
from lab.experiments._make import make
from tests.experiment_sizes import check_refused, made


def test_every_part_has_its_probe_at_its_own_length() -> None:
    e = made("mixture", parts="parity k=2 length=9; copy; parity k=3", length=5)
    told = [(probe.label, probe.length, probe.of(e.task).part) for probe in e.probes]
    assert told == [
        ("all parts", 5, ""),
        ("parity1", 9, "parity1"),
        ("copy", 5, "copy"),
        ("parity2", 5, "parity2"),
    ]
    assert {probe.of(e.task).split for probe in e.probes} == {"test"}
    assert made("mixture", parts="parity length=9; copy length=4").train.lengths == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": "pairity"}, "parts = 'pairity'"),
        ({"parts": "parity k=9"}, "k = 9"),
        ({"length": 0}, "probe all parts: length = 0"),
        ({"parts": "istree trace=retrieval", "cot": True}, "parts = 'istree trace=retrieval'"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    check_refused("mixture", options, message)


def test_a_mixture_goes_on_with_its_parts_alone_and_other_settings() -> None:
    parent = make("mixture", parts="parity k=2; copy symbols=4", length=6)
    for path, value in {
        "task.part": "copy",
        "task.parts": "parity k=3 noise=0.1; copy symbols=4 weight=5",
    }.items():
        child = replace(change(parent, path, value), parent=Parent(parent))
        assert child.stage == 1


def test_two_settings_without_names_go_on_from_a_run_on_one() -> None:
    parent = make("parity", length=6, k=2)
    options = {"parts": "parity k=2; parity k=2 noise=0.2", "length": 6, "parent": Parent(parent)}
    child = make("mixture", named=False, **options)
    assert child.model == parent.model
    with pytest.raises(ValueError, match="only the child has '<parity1>', '<parity2>'"):
        make("mixture", **options)
