"""Neurons that predict a label: planted ones, and the definition written out."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.analyses import neurons
from lab.analysis.interventions import random_sets
from lab.analysis.sites import Site
from lab.config import ModelConfig
from lab.data.rows import stream
from tasks.copy import Copy
from tasks.istree import IsTree
from tasks.parity import Parity
from tests.subjects import by_hand, copier, made


def planted() -> Any:
    """A copier of two symbols, a and b: neuron 5 is 10 where the symbol to copy is b, else 0, and
    the logit of b is this neuron, that of a is 2."""
    s = copier(symbols=2, mlp_ratio=0.5)
    model: Any = s.model
    with torch.no_grad():
        model.head.weight[:2] = 0
        model.head.weight[0, 3] = 2  # the query of the first answer token is a bar
        model.blocks[0].mlp.up.weight[5, 1] = 1
        model.blocks[0].mlp.out.weight[30, 5] = 1
        model.head.weight[1, 30] = 1
    return s


def test_a_neuron_that_is_the_label_is_found_and_needed() -> None:
    s = planted()
    found = neurons.analyze(s, top=(1, 15), draws=4)
    ones = float((s.batch.tokens[:, 6] == 1).mean())
    assert found.word == "b" and found.ones == ones and 0 < ones < 1
    assert found.accuracy == 1 and found.top[0] == (0, 5)
    assert found.predictivity[0][5] == 1
    others = [p for i, p in enumerate(found.predictivity[0]) if i != 5]
    assert others == [max(ones, 1 - ones)] * 15  # silent neurons say the same of every row
    assert found.table[0] == {"neuron": "0.5", "predictivity": 1.0}
    one, most = found.steps
    assert one.without_top == ones, "at its mean, about 5, the answer is always b"
    assert one.without_random == (1.0,) * 4
    assert most.without_top == one.without_top and most.without_random == ()
    again = neurons.analyze(s, word="a")
    assert again.ones == 1 - ones and again.predictivity[0][5] == 1, "it may predict by silence"


@pytest.mark.parametrize("back", [0, 2])
def test_predictivity_and_accuracy_by_their_words(back: int) -> None:
    s = made(Parity(k=2), 6, ModelConfig(width=8, mlp_ratio=1), n=24)
    for block in s.model.blocks:
        for weight in block.mlp.parameters():
            torch.nn.init.normal_(weight, std=0.8, generator=torch.Generator().manual_seed(2))
    found = neurons.analyze(s, top=(3,), back=back, draws=2, seed=7)
    training = neurons._training(s)
    assert training.task.split == "train" and training.probe.length == 6
    query = 7  # six bits, then the two of the thought; the answer is the last token
    site = query - back

    def activations(batch: Any) -> dict[int, np.ndarray]:
        kept = {}

        def keep(at: Site, x: torch.Tensor) -> torch.Tensor:
            if at.part == "neurons":
                kept[at.layer] = x[:, site].numpy()
            return x

        by_hand(s.model, torch.from_numpy(np.ascontiguousarray(batch.tokens)), keep)
        return kept

    assert s.batch.tokens.shape[1] == query + 2
    thresholds = {layer: a.mean(0) for layer, a in activations(training.batch).items()}
    labels = s.batch.tokens[:, query + 1]
    scores = {}
    for layer, a in activations(s.batch).items():
        for i in range(8):
            hits = [(a[row, i] > thresholds[layer][i]) == labels[row] for row in range(24)]
            accuracy = sum(hits) / 24
            scores[layer, i] = max(accuracy, 1 - accuracy)
            assert found.predictivity[layer][i] == pytest.approx(scores[layer, i])
    best = sorted(scores.values(), reverse=True)
    assert [scores[neuron] for neuron in found.top] == best[: len(found.top)]

    def accuracy_without(off: list[tuple[int, int]]) -> float:
        def edit(at: Site, x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            for layer, i in off if at.part == "neurons" else ():
                if layer == at.layer:
                    x[:, site, i] = float(thresholds[layer][i])
            return x

        logits = by_hand(s.model, torch.from_numpy(np.ascontiguousarray(s.batch.tokens)), edit)
        return float((logits[:, query].argmax(-1).numpy() == labels).mean())

    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    (step,) = found.steps
    assert found.accuracy == accuracy_without([])
    assert step.without_top == accuracy_without(ranked[:3])
    sets = random_sets(ranked[3:], 3, 2, stream(7, "neurons", 3))
    assert step.without_random == tuple(accuracy_without(list(chosen)) for chosen in sets)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 12), st.integers(0, 99))
def test_random_sets(number: int, size: int, draws: int, seed: int) -> None:
    items = [f"item {i}" for i in range(number)]
    sets = random_sets(items, size, draws, stream(seed, "any"))
    assert sets == random_sets(items, size, draws, stream(seed, "any"))
    for chosen in sets:
        assert len(set(chosen)) == size and set(chosen) <= set(items)
        assert list(chosen) == sorted(chosen)
    assert len(sets) <= draws and (len(sets) == draws or len(set(sets)) == len(sets))
    assert bool(sets) == (size <= number)


@pytest.mark.parametrize(
    ("task", "length", "options", "says"),
    [
        (Copy(symbols=4), 6, {}, "word = '' cannot be used: one of the answers, which are a, b, c"),
        (Copy(symbols=4), 6, {"word": "z"}, "word = 'z' cannot be used: one of the answers"),
        (Copy(symbols=4), 6, {"word": "|"}, "one that some rows have, and some not"),
        (Copy(symbols=4), 6, {"answer": 7}, "answer = 7 cannot be used: below 7"),
        (Copy(symbols=2), 6, {"back": 8}, "back = 8 cannot be used: at most 7, the tokens before"),
        (IsTree(), 5, {"top": (65,)}, "top = (65,) cannot be used: numbers from 1 to 64"),
    ],
)
def test_what_is_refused(task: Any, length: int, options: Any, says: str) -> None:
    s = made(task, length, ModelConfig(width=8), n=32)
    with pytest.raises(ValueError, match=re.escape(says)):
        neurons.analyze(s, **options)
