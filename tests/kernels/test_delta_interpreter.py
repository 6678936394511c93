"""The kernels of the gated delta rule under Triton's interpreter, against the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.delta import definition, delta, example_inputs, plans
from tests.kernels.interpreter import LENGTHS, without
from tests.kernels.interpreter import poison as poison
from tests.kernels.rounding import (
    allowed,
    check_against_definition,
    check_equal,
    doubled,
    with_gradients,
)
from tests.profiles import NIGHTLY


def check(inputs: dict[str, Any], **options: Any) -> None:
    check_against_definition("delta", delta, definition, inputs, **options)


@pytest.fixture(params=[False, True])
def prepared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to invert; the prepared one is shipped for 16-bit numbers only."""
    if request.param:
        plan = plans.Plan(32, True, 32, 4, 16)
        monkeypatch.setattr(plans, "plan", lambda d, e, dtype: plan)
    return request.param


def make(T: int, d: int, e: int, dtype: torch.dtype, distinct: int | None = None) -> dict[str, Any]:
    """Odd lengths without decay or without a first state, in turn."""
    inputs: dict[str, Any] = example_inputs(
        1, T, 2 if T < 33 else 1, d, e, seed=T, dtype=dtype, distinct=distinct
    )
    return without(inputs, *{1: ["log_decay"], 2: ["S0"], 3: []}[T % 3 or 3])


@pytest.mark.parametrize("T", LENGTHS if NIGHTLY else [1, 16, 17, 31, 33, 65])
def test_float32(T: int, prepared: bool) -> None:
    """Chunks are of 16 tokens, or of 32 where the inverses are prepared."""
    check(make(T, 24, 40, torch.float32), scale=0.7)


@pytest.mark.parametrize(
    ("T", "d", "e"),
    # Narrow keys invert on the way, wide ones beforehand; widths of no power of two in each block.
    [(33, 24, 40), (2, 40, 72), (65, 72, 20)]
    + [(T, d, e) for T in (2, 33, 65) for d, e in ((24, 40), (40, 72), (72, 20))] * NIGHTLY,
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, T: int, d: int, e: int) -> None:
    check(make(T, d, e, dtype))


@pytest.mark.parametrize("distinct", [1, 3])
def test_repeated_keys_and_resets(distinct: int, prepared: bool) -> None:
    """beta near 2 on few keys, where powers of L explode; decays of nearly 1 and of exactly 0."""
    T = 129 if NIGHTLY else 70
    inputs = make(T, 16, 16, torch.float32, distinct)
    inputs["beta"] = torch.full_like(inputs["beta"], 1.99)
    pick = torch.rand(1, T, 1, generator=torch.Generator().manual_seed(0))
    decay = torch.full((1, T, 1), -1e-3)
    inputs["log_decay"] = torch.where(pick < 0.05, -torch.inf, decay)
    # Along a key the state changes its sign at every token: each writes about 2 |S|, |S| remains.
    bound = allowed(torch.float32, stages=8, terms=16 + T, cancelled=2 * T**0.5)
    got = with_gradients(delta, inputs, impl="triton")
    check_equal(got, with_gradients(definition, doubled(inputs)), bound)


def test_only_what_is_asked_for() -> None:
    """Without gradients nothing is saved; a loss on one output alone works."""
    i = example_inputs(1, 33, 1, 16, 16)
    with torch.no_grad():
        plain = delta(**i, impl="triton")
    leaves = {n: x.requires_grad_() for n, x in i.items()}
    for output in (0, 1):
        both = []
        for impl in ("triton", "reference"):
            out = delta(**leaves, impl=impl)
            grads = torch.autograd.grad(
                out[output].sum(), list(leaves.values()), materialize_grads=True
            )
            both.append(dict(zip(leaves, grads, strict=True)))
            if impl == "triton":
                assert torch.equal(out[output], plain[output])
        check_equal(*both, allowed(torch.float32, 8, 16 + 32))


@pytest.mark.parametrize("bare", [False, True])
def test_vmap(bare: bool) -> None:
    i = make(17, 8, 8, torch.float32)
    i = without(i, "log_decay", "S0") if bare else i
    names = [n for n, x in i.items() if x is not None and n != "v"]
    many = [i[n] * torch.tensor([1.0, 0.5]).view(2, *[1] * i[n].ndim) for n in names]

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        o, last = delta(**i | dict(zip(names, tensors, strict=True)), impl="triton")
        return o.sin().sum() + last.cos().sum()

    which = tuple(range(len(names)))
    got = torch.func.vmap(torch.func.grad(loss, which))(*many)
    for n in range(2):
        single = torch.func.grad(loss, which)(*(x[n] for x in many))
        check_equal(
            {name: g[n] for name, g in zip(names, got, strict=True)},
            dict(zip(names, single, strict=True)),
            allowed(torch.float32, 8, 8 + 17),
        )


def test_operators_are_registered_soundly() -> None:
    i = example_inputs(1, 5, 2, 4, 4)
    i["k"] = i["k"].mT.contiguous().mT
    full = [*i.values()]
    bare = [*full[:4], None, None]
    operator = torch.ops.kernels.delta.default
    backward = torch.ops.kernels.delta_backward.default
    for inputs in (full, bare):
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        torch.library.opcheck(operator, (*leaves, 0.5, True))
        torch.library.opcheck(operator, (*inputs, 0.5, False), test_utils=("test_faketensor",))
        o, last, *saved = operator(*inputs, 0.5, True)
        tests = ("test_schema", "test_faketensor")
        arguments = (*inputs, 0.5, True, *saved, o, last)
        torch.library.opcheck(backward, arguments, test_utils=tests)


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(delta, backend="aot_eager", fullgraph=True)
    inputs = example_inputs(1, 6, 1, 8, 8)
    got = with_gradients(compiled, inputs, impl="triton")
    check_equal(got, with_gradients(delta, inputs, impl="triton"), 0.0)


def test_what_the_kernels_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        delta(**example_inputs(1, 3, 1, 4, 4, dtype=torch.float64), impl="triton")
    with pytest.raises(ValueError, match="129"):
        delta(**example_inputs(1, 3, 1, 4, 129), impl="triton")
