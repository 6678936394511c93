"""Sizes beyond reason are refused from an estimate, before anything of that size is made."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import registry
from lab.config import ModelConfig
from lab.data import size
from lab.data.position_ids import check_rows
from lab.data.size import check_size, parameters, row_tokens
from lab.experiments._make import make
from lab.nn.model import Model
from tests.profiles import NIGHTLY
from tests.small import with_train
from tests.stages import distilled, undropped
from tests.trained import small

LAYERS = st.lists(st.sampled_from(registry.names("mixers")), min_size=1, max_size=3)


@settings(max_examples=1000 if NIGHTLY else 25)
@given(
    LAYERS,
    st.sampled_from([16, 32, 64]),
    st.sampled_from([{}, {"mlp_ratio": 0}, {"mlp_act": "swiglu"}, {"experts": 3}, {"bias": True}]),
    st.sampled_from(["none", "learned", "predicted", "sinusoidal"]),
    st.integers(2, 500),
)
def test_the_estimate_of_the_weights(
    layers: list[str], width: int, more: dict[str, Any], position: Any, words: int
) -> None:
    """Against the model itself."""
    config = ModelConfig(layers=",".join(layers), width=width, heads=2, position=position, **more)
    numbers = sum(p.numel() for p in Model(config, words).parameters())
    assert 0.5 < parameters(config, words) / numbers < 1.5


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("model", {"layers": "attention*10000000"}, "model.layers = .* at most 10,000 layers"),
        ("model", {"layers": "attention*²"}, "model.layers = .* cannot be used: NAME"),
        ("model", {"layers": "lstm*9999,lstm*9999"}, "from 1 to 10,000 layers"),
        ("model", {"experts": 10**6}, "layers times experts are 1,000,000, and at most 10,000"),
        ("model", {"width": 10**9}, "model.width = 1000000000 .* about [0-9,]+ GB of memory"),
        ("model", {"max_positions": 10**12}, "about [0-9,]+ GB of memory, and this machine has"),
        ("train", {"batch": 10**9}, "train.batch = 1000000000 .* about [0-9,]+ GB"),
        ("train", {"examples": 10**12}, "train.examples = 1000000000000 .* about [0-9,]+ GB"),
        ("train", {"lengths": (10**9,)}, "length = 1000000000 .* about [0-9,]+ GB"),
        ("", {"prompt_repeats": 10**8}, "prompt_repeats = 100000000 .* at most 10,000,000"),
        ("", {"prompt_repeats": 10**6}, "length = 6 .* about [0-9,]+ GB"),
        ("task", {"k": 10**9}, "task.k = 1000000000 .* at most 65,536"),
    ],
)
def test_sizes_beyond_reason_are_refused_at_once(
    part: str, changes: dict[str, Any], message: str
) -> None:
    """With the estimate, in 2 s of CPU and 200 MB."""
    base, start = small(), time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            changed = dataclasses.replace(getattr(base, part), **changes) if part else None
            more = {part: changed} if part else changes
            check_rows(dataclasses.replace(base, **more))
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 2


@pytest.mark.parametrize("name", ["multiplication", "addition", "turing_machine", "recall"])
def test_a_long_row_is_approached_from_shorter_ones(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="length = 100000000 cannot be used"):
        row_tokens(make(name).task, 10**8)
    assert time.process_time() - start < 2


def test_reading_needs_less_than_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "memory", lambda: 300_000_000)
    monkeypatch.setattr(size, "ELSEWHERE", 0)
    wide = dataclasses.replace(with_train().model, width=512, layers="attention*8")
    experiment = dataclasses.replace(with_train(batch=8), model=wide)
    check_size(experiment, training=False)
    with pytest.raises(
        ValueError,
        match=r"width = 512 .* about 0\.42 GB .* has 0\.3 GB",
    ):
        check_size(experiment)


def test_distillation_needs_the_weights_of_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch of long rows, which training alone has room for."""
    monkeypatch.setattr(size, "memory", lambda: 2 * 10**9)
    monkeypatch.setattr(size, "ELSEWHERE", 0)
    for e, fits in ((undropped(), True), (distilled(), False)):
        train = dataclasses.replace(e.train, lengths=(2_000,), batch=64)
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="length = 2000"):
            check_size(dataclasses.replace(e, train=train))


def test_every_experiment_at_its_own_sizes_passes() -> None:
    for name in registry.names("experiments"):
        check_size(make(name))
