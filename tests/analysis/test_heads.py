"""Statistics of heads and layers, against definitions written out and heads that are known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tasks
from lab.analysis import heads, interventions
from lab.analysis.analyses.ablation import analyze as ablation
from lab.config import ModelConfig
from lab.data.rows import Rows
from lab.mixers.attention import Attention
from tasks import Batch, Role, Task
from tasks.istree import IsTree
from tasks.parity import Parity
from tests.subjects import LENGTH, copier, made

SCHEMES: list[dict[str, Any]] = [
    {"position": "none"},
    {"position": "none", "bias": True, "qk_norm": True},
    {"position": "rope"},
    {"position": "alibi"},
    {"position": "hard_alibi", "banded": 2},
    {"position": "path"},
    {"position": "path", "forget": True, "kv_heads": 2},
    {"position": "none", "forget": True},
    {"position": "rope", "kv_heads": 1, "log_length": 4},
    {"position": "rope", "kv_heads": 2, "score": "softplus"},
    {"position": "path", "gate": "elementwise"},
    *({"position": "alibi", "gate": "headwise", "gate_at": at} for at in ("G1", "G2", "G3", "G4")),
    {"gate": "elementwise", "gate_at": "G5"},
    {"gate": "elementwise", "gate_act": "silu", "gate_add": True},
    {"gate": "elementwise", "gate_shared": True, "gate_act": "ns_sigmoid"},
    {"gate": "headwise", "gate_input": "constant"},
]


@pytest.mark.parametrize("options", SCHEMES, ids=lambda o: " ".join(f"{k}={o[k]}" for k in o))
def test_weights_times_values_are_the_mixers_output(options: dict[str, Any]) -> None:
    config = ModelConfig(width=16, heads=4, **options)
    torch.manual_seed(0)
    mixer = Attention(config).double()
    for weight in mixer.parameters():  # far from uniform attention
        torch.nn.init.normal_(weight, std=1.5)
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    weights, values, before, after = mixer.attention_weights(x)
    assert weights.shape == (2, 4, 9, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9, dtype=torch.float64))
    assert (weights.triu(1) == 0).all() and (weights >= 0).all()
    assert weights[:, :, -1].max() > 0.5, "too uniform to tell schemes apart"
    if config.position == "hard_alibi":
        assert (weights[:, 0].tril(-1) == 0).all() and (weights[:, 1].tril(-2) == 0).all()

    def gated(at: str, y: torch.Tensor) -> torch.Tensor:
        if config.gate == "none" or config.gate_at != at:
            return y
        z = mixer.gate.score(x)
        z = z.view(2, 9, -1, 4 if config.gate == "elementwise" else 1) if y.ndim == 4 else z
        act = {"silu": z * z.sigmoid(), "ns_sigmoid": (1 + z.sigmoid()) / 2}
        score = act.get(config.gate_act, z.sigmoid())
        score = score.mean(2, keepdim=True) if config.gate_shared else score
        return y + score if config.gate_add else y * score

    G = config.kv_heads or 4
    v = gated("G2", mixer.qkv(x)[..., (4 + G) * 4 :].view(2, 9, G, 4))
    read = torch.stack([weights[:, h] @ v[:, :, h * G // 4] for h in range(4)], 2)
    torch.testing.assert_close(values, v.repeat_interleave(4 // G, 2))
    torch.testing.assert_close(before, read)
    torch.testing.assert_close(after, gated("G1", read))
    y = gated("G5", mixer.out(gated("G1", read).flatten(2)))
    torch.testing.assert_close(y, mixer(x), rtol=1e-6, atol=1e-6)


@st.composite
def looks(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Causal weights [n,H,T,T], sizes of the rows, and marks [n,T,T] at or before their query."""
    n, H, T = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(0, draw(st.sampled_from([0.1, 3.0, 30.0])), (n, H, T, T))
    a = np.where(np.tri(T, dtype=bool), np.exp(logits - logits.max(-1, keepdims=True)), 0)
    a[..., 0] += 1e-12
    marks = (rng.random((n, T, T)) < 0.3) & np.tri(T, dtype=bool)
    return a / a.sum(-1, keepdims=True), rng.integers(2, T + 1, n), marks


