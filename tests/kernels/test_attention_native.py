"""Attention in C++ against the definition in float64: output, every gradient, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels import served
from kernels.attention import attention, definition, example_inputs
from tests.kernels.native import COMPILER, inside
from tests.kernels.queries import check_queries, some_of
from tests.kernels.rounding import CONSTANT, check_against_definition, doubled, gap, with_gradients

pytestmark = COMPILER
ALL: dict[str, Any] = {"alibi": True, "window": True, "forget": True, "gate": "elementwise"}


def check(inputs: dict[str, Tensor]) -> None:
    check_against_definition("attention", attention, definition, inputs, "native")


def native(**inputs: Any) -> Tensor:
    return attention(**inputs, impl="native")


def bits(inputs: dict[str, Tensor]) -> list[Tensor]:
    return list(with_gradients(native, inputs).values())


@given(
    shape=st.tuples(
        st.integers(1, 3), st.integers(1, 50), st.sampled_from([1, 2, 4]), st.integers(1, 40)
    ),
    G=st.sampled_from([1, 2, 4]),
    e=st.integers(1, 40),
    window=st.none() | st.lists(st.integers(-1, 50), min_size=4, max_size=4),
    alibi=st.booleans(),
    forget=st.booleans(),
    gate=st.sampled_from([None, "headwise", "elementwise"]),
    seed=st.integers(0, 999),
)
def test_any_shape_and_option(
    shape: tuple[int, ...], G: int, window: list[int] | None, **options: Any
) -> None:
    inputs = example_inputs(*shape, G=min(G, shape[2]), **options)
    if window is not None:
        inputs["window"] = torch.tensor(window[: shape[2]])
    check(inputs)


@given(
    data=st.data(),
    B=st.integers(1, 4),
    T=st.integers(1, 70),
    G=st.sampled_from([1, 2, 4]),
    window=st.none() | st.lists(st.integers(-1, 50), min_size=4, max_size=4),
    alibi=st.booleans(),
    forget=st.booleans(),
    gate=st.sampled_from([None, "headwise", "elementwise"]),
    impl=st.sampled_from(["native", "native", "reference"]),
    seed=st.integers(0, 999),
)
def test_some_queries_are_those_rows_of_all(
    data: st.DataObject, B: int, T: int, window: list[int] | None, impl: str, **options: Any
) -> None:
    inputs = example_inputs(B, T, 4, 12, **options)
    if window is not None:
        inputs["window"] = torch.tensor(window)
    queries = data.draw(some_of(B * T))
    check_queries("attention", attention, definition, inputs, queries, impl)


def test_no_query_gives_no_gradient() -> None:
    inputs = {n: x.requires_grad_() for n, x in example_inputs(2, 5).items()}
    none = torch.zeros(0, dtype=torch.int64)
    y = native(**inputs | {"q": inputs["q"].flatten(0, 1)[None, none]}, queries=none)
    assert y.shape == (1, 0, 4, 32)
    grads = torch.autograd.grad(y.sum(), list(inputs.values()))
    assert not any(x.any() for x in grads)


@pytest.mark.parametrize("queries", [[3, 2], [2, 2], [-1, 3], [3, 10], [[2, 3]], [2.0, 3.0]])
def test_queries_that_are_no_tokens_are_named(queries: list[Any]) -> None:
    inputs = example_inputs(2, 5)
    inputs["q"] = inputs["q"][:1, :2]
    with pytest.raises(ValueError, match=r"queries must be int64 .* rise from 0 to 9"):
        attention(**inputs, queries=torch.tensor(queries))


@pytest.mark.parametrize(("T", "d", "e"), [(127, 16, 16), (128, 64, 64), (257, 8, 130)])
def test_rows_of_many_tiles(T: int, d: int, e: int) -> None:
    check(example_inputs(1, T, 2, d, e=e, **ALL))


def test_views_are_read_in_place_and_nothing_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """q, k and v as the models have them: parts of one tensor, here with NaN on all sides; and
    fresh memory that holds NaN, so that what is not written is seen."""
    inputs = example_inputs(2, 21, 4, 20, G=2, **ALL)
    want = bits(inputs)
    whole = torch.full((2, 23, 13, 24), torch.nan)
    places = {"q": slice(1, 5), "k": slice(6, 8), "v": slice(9, 11)}
    views = {n: whole[:, 1:-1, place, 2:-2].copy_(inputs[n]) for n, place in places.items()}
    for n in ("log_forget", "gate", "slopes"):
        views[n] = inside(inputs[n])
    for owner, name in ((torch, "empty_like"), (Tensor, "new_empty")):
        make = getattr(owner, name)
        filled = lambda *x, make=make, **more: make(*x, **more).fill_(torch.nan)  # noqa: E731
        monkeypatch.setattr(owner, name, filled)
    leaves = {n: views.get(n, x).detach() for n, x in inputs.items()}
    for n, x in leaves.items():
        x.requires_grad_(n not in CONSTANT)
    y = native(**leaves)
    dy = inside(torch.sin(torch.arange(y.numel())).view_as(y))
    grads = torch.autograd.grad(y, [x for x in leaves.values() if x.requires_grad], dy)
    assert all(torch.equal(a, b) for a, b in zip((y, *grads), want, strict=True))
    sideways = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()}
    assert torch.equal(native(**sideways), y)


def test_the_same_bits_whatever_ran_before() -> None:
    small, large = example_inputs(1, 19, 4, 20, **ALL), example_inputs(1, 90, 4, 40, **ALL)
    first = bits(small)
    bits({n: x if n in CONSTANT else torch.full_like(x, torch.nan) for n, x in large.items()})
    again = bits(small)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with torch.no_grad():
        assert torch.equal(native(**small), first[0])


def test_a_token_that_is_no_number_is_seen_and_not_before_it() -> None:
    inputs = example_inputs(1, 40, 2, 8, e=16)
    clean = native(**inputs)
    inputs["k"][0, 20, 0] = torch.nan
    y = native(**inputs)
    assert torch.equal(y[:, :20], clean[:, :20]) and torch.equal(y[:, :, 1], clean[:, :, 1])
    assert y[:, 20:, 0].isnan().all()


def test_gates_that_are_shut() -> None:
    """Sums of log f near -1000, and sigmoids near e^-50: small numbers, none lost, no NaN."""
    inputs = example_inputs(2, 40, 4, 16, **ALL)
    inputs["log_forget"][:, ::2] = -50.0
    inputs["gate"][..., ::2] = -50.0
    check(inputs)
    inputs["gate"][:] = -200.0
    assert not native(**inputs).any()
    inputs["q"] *= 1e6
    inputs["log_forget"] *= -1.0
    assert all(x.isfinite().all() for x in bits(inputs))


def test_sums_of_hard_forgetting_do_not_blur_the_tokens_after_it() -> None:
    inputs = example_inputs(1, 257, 1, 16, forget=True)
    inputs["log_forget"][:, :128] *= 50.0
    check(inputs)


def test_no_rows() -> None:
    inputs = {
        n: x.requires_grad_(n not in CONSTANT) for n, x in example_inputs(0, 5, **ALL).items()
    }
    y = native(**inputs)
    assert y.shape == (0, 5, 4, 32)
    assert torch.autograd.grad(y.sum(), inputs["k"])[0].shape == inputs["k"].shape


def test_gradients_of_parts_of_one_tensor_are_parts_of_one() -> None:
    q, k, v = example_inputs(2, 5, 4, 8, G=2).values()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    dq, dk, dv = torch.autograd.grad(native(q=q, k=k, v=v).sum(), leaves)
    assert dq.stride() == dk.stride() == dv.stride() == (5 * 64, 64, 8, 1)
    step = dq.element_size() * 8
    assert [x.data_ptr() - dq.data_ptr() for x in (dk, dv)] == [4 * step, 6 * step]


def test_what_is_not_float32_runs_elsewhere_or_is_refused() -> None:
    inputs = example_inputs(1, 5, 2, 8, forget=True)
    attention(**inputs)
    assert served()["attention"] == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attention(**inputs).dtype == torch.bfloat16
    assert served()["attention"] == "reference"
    assert gap(attention(**inputs), attention(**doubled(inputs))) < 1e-6
    assert served()["attention"] == "reference"
    attention(**inputs, offsets=torch.tensor([0, 5], dtype=torch.int32))
    assert served()["attention"] == "reference"
    torch.func.vmap(lambda q: attention(**inputs | {"q": q}))(inputs["q"][None])
    assert served()["attention"] == "reference"
    with pytest.raises(ValueError, match=r"float32 on a CPU, not torch\.float64"):
        native(**inputs | {"log_forget": inputs["log_forget"].double()})
    with pytest.raises(ValueError, match=r"packed rows .* take no queries"):
        tokens = torch.arange(5)
        attention(**inputs, offsets=torch.tensor([0, 5], dtype=torch.int32), queries=tokens)
    with pytest.raises(ValueError, match="takes no packed rows"):
        native(**inputs, offsets=torch.tensor([0, 5], dtype=torch.int32))
