"""Softplus scores: the torch reference is the definition, and no kernel takes them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import served
from kernels.attention import attention, definition, example_inputs, reference
from kernels.attention.softplus import softplus_weights
from tests.kernels.rounding import gap, with_gradients
from tests.kernels.test_attention import OPTIONS, doubles


@given(
    power=st.sampled_from([0.0, 1.0, 2.0, 15.0]),
    scale=st.sampled_from([0.1, 1.0, None]),
    T=st.sampled_from([1, 2, 3, 4, 5, 17, 33]),
    options=st.sampled_from(OPTIONS),
)
@settings(max_examples=25)
def test_reference_equals_definition_with_every_gradient(power, scale, T, options):
    inputs = doubles(T, options, B=1)
    want = with_gradients(lambda **x: definition(**x, softplus=power, scale=scale), inputs)
    got = with_gradients(lambda **x: reference(**x, softplus=power, scale=scale), inputs)
    assert {n: gap(got[n], want[n]) for n in want if gap(got[n], want[n]) > 1e-7} == {}


def test_packed_rows_are_the_rows_alone():
    inputs = doubles(12, OPTIONS[-1], B=1)
    offsets = torch.tensor([0, 5, 5, 12], dtype=torch.int32)
    y = attention(**inputs, offsets=offsets, softplus=3.0)
    assert gap(y, definition(**inputs, offsets=offsets, softplus=3.0)) < 1e-10


def test_queries_are_those_of_all_tokens():
    inputs = doubles(9, {"gate": "headwise"})
    some = torch.tensor([1, 8, 13])
    asked = {n: inputs[n].flatten(0, 1)[some][None] for n in ("q", "gate")}
    y = attention(**inputs | asked, queries=some, softplus=2.0)
    assert gap(y, attention(**inputs, softplus=2.0).flatten(0, 1)[some][None]) < 1e-12


@pytest.mark.parametrize("impl", ["triton", "native"])
def test_no_kernel_takes_them(impl, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    inputs = example_inputs(1, 5)
    attention(**inputs, softplus=15.0)
    assert served()["attention"] == "reference"
    with pytest.raises(ValueError, match=r"attention: .*softplus scores; impl = 'reference'"):
        attention(**inputs, softplus=15.0, impl=impl)


@pytest.mark.parametrize("power", [-1.0, 0.5, math.nan])
def test_powers_are_checked(power):
    with pytest.raises(ValueError, match=r"softplus = .* must be 0 or at least 1"):
        attention(**example_inputs(1, 5), softplus=power)


def test_equal_keys_stay_equal_and_small_differences_count():
    zeros = torch.zeros(8)
    assert gap(softplus_weights(zeros, zeros, 15.0), torch.full((8,), 1 / 8)) < 1e-6
    s = zeros.clone()
    s[2], s[5] = 1e-3, 2e-3  # to the 15th power they are below the least float32
    w = softplus_weights(s, zeros, 15.0).tolist()
    assert w[5] > 0.999 and math.isclose(sum(w), 1, rel_tol=1e-6)