@given(looks())
@settings(max_examples=60)
def test_measures_by_their_words(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, sizes, marks = case
    n, H, T, _ = a.shape
    valid = torch.from_numpy(np.arange(T) < sizes[:, None])
    weights, marked = torch.from_numpy(a), torch.from_numpy(marks)
    found = heads.entropy(weights, valid)
    first, weight, margin, score = [], [], [], []
    for row in range(n):
        for h in range(H):
            rest = [
                stats.entropy(a[row, h, i, : i + 1]) / math.log(i + 1) for i in range(1, sizes[row])
            ]
            assert float(found[row, h]) == pytest.approx(min(rest), abs=1e-9)
        first += [a[row, :, i, 0] for i in range(1, sizes[row])]
        for i in range(T):
            columns = [j for j in range(T) if marks[row, i, j]]
            if columns:
                m = a[row, :, i, columns].sum(0)
                others = a[row, :, i].sum(-1) - m
                others = np.where(others > 1e-12, others, 0)
                weight.append(m)
                with np.errstate(divide="ignore"):
                    margin.append(np.log(m) - np.log(others))
                score.append([float(a[row, h, i].argmax() in columns) for h in range(H)])
    np.testing.assert_allclose(heads.sink(weights, valid), np.array(first))
    if weight:
        np.testing.assert_allclose(heads.dependency_weight(weights, marked), np.array(weight))
        np.testing.assert_array_equal(heads.retrieval_score(weights, marked), np.array(score))
        close = np.array(margin) < 20  # beyond that 1 - m has no digits left here
        np.testing.assert_allclose(
            heads.margin(weights, marked)[torch.from_numpy(close)],
            np.array(margin)[close],
            atol=1e-6,
        )


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(2, 6))
@settings(max_examples=30)
def test_value_norm_by_its_words(seed: int, n: int, T: int) -> None:
    rng = np.random.default_rng(seed)
    values, sizes = rng.normal(size=(n, T, 2, 3)), rng.integers(1, T + 1, n)
    values[:, 0] *= rng.random()
    valid = torch.from_numpy(np.arange(T) < sizes[:, None])
    norms = np.linalg.norm(values, axis=3)
    expected = [
        norms[row, 0] / norms[row, 1:size].mean(0) for row, size in enumerate(sizes) if size > 1
    ]
    found = heads.value_norm(torch.from_numpy(values), valid)
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 2))


def test_a_head_that_copies_is_found_and_needed() -> None:
    s = copier()
    found = heads.measure(s)
    one, other = found.heads
    assert (one.layer, one.head, other.head) == (0, 0, 1)
    assert (
        one.dependency_weight == pytest.approx(1) and one.retrieval_score == 1 and one.margin > 100
    )
    assert one.entropy == pytest.approx(0, abs=1e-9) and other.entropy == pytest.approx(1)
    seen = [1 / (LENGTH + 2 + i) for i in range(LENGTH)]  # of i tokens the query sees all alike
    assert other.dependency_weight == pytest.approx(np.mean(seen))
    assert other.margin == pytest.approx(np.mean([-math.log(1 / p - 1) for p in seen]))
    assert other.retrieval_score == 0
    assert one.value_norm == pytest.approx(1)
    assert other.value_norm is not None and math.isnan(other.value_norm), "its values are 0"
    T = 2 * LENGTH + 3
    assert other.sink == pytest.approx(np.mean([1 / i for i in range(2, T + 1)]))
    removed, both = ablation(s, top=(1, 2), by="retrieval", draws=5).steps
    assert removed.top == ((0, 0),) and removed.random == (((0, 1),),)
    assert removed.intact[0] == 1 and removed.without_random == (removed.intact,)
    assert removed.without_top is not None
    assert removed.without_top[0] == 0 and removed.without_top[1] > removed.intact[1] + 1
    assert both.top == ((0, 0), (0, 1)) and both.random == () == both.without_random
    with pytest.raises(ValueError, match="top = 3 cannot be used: from 1 to the 2 heads"):
        ablation(s, top=(3,), by="retrieval")
    alike = interventions.ablate(s, {(0, 0): None, (0, 1): None}, top=1)
    assert alike.top == () and alike.without_top is None and alike.intact == removed.intact
    assert dict(zip(alike.random, alike.without_random, strict=True)) == {
        ((0, 0),): removed.without_top,
        ((0, 1),): removed.intact,
    }
    layers, maps = heads.attention_maps(s, 3)
    assert layers == [0] and maps.shape == (1, 2, T, T)
    np.testing.assert_allclose(maps[0, 0, LENGTH:].argmax(1), np.arange(T - LENGTH))


