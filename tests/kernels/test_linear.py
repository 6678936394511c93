"""linear: the definition against a double sum, the chunked form against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kernels import Impl
from kernels import linear as file
from kernels.linear import linear
from tests.kernels.native import COMPILER
from tests.kernels.rounding import allowed, check_equal, with_gradients

LENGTHS = [1, 2, 5, 16, 31, 32, 33, 64, 100]
IMPLS = [pytest.param("native", marks=COMPILER), "reference"]
DECAYS = ["channel", "head", "none", "resets", "strong"]


def make(T: int, decay: str = "channel", initial: bool = True, B: int = 2) -> dict[str, Any]:
    inputs: dict[str, Any] = file.example_inputs(B, T, 2, 4, 5, seed=T, dtype=torch.float64)
    g = inputs["log_decay"]
    pick = torch.rand(g.shape, generator=torch.Generator().manual_seed(T))
    inputs["log_decay"] = {
        "channel": g,
        "head": g[..., 0],
        "none": None,
        "resets": g.masked_fill(pick < 0.2, -torch.inf),
        "strong": torch.where(pick < 0.2, -1000.0, g / 1000)[..., 0],
    }[decay]
    return inputs if initial else {**inputs, "S0": None}


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("decay", DECAYS)
def test_definition_is_the_double_sum(decay: str, initial: bool) -> None:
    i = make(14, decay, initial)
    q, k, v = (i[n].numpy() for n in "qkv")
    g = np.zeros_like(k) if i["log_decay"] is None else i["log_decay"].numpy()
    keep = np.exp(np.broadcast_to(g.reshape(2, 14, 2, -1), k.shape))
    o = np.zeros_like(v)
    for t in range(14):
        if initial:
            seen = np.prod(keep[:, : t + 1], 1) * q[:, t]
            o[:, t] += np.einsum("bhd,bhde->bhe", seen, i["S0"].numpy())
        for j in range(t + 1):
            weight = (q[:, t] * np.prod(keep[:, j + 1 : t + 1], 1) * k[:, j]).sum(-1)
            o[:, t] += weight[..., None] * v[:, j]
    assert np.abs(file.definition(**i, scale=0.5)[0].numpy() - 0.5 * o).max() < 1e-12


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("T", LENGTHS)
def test_chunked_equals_definition(T: int, decay: str, initial: bool) -> None:
    i = make(T, decay, initial)
    got = with_gradients(linear, i, scale=0.3)
    check_equal(got, with_gradients(file.definition, i, scale=0.3), 1e-10)


@pytest.mark.parametrize("decay", ["channel", "head", "none"])
def test_gradcheck(decay: str) -> None:
    i = make(6, decay, B=1)
    assert torch.autograd.gradcheck(
        linear, [None if x is None else x.requires_grad_() for x in i.values()]
    )


@pytest.mark.parametrize("decay", DECAYS)
def test_steps_equal_the_parallel_form(decay: str) -> None:
    i = make(35, decay)
    o, last = linear(**i, scale=0.7)
    S = i["S0"]
    for t in range(35):
        one = [None if i[n] is None else i[n][:, t] for n in ("q", "k", "v", "log_decay")]
        got, S = file.linear_step(*one, S, scale=0.7)
        assert (got - o[:, t]).abs().max() < 1e-12
    assert (S - last).abs().max() < 1e-12


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decay", ["channel", "strong"])
def test_float32_survives_resets(decay: str, impl: Impl) -> None:
    """Mild decays after a strong one keep their digits: no difference of large sums."""
    i = make(100, decay)
    if decay == "channel":
        i["log_decay"] = i["log_decay"].masked_fill(i["log_decay"] < -0.3, -1000.0)
    wanted, state = file.definition(**i)
    o, last = linear(**{n: x.float() for n, x in i.items()}, impl=impl)
    bound = allowed(torch.float32, stages=4, terms=32)
    assert (o.double() - wanted).norm() <= bound * wanted.norm()
    assert (last.double() - state).norm() <= bound * state.norm()


def test_autocast_changes_nothing() -> None:
    i = {n: x.to(torch.bfloat16) for n, x in make(40).items()}
    plain = linear(**i)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = linear(**i)
    assert plain[0].dtype == torch.bfloat16 and plain[1].dtype == torch.float32
    assert all(torch.equal(x, y) for x, y in zip(plain, under, strict=True))


def test_vmap() -> None:
    i = make(20)
    inputs = [torch.stack([x, x * 0.9, x * 1.1]) for x in i.values()]

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        return sum(y.sin().sum() for y in linear(*inputs))

    got = torch.func.vmap(torch.func.grad(loss, (0, 1, 2, 3, 4)))(*inputs)
    for n in range(3):
        single = torch.func.grad(loss, (0, 1, 2, 3, 4))(*(x[n] for x in inputs))
        for g, w in zip(got, single, strict=True):
            assert (g[n] - w).abs().max() < 1e-12


def test_bad_shapes_are_named() -> None:
    i = make(4)
    for name, x in (("q", i["q"][:, :3]), ("v", i["v"][:1]), ("S0", i["S0"][..., :3])):
        with pytest.raises(ValueError, match=name):
            linear(**{**i, name: x})
    with pytest.raises(ValueError, match="log_decay"):
        linear(**{**i, "log_decay": i["log_decay"][..., :2]})
