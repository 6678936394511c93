"""gelu, normalize, rms_norm, rotary: native code and reference against float64 definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kernels import gelu, normalize, rms_norm, rotary
from tests.kernels.native import COMPILER, inside
from tests.kernels.rounding import check_against_definition

IMPLS = [pytest.param("native", marks=COMPILER), "reference"]
OPERATORS: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    "gelu": (gelu.gelu, gelu, {}),
    "normalize": (normalize.normalize, normalize, {}),
    "rms_norm": (rms_norm.rms_norm, rms_norm, {"eps": 1e-6}),
    "rotary": (rotary.rotary, rotary, {"start": 3, "base": 100.0}),
}


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 15, 16, 17, 40, 100])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_their_definitions(name: str, size: int, impl: str) -> None:
    run, file, options = OPERATORS[name]
    if name == "rotary":
        inputs = file.example_inputs(d=2 * size)
    else:
        # Of one or two channels, a norm's gradient is what a cancellation leaves.
        inputs = file.example_inputs(size) if name == "gelu" else file.example_inputs(D=2 + size)
    check_against_definition(name, run, file.definition, inputs, impl, **options)


@pytest.mark.parametrize("impl", IMPLS)
def test_views_are_read_in_place(impl: str) -> None:
    whole = torch.randn(2, 5, 7, 8, generator=torch.Generator().manual_seed(0))
    views = [whole[:, :, 2:5], whole.transpose(1, 2)[:, 1:], whole.mT[:, :, :, :7], whole[:0]]
    for x in views:
        for name, (run, _, options) in OPERATORS.items():
            more = {"weight": torch.ones(x.shape[-1])} if name == "rms_norm" else {}
            if name == "rotary" and x.shape[-1] % 2:
                continue
            y = run(x, **more, **options, impl=impl)
            want = run(x.double(), **{n: w.double() for n, w in more.items()}, **options)
            assert y.shape == x.shape and torch.allclose(y.double(), want, atol=1e-5), name


@COMPILER
@pytest.mark.parametrize("size", [1, 5, 16, 19])
@pytest.mark.parametrize("name", OPERATORS)
def test_native_code_stays_inside_its_inputs(name: str, size: int) -> None:
    run, file, options = OPERATORS[name]
    inputs = {"gelu": (size,), "rotary": (2, 3, 2, 2 * size)}.get(name, (3, size))
    tensors = {n: inside(x).requires_grad_() for n, x in file.example_inputs(*inputs).items()}
    y = run(**tensors, **options, impl="native")
    grads = torch.autograd.grad(y, list(tensors.values()), inside(torch.ones_like(y)))
    assert all(x.isfinite().all() for x in (y, *grads))


def test_numbers_beyond_every_size_stay_numbers() -> None:
    x = torch.tensor([-3e38, -1e20, -100.0, 100.0, 1e20, 3e38])
    y = gelu.gelu(x)
    assert torch.allclose(y, x.clamp(min=0), rtol=1e-6, atol=10)
    assert gelu.gelu(torch.tensor([torch.nan])).isnan().all()


@pytest.mark.parametrize("impl", IMPLS)
def test_rows_too_short_to_be_scaled_to_norm_1(impl: str) -> None:
    x = torch.tensor([[0.0, 0.0, 0.0], [3e-13, 0.0, 4e-13], [3e-9, 0.0, 4e-9]], requires_grad=True)
    y = normalize.normalize(x, impl=impl)
    assert torch.allclose(y, torch.tensor([[0.0, 0, 0], [0.3, 0, 0.4], [0.6, 0, 0.8]]))
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    across = torch.tensor([0.16, 1.0, -0.12]) / 5e-9
    assert torch.allclose(dx, torch.stack([torch.full((3,), 1e12)] * 2 + [across]), rtol=1e-5)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"rms_norm: weight \[3\] must be \[4\]"):
        rms_norm.rms_norm(torch.ones(2, 4), torch.ones(3), eps=1e-6)
    with pytest.raises(ValueError, match=r"rotary: x \[2, 3, 1, 5\] must be .* with an even d"):
        rotary.rotary(torch.ones(2, 3, 1, 5), base=100.0)