@pytest.mark.parametrize("layers", ["attention*2", "lstm,attention"])
def test_activations_and_gates(layers: str) -> None:
    config = ModelConfig(layers=layers, width=16, position="rope", gate="elementwise")
    s = made(IsTree(), 5, config, n=24)
    roles = s.batch.roles
    loud = next(iter(set(range(len(s.task.words))) - set(s.batch.tokens[roles != Role.PAD])))
    assert (roles == Role.PAD).any()
    s.model.embed.weight.data[loud] = 100  # padding is loud, and is left out all the same
    s = dataclasses.replace(
        s, batch=Batch(np.where(roles == Role.PAD, loud, s.batch.tokens), roles)
    )
    found = heads.measure(s)
    valid = torch.from_numpy(roles != Role.PAD)
    x = s.model.embed(torch.from_numpy(np.ascontiguousarray(s.batch.tokens)))
    peaks = []
    for block, seen in zip(s.model.blocks, found.layers, strict=True):
        if seen.mixer == "attention":
            z = torch.sigmoid(block.norm1(x) @ block.mixer.gate.score.weight.T)
            assert seen.gate == pytest.approx(float(z[valid].detach().mean()), rel=1e-5)
            reads: list[torch.Tensor] = []
            hook = block.mixer.out.register_forward_pre_hook(lambda _, a: reads.append(a[0]))  # noqa: B023
            block(x)
            hook.remove()
            after = reads[0][valid].detach().abs()
            before = (reads[0] / z)[valid].detach().abs()
            assert seen.after == pytest.approx(float(after.mean()), rel=1e-4)
            assert seen.before == pytest.approx(float(before.mean()), rel=1e-4)
            assert seen.below_2 == pytest.approx(float((after < 1e-2).float().mean()), abs=1e-3)
            assert seen.below_3 == pytest.approx(float((after < 1e-3).float().mean()), abs=1e-3)
        else:
            assert seen.gate is None and seen.after is None
        x = block(x)
        peaks.append(float(x[valid].detach().abs().max()))
        assert seen.peak == pytest.approx(peaks[-1], rel=1e-5)
    assert found.activation == pytest.approx(np.mean(peaks), rel=1e-5)
    assert len(found.heads) == 2 * sum(m.mixer == "attention" for m in found.layers)


def test_parts_of_the_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    s = made(Parity(k=3), 8, ModelConfig(), n=20)
    whole = heads.measure(s)
    monkeypatch.setattr(heads, "NUMBERS", 3 * 2 * s.batch.tokens.shape[1] ** 2)
    in_parts = heads.measure(s)
    for one, other in zip(whole.heads, in_parts.heads, strict=True):
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))


def test_every_task_can_be_looked_at() -> None:
    for name in tasks.names():
        task = tasks.load(name)()
        length = next(n for n in (3, 4, 5, 6, 8, 10, 16) if _draws(task, n))
        s = made(task, length, ModelConfig(layers="attention", width=8, heads=1), n=2)
        found = heads.measure(s)
        assert 0 <= found.heads[0].entropy <= 1 + 1e-9, name


def _draws(task: Task, length: int) -> bool:
    try:
        Rows(task, length, 0)[0:1]
    except ValueError:
        return False
    return True
