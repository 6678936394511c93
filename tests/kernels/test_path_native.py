"""PaTH in C++ against the definition in float64: output, every gradient, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels import served
from kernels.path import definition, example_inputs, path
from tests.kernels.native import COMPILER, inside
from tests.kernels.queries import check_queries, some_of
from tests.kernels.rounding import check_against_definition, doubled, gap, with_gradients

pytestmark = COMPILER
ALL = {"G": 2, "e": 20, "forget": True, "gate": "elementwise", "repeat": 2}


def check(inputs: dict[str, Tensor], offsets: Tensor | None = None) -> None:
    check_against_definition("path", path, definition, inputs, "native", offsets=offsets)


def native(**inputs: Any) -> Tensor:
    return path(**inputs, impl="native")


def with_bits(inputs: dict[str, Tensor]) -> list[Tensor]:
    return list(with_gradients(native, inputs).values())


@given(
    shape=st.tuples(
        st.integers(1, 3), st.integers(5, 50), st.sampled_from([1, 2, 4]), st.integers(8, 70)
    ),
    G=st.sampled_from([1, 2, 4]),
    e=st.integers(1, 70),
    forget=st.booleans(),
    gate=st.sampled_from([None, "headwise", "elementwise"]),
    repeat=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 999),
)
def test_any_shape_and_option(shape: tuple[int, ...], G: int, **options: Any) -> None:
    check(example_inputs(*shape, G=min(G, shape[2]), **options))


@given(
    data=st.data(),
    B=st.integers(1, 3),
    T=st.integers(5, 70),
    G=st.sampled_from([1, 2, 4]),
    forget=st.booleans(),
    gate=st.sampled_from([None, "headwise", "elementwise"]),
    repeat=st.sampled_from([None, 3]),
    impl=st.sampled_from(["native", "native", "reference"]),
    seed=st.integers(0, 999),
)
def test_some_queries_are_those_rows_of_all(
    data: st.DataObject, B: int, T: int, impl: str, **options: Any
) -> None:
    queries = data.draw(some_of(B * T))
    check_queries("path", path, definition, example_inputs(B, T, 4, 12, **options), queries, impl)


# Random small inputs are no property: the mean error of a few numbers has no bound.
@pytest.mark.parametrize(("T", "d"), [(1, 16), (2, 16), (4, 16), (40, 1), (40, 2), (40, 5)])
def test_short_rows_and_narrow_heads(T: int, d: int) -> None:
    check(example_inputs(2, T, 4, d, **ALL))


@pytest.mark.parametrize(("T", "d"), [(127, 16), (128, 32), (257, 64)])
def test_rows_of_many_chunks(T: int, d: int) -> None:
    check(example_inputs(1, T, 2, d, **ALL | {"repeat": 3 if T == 257 else None}))


@pytest.mark.parametrize("bounds", [[0, 0, 17, 33, 33], [0, 40, 41]])
def test_packed_rows(bounds: list[int]) -> None:
    offsets = torch.tensor(bounds, dtype=torch.int32)
    check(example_inputs(1, bounds[-1], 4, 8, **ALL), offsets)


def test_views_and_nothing_beside_them() -> None:
    """q, k and v as the models have them: parts of one tensor, here with NaN on all sides."""
    inputs = example_inputs(2, 21, 4, 20, **ALL)
    whole = torch.full((2, 23, 13, 24), torch.nan)
    places = {"q": slice(1, 5), "k": slice(6, 8), "v": slice(9, 11)}
    views = {n: whole[:, 1:-1, place, 2:-2].copy_(inputs[n]) for n, place in places.items()}
    for n in ("w", "beta", "log_forget", "gate"):
        views[n] = inside(inputs[n])
    leaves = {n: views[n].detach().requires_grad_() for n in inputs}
    got = torch.autograd.grad(native(**leaves).square().sum(), list(leaves.values()))
    leaves = {n: x.requires_grad_() for n, x in inputs.items()}
    want = torch.autograd.grad(native(**leaves).square().sum(), list(leaves.values()))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    sideways = {
        n: x.detach().transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()
    }
    assert torch.equal(native(**sideways), native(**inputs))


def test_the_same_bits_whatever_ran_before() -> None:
    small, large = example_inputs(1, 19, 4, 24, **ALL), example_inputs(1, 90, 4, 40, **ALL)
    first = with_bits(small)
    with_bits({n: torch.full_like(x, torch.nan) for n, x in large.items()})
    again = with_bits(small)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with torch.no_grad():
        assert torch.equal(native(**small), first[0])


def test_gates_that_are_shut() -> None:
    """Sums of log f near -2000, and sigmoids near e^-50: small numbers, none lost, no NaN."""
    inputs = example_inputs(2, 40, 4, 16, **ALL)
    inputs["log_forget"][:, ::2] = -100.0
    inputs["gate"][..., ::2] = -50.0
    check(inputs)
    inputs["gate"][:] = -200.0
    assert not native(**inputs).any()
    inputs["q"] *= 1e6
    inputs["log_forget"] *= -1.0
    assert all(x.isfinite().all() for x in with_bits(inputs))


def test_no_rows() -> None:
    inputs = {n: x.requires_grad_() for n, x in example_inputs(0, 5, 2, 8, **ALL).items()}
    y = native(**inputs)
    assert y.shape == (0, 5, 2, 20)
    assert torch.autograd.grad(y.sum(), inputs["k"])[0].shape == inputs["k"].shape


def test_what_is_not_float32_runs_elsewhere_or_is_refused() -> None:
    inputs = example_inputs(1, 5, 2, 8, forget=True)
    path(**inputs)
    assert served()["path"] == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert path(**inputs).dtype == torch.bfloat16
    assert served()["path"] == "reference"
    assert gap(path(**inputs), path(**doubled(inputs))) < 1e-6
    assert served()["path"] == "reference"
    with pytest.raises(ValueError, match=r"float32 on a CPU, not torch\.float64"):
        path(**inputs | {"log_forget": inputs["log_forget"].double()}, impl="native")
    long = example_inputs(1, 2049, 1, 64)
    with pytest.raises(ValueError, match="rows of 2049 tokens with heads of width 64"):
        path(**long, impl="native")
    halves = torch.tensor([0, 1024, 2049], dtype=torch.int32)
    assert path(**long, offsets=halves, impl="native").isfinite().all()
    with pytest.raises(ValueError, match="offsets must rise from 0 to T = 5"):
        path(**inputs, offsets=torch.tensor([0, 7, 5], dtype=torch.int32), impl="native")
