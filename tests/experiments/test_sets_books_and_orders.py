"""Six experiments: the sizes that papers and published code tell, and options that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes, made

SIZES: dict[str, dict[str, Any]] = {
    # 2407.05483, HazyResearch/prefix-linear-attention: 2048 words, 4 of them marks; 12 pairs of
    # sizes with 20,000 rows each, 48 epochs in batches of 128, 1,000 rows a test; 4 layers, 2 heads
    "disjoint_sets": {
        "task.elements": 2044,
        "train.examples": 240_000,
        "rows": 240_000 * 48,
        "train.batch": 128,
        "model.layers": "based*4",
        "model.heads": 2,
        "probes.n": 1_000,
    },
    # 2410.19034: 12 layers, top 2 of the experts, whose hidden width is the model's
    "phone_book": {
        "model.layers": "attention*12",
        "model.mlp_ratio": 1.0,
        "model.experts_per_token": 2,
        "train.lengths": (1_000_000,),
    },
    # the same; a million graphs, 1,000 to test
    "shortest_path": {
        "model.layers": "attention*12",
        "model.mlp_ratio": 1.0,
        "model.experts_per_token": 2,
        "train.examples": 1_000_000,
        "probes.n": 1_000,
    },
    # 1511.06391: 15 numbers, 10,000 iterations; 50 variables of 10 symbols, 20,000 samples
    "sorting": {"train.lengths": (15,), "train.steps": 10_000},
    "star": {"train.lengths": (50,), "task.symbols": 10, "train.examples": 20_000},
}


@pytest.mark.parametrize("name", SIZES)
def test_the_gpu_scale_has_the_published_sizes(name: str) -> None:
    check_sizes(name, SIZES[name])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("disjoint_sets", {"length": 4}, "length = 4"),
        ("disjoint_sets", {"elements": 35}, "elements = 35"),
        ("disjoint_sets", {"short": 0}, "short = 0"),
        ("phone_book", {"length": 2}, "length = 2"),
        ("phone_book", {"digits": 17}, "digits = 17"),
        ("shortest_path", {"length": 5}, "length = 5"),
        ("shortest_path", {"length": 65}, "length = 65"),
        ("shortest_path", {"extra": 1.5}, "extra = 1.5"),
        ("bigram", {"symbols": 1}, "symbols = 1"),
        ("bigram", {"low": 5.5}, "low = 5.5"),
        ("bigram", {"high": 0.1}, "high = 0.1"),
        ("sorting", {"values": 1}, "values = 1"),
        ("star", {"entropy": 4.0}, "entropy = 4.0"),
        ("star", {"length": 1}, "length = 1"),
        ("star", {"samples": 0}, "examples = 0"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)


def test_a_fixed_random_order_is_probed_at_its_own_length() -> None:
    assert [probe.length for probe in made("sorting", output_order="shuffled").probes] == [10]


def test_both_orders_of_the_sets_are_probed_at_every_length() -> None:
    probes = made("disjoint_sets").probes
    lengths = {
        first: [p.length for p in probes if p.change["first"] == first]
        for first in ("short", "long")
    }
    assert lengths["short"] == lengths["long"] and len(probes) == 4
