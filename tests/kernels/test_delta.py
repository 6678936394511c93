"""delta: the definition against products of matrices, the chunked form against the definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import kernels
from kernels import delta as file
from kernels.delta import delta
from tests.kernels.rounding import allowed, check_equal, with_gradients
from tests.profiles import NIGHTLY

LENGTHS = [1, 2, 5, 16, 31, 32, 33, 64, 100]


def make(
    T: int, decay: bool = True, initial: bool = True, distinct: int | None = None, B: int = 2
) -> dict[str, Any]:
    inputs: dict[str, Any] = file.example_inputs(
        B, T, 2, 4, 5, seed=T, dtype=torch.float64, distinct=distinct
    )
    inputs |= {} if decay else {"log_decay": None}
    return inputs if initial else {**inputs, "S0": None}


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("decay", [True, False])
def test_definition_is_the_product_of_transitions(decay: bool, initial: bool) -> None:
    i = make(11, decay, initial)
    n = {name: None if x is None else x.numpy() for name, x in i.items()}
    o, last = np.zeros((2, 11, 2, 5)), np.zeros((2, 2, 4, 5))
    for b, h in itertools.product(range(2), range(2)):
        k, v, beta = n["k"][b, :, h], n["v"][b, :, h], n["beta"][b, :, h]
        keep = np.exp(n["log_decay"][b, :, h]) if decay else np.ones(11)
        moves = [keep[t] * (np.eye(4) - beta[t] * np.outer(k[t], k[t])) for t in range(11)]
        for t in range(11):
            state = np.zeros((4, 5))
            product = np.eye(4)
            for j in range(t, -1, -1):
                state += product @ np.outer(beta[j] * k[j], v[j])
                product = product @ moves[j]
            if initial:
                state += product @ n["S0"][b, h]
            o[b, t, h] = state.T @ n["q"][b, t, h]
        last[b, h] = state
    got = file.definition(**i, scale=0.5)
    assert np.abs(got[0].numpy() - 0.5 * o).max() < 1e-12
    assert np.abs(got[1].numpy() - last).max() < 1e-12


@pytest.mark.parametrize(
    ("distinct", "decay", "initial"),
    list(itertools.product([None, 3, 1], [True, False], [True, False]))
    if NIGHTLY
    else [(None, True, True), (3, False, True), (1, True, False), (None, False, False)],
)
@pytest.mark.parametrize("T", LENGTHS)
def test_reference_equals_definition(
    T: int, distinct: int | None, decay: bool, initial: bool
) -> None:
    i = make(T, decay, initial, distinct)
    got = with_gradients(file.reference, i, scale=0.3)
    check_equal(got, with_gradients(file.definition, i, scale=0.3), 1e-10)


@pytest.mark.parametrize("decay", [True, False])
def test_gradcheck(decay: bool) -> None:
    i = make(6, decay, B=1)
    leaves = [None if x is None else x.requires_grad_() for x in i.values()]
    assert torch.autograd.gradcheck(delta, leaves)


@pytest.mark.parametrize("decay", [True, False])
def test_steps_equal_the_parallel_form(decay: bool) -> None:
    i = make(35, decay)
    o, last = delta(**i, scale=0.7)
    S = i["S0"]
    for t in range(35):
        one = [None if i[n] is None else i[n][:, t] for n in ("q", "k", "v", "beta", "log_decay")]
        got, S = file.delta_step(*one, S, scale=0.7)
        assert (got - o[:, t]).abs().max() < 1e-12
    assert (S - last).abs().max() < 1e-12


@pytest.mark.parametrize("distinct", [None, 8, 1])
def test_float32_survives_repeated_keys_and_resets(distinct: int | None) -> None:
    i = file.example_inputs(1, 257, 2, 16, 16, dtype=torch.float64, distinct=distinct)
    i["beta"] = torch.full_like(i["beta"], 1.99)
    pick = torch.rand(1, 257, 2, generator=torch.Generator().manual_seed(0))
    i["log_decay"] = torch.where(pick < 0.05, -torch.inf, i["log_decay"] / 100)
    got = with_gradients(delta, {n: x.float() for n, x in i.items()})
    # Along a key the state changes its sign at every token: each writes about 2 |S|, |S| remains.
    bound = allowed(torch.float32, stages=8, terms=16 + 257, cancelled=2 * 257**0.5)
    check_equal(got, with_gradients(file.definition, i), bound)


def test_a_key_written_with_beta_one_is_read_back() -> None:
    i = make(20, decay=False, initial=False)
    i["beta"] = torch.ones_like(i["beta"])
    i["q"] = i["k"]
    o, _ = delta(**i)
    assert (o - i["v"]).abs().max() < 1e-12


def test_autocast_changes_nothing() -> None:
    i = {n: x.to(torch.bfloat16) for n, x in make(40).items()}
    plain = delta(**i)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = delta(**i)
    assert plain[0].dtype == torch.bfloat16 and plain[1].dtype == torch.float32
    assert all(torch.equal(x, y) for x, y in zip(plain, under, strict=True))


def test_vmap() -> None:
    i = make(20)
    inputs = [torch.stack([x, x * 0.9, x * 1.1]) for x in i.values()]
    which = tuple(range(6))

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        return sum(y.sin().sum() for y in delta(*inputs))

    got = torch.func.vmap(torch.func.grad(loss, which))(*inputs)
    for n in range(3):
        for g, w in zip(got, torch.func.grad(loss, which)(*(x[n] for x in inputs)), strict=True):
            assert (g[n] - w).abs().max() < 1e-12


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(delta, backend="aot_eager", fullgraph=True)
    for inputs in (make(18), make(40, False, False)):
        check_equal(with_gradients(compiled, inputs), with_gradients(delta, inputs), 1e-12)


def test_bad_shapes_and_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    i = make(4)
    for name, x in (
        ("q", i["q"][:, :3]),
        ("v", i["v"][:1]),
        ("beta", i["beta"][..., :1]),
        ("S0", i["S0"][..., :3]),
    ):
        with pytest.raises(ValueError, match=name):
            delta(**{**i, name: x})
    with pytest.raises(ValueError, match="impl = 'triton'"):
        delta(**i, impl="triton")
    delta(**i, impl="reference")
    assert kernels.served()["delta"] == "reference"
