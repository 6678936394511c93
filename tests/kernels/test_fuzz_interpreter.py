"""Random calls of every kernel under Triton's interpreter, against the definition in float64.

Widths, lengths, tile sizes, options, gates that forget all or nothing, tokens that repeat, packed
rows of which some are empty. NaN lies around every input and every output. Bounds are those of
rounding.py. HYPOTHESIS_PROFILE=nightly tries 2,000 calls instead of 50.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from kernels import attention, delta, path, scan, selective_scan
from kernels.attention import plans as attention_plans
from kernels.delta import plans as delta_plans
from kernels.path import plans as path_plans
from tests.kernels.interpreter import banded, guard_bands
from tests.kernels.rounding import (
    allowed,
    cancelled,
    check_close,
    cotangent,
    doubled,
    limits,
    longest_sum,
    with_gradients,
)
from tests.profiles import NIGHTLY

Inputs = dict[str, Any]
Plans = tuple[Any, Callable[..., Any]]  # a file of plans, and what stands in for its `plan`
Case = tuple[Any, Inputs, Plans | None]

types = st.sampled_from([torch.float32] * 3 + [torch.float16, torch.bfloat16])
widths = st.integers(1, 20)
lengths = st.integers(1, 24) | st.integers(1, 48)


def logs(draw: st.DrawFn, shape: tuple[int, ...]) -> torch.Tensor:
    """log f of gates that are open, closed (-50, -1000) and in between, token by token."""
    kinds = draw(st.lists(st.sampled_from([0.0, -1e-3, -0.5, -50.0, -1e3]), min_size=1, max_size=5))
    random = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    return torch.tensor(kinds)[torch.randint(len(kinds), shape, generator=random)]


def offsets(draw: st.DrawFn, T: int) -> torch.Tensor:
    cuts = draw(st.lists(st.integers(0, T), max_size=4).map(sorted))
    return torch.tensor([0, *cuts, T], dtype=torch.int32)


def heads(draw: st.DrawFn) -> Inputs:
    """Sizes and options that attention and PaTH share."""
    H, G = draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
    return {
        "B": draw(st.integers(1, 2)),
        "T": draw(lengths),
        "H": H,
        "d": draw(widths),
        "G": G,
        "e": draw(widths),
        "gate": draw(st.sampled_from([None, "headwise", "elementwise"])),
        "seed": draw(st.integers(0, 9)),
        "dtype": draw(types),
    }


def attended(draw: st.DrawFn, file: Any, sizes: Inputs, **options: Any) -> Inputs:
    packed = draw(st.booleans())
    sizes = sizes | ({"B": 1} if packed else {})
    inputs: Inputs = file.example_inputs(**sizes, **options)
    inputs["scale"] = draw(st.sampled_from([None, 0.25, 1.0]))  # positive, or refused
    if draw(st.booleans()):
        inputs["log_forget"] = logs(draw, inputs["q"].shape[:3])
    return inputs | {"offsets": offsets(draw, sizes["T"]) if packed else None}


@st.composite
def attention_case(draw: st.DrawFn) -> Case:
    biases = {"alibi": draw(st.booleans()), "window": draw(st.booleans())}
    inputs = attended(draw, attention, heads(draw), **biases)
    sizes = st.sampled_from([16, 32])
    tiles = draw(sizes), draw(sizes)

    def plan(kernel: str, width: int, itemsize: int, T: int) -> Any:
        BM, BN = (64, tiles[1]) if kernel == "short" else tiles
        return attention_plans.Plan(BM, BN, 4, 1)

    return attention, inputs, (attention_plans, plan)


@st.composite
def path_case(draw: st.DrawFn) -> Case:
    inputs = attended(draw, path, heads(draw), repeat=draw(st.sampled_from([None, 1, 3])))
    BT, C = draw(st.sampled_from([(16, 16), (32, 16), (32, 32), (64, 16)]))

    def plan(backward: bool, d: int, e: int, itemsize: int, T: int) -> Any:
        fused = BT >= T
        return path_plans.Plan(BT, C, fused, 4, 1)

    return path, inputs, (path_plans, plan)


@st.composite
def delta_case(draw: st.DrawFn) -> Case:
    sizes = draw(st.tuples(st.integers(1, 2), lengths, st.integers(1, 2), widths, widths))
    inputs: Inputs = delta.example_inputs(
        *sizes, draw(st.integers(0, 9)), draw(types), draw(st.sampled_from([None, 1, 3]))
    )
    if draw(st.booleans()):
        inputs["log_decay"] = logs(draw, inputs["k"].shape[:3]).to(inputs["k"].dtype)
    inputs |= dict.fromkeys(draw(st.sets(st.sampled_from(["log_decay", "S0"]))))
    prepared = draw(st.booleans())
    plan = delta_plans.Plan(32 if prepared else 16, prepared, 16, 1, 16)
    return delta, inputs, (delta_plans, lambda d, e, dtype: plan)


@st.composite
def scan_case(draw: st.DrawFn) -> Case:
    sizes = draw(st.tuples(st.integers(1, 2), lengths, st.integers(1, 80), st.integers(0, 9)))
    inputs: Inputs = scan.example_inputs(*sizes, draw(types))
    return scan, inputs | dict.fromkeys(draw(st.sets(st.just("h0")))), None


@st.composite
def selective_case(draw: st.DrawFn) -> Case:
    sizes = draw(st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 40), widths))
    inputs: Inputs = selective_scan.example_inputs(*sizes, draw(st.integers(0, 9)), draw(types))
    absent = draw(st.sets(st.sampled_from(["h0", "Dskip"])))
    return selective_scan, inputs | dict.fromkeys(absent), None


CASES = [attention_case(), path_case(), delta_case(), scan_case(), selective_case()]


def terms_that_cancel(file: Any, inputs: Inputs, want: dict[str, torch.Tensor]) -> float:
    """Of a scan: the largest ratio of what is added to its sum, over outputs and gradients. Its
    terms have one sign where all inputs but gates and step sizes are positive."""
    signed = {
        n: x if n in ("a", "delta", "A") else abs(x)
        for n, x in doubled(inputs).items()
        if x is not None
    }

    def positive(**given: Any) -> tuple[torch.Tensor, ...]:
        found = file.definition(**given)
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(y * cotangent(y).sign() for y in outputs)

    terms = with_gradients(positive, signed)
    return max(terms[n].norm().item() / max(want[n].norm().item(), 1e-30) for n in want)


def bounds(file: Any, name: str, inputs: Inputs, want: dict[str, torch.Tensor]) -> dict[str, float]:
    """Those of rounding.py, tenfold: an error of few numbers is no average, and narrow heads and
    tokens that repeat round alike. In 16 bits as much again for each term that cancels.
    """
    dtype = next(iter(inputs.values())).dtype
    found = limits(name, inputs, want, dtype)
    if name == "delta":
        # Along a key that repeats the state changes its sign: each token writes 2 |S|, |S| remains.
        writes = 2 * inputs["k"].shape[1] ** 0.5
        found = dict.fromkeys(want, allowed(dtype, 8, longest_sum(name, inputs), writes))
    if name in ("scan", "selective_scan"):
        many = terms_that_cancel(file, inputs, want)
        found = {n: max(1.0, many) * x for n, x in found.items()}
    if dtype == torch.float32:
        return {n: 10 * x for n, x in found.items()}
    return {n: 10 * x * cancelled(inputs, want, n) for n, x in found.items()}


@given(st.one_of(CASES))
@settings(max_examples=2000 if NIGHTLY else 50)
def test_any_call_is_as_its_definition(case: Case) -> None:
    file, inputs, plans = case
    name = file.__name__.removeprefix("kernels.")
    event(name)
    run: Callable[..., Any] = getattr(file, name)
    with pytest.MonkeyPatch.context() as patch, guard_bands():
        if plans is not None:
            patch.setattr(plans[0], "plan", plans[1])
        got = with_gradients(run, inputs, banded, impl="triton")
    want = with_gradients(file.definition, doubled(inputs))
    check_close(got, want, bounds(file, name, inputs, want))
