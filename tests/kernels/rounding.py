"""How far an operator may be from its definition in float64, by type and length.

One helper chooses every bound. An output or gradient x is the last of `stages` products in series;
each is a sum of at most `terms` numbers. Independent roundings of unit u grow as a random walk, so
that the relative error (root mean square over the tensor) stays below

    lambda u (sqrt(stages terms) + cancelled)                  + eps sqrt(stages) in 16-bit types

lambda = 4 (Higham and Mary, SIAM J. Sci. Comput. 41, 2019: a sum leaves lambda sqrt(n) u with a
probability below 2 exp(-lambda^2 / 2) = 7e-4). u is float32's unit 2^-24, as state and sums are
float32 whatever the inputs are. 16-bit types round the operands of every product besides; eps is
two units, because Triton's interpreter cuts bfloat16 off where a GPU rounds.

`cancelled`: gradients that pass the softmax are sums of p_ij (do_i . v_j - mean_i). A log f, beta
or w collects those of all later queries. Terms of the size |do_i| rms(v) are rounded, then cancel:
the rounding stays while the sum shrinks. `cancelled` is the size of what is added over the size of
the sum: 62 for the log f of 100 tokens with every option.

On a GPU a float32 product is three of TensorFloat32 (unit 2^-22 with truncation), and a 16-bit
kernel multiplies its float32 intermediates as TensorFloat32 (eps 2^-10).

Measured under the interpreter, T from 1 to 257, with AVX-512 and with AVX2 alone: the kernels reach
0.45 of their bound, the references 0.73 (both the gradient of log f).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels import served

LAMBDA = 4.0
FLOAT32 = 2.0**-24
TF32X3 = 2.0**-22
TF32_EPS = 2.0**-10
CONSTANT = ("slopes", "window")  # inputs without a gradient

# Products in series from an input to a gradient. attention: q k, p v, do v, dS k. path: besides
# these the overlap, the inverse, X and U, and the passes of the queries. delta: the inverse, R and
# the state, and the same backward. A scan multiplies once, a selective scan twice.
# A rotation multiplies twice (its angle, then x), GELU, a norm and a convolution with SiLU thrice.
STAGES = {"attention": 4, "path": 8, "delta": 8, "linear": 4, "scan": 1, "selective_scan": 2}
STAGES |= {"rotary": 2, "gelu": 3, "rms_norm": 3, "normalize": 3, "short_conv": 3, "swiglu": 3}
STAGES |= {"taylor": 4, "step_size": 3}

Inputs = dict[str, Any]
Results = dict[str, Tensor]


def allowed(
    dtype: torch.dtype, stages: int, terms: int, cancelled: float = 1.0, gpu: bool = False
) -> float:
    """The relative RMS error that the formula above allows."""
    unit = FLOAT32
    rounding = 0.0
    if dtype == torch.float32:
        unit = TF32X3 if gpu else FLOAT32
    elif dtype != torch.float64:
        rounding = (torch.finfo(dtype).eps + (TF32_EPS if gpu else 0)) * math.sqrt(stages)
    return rounding + LAMBDA * unit * (math.sqrt(stages * terms) + cancelled)


def longest_sum(operator: str, inputs: Inputs) -> int:
    """Terms of the longest sum: a dot of width d or e, then one over all tokens (or channels)."""
    if operator == "scan":
        return inputs["x"].shape[1]
    if operator == "step_size":
        return inputs["x"][..., 0].numel() + sum(inputs["W"].shape)
    if operator == "short_conv":
        return inputs["x"][..., 0].numel()
    if operator == "selective_scan":
        return sum(inputs["u"].shape[1:]) + inputs["A"].shape[-1]
    if operator in ("gelu", "rotary", "rms_norm", "normalize", "swiglu"):
        return inputs["x"].shape[-1] if operator == "rms_norm" else 2
    return max(inputs["k"].shape[3], inputs["v"].shape[3]) + inputs["k"].shape[1]


def cotangent(y: Tensor) -> Tensor:
    """A fixed direction of an output."""
    return torch.sin(torch.arange(y.numel(), device=y.device)).view_as(y).to(y.dtype)


def with_gradients(
    operator: Callable[..., Any],
    inputs: Inputs,
    copy: Callable[[Tensor], Tensor] = torch.clone,
    **options: Any,
) -> Results:
    """Every output, and the gradient of every input for the outputs' fixed directions, by name."""
    leaves = {n: copy(x.detach()) if torch.is_tensor(x) else x for n, x in inputs.items()}
    for n, x in leaves.items():
        if torch.is_tensor(x) and x.is_floating_point() and n not in CONSTANT:
            x.requires_grad_()
    found = operator(**leaves, **options)
    outputs = found if isinstance(found, tuple) else (found,)
    wanted = {n: x for n, x in leaves.items() if torch.is_tensor(x) and x.requires_grad}
    directions = [copy(cotangent(y)) for y in outputs]
    grads = torch.autograd.grad(outputs, list(wanted.values()), directions)
    named = {f"output {i}": y.detach() for i, y in enumerate(outputs)}
    return named | dict(zip(wanted, grads, strict=True))


def doubled(inputs: Inputs) -> Inputs:
    """The same numbers in float64."""
    return {
        n: x.double() if torch.is_tensor(x) and x.is_floating_point() else x
        for n, x in inputs.items()
    }


def gap(got: Tensor, want: Tensor) -> float:
    """Relative RMS difference; absolute where `want` is zero up to rounding."""
    return (got.double() - want.double()).norm().item() / _size(want)


def _size(want: Tensor) -> float:
    size = want.double().norm().item()
    return size if size > 1e-6 else 1.0


def cancelled(inputs: Inputs, want: Results, name: str) -> float:
    """Size of the terms that cancel in the gradient of `name`, over its size as `gap` has it."""
    size = _size(want[name])
    if "W" in inputs and name in ("x", "W", "b"):  # of step_size: sums over channels, or tokens
        x, W, b = (inputs[n].double() for n in "xWb")
        x = x.flatten(0, -2)
        g = (cotangent(want["output 0"]).flatten(0, -2) * (x @ W.T + b).sigmoid()).abs()
        terms = {"x": g @ W.abs(), "W": g.T @ x.abs(), "b": g.sum(0)}[name]
        return max(1.0, terms.norm().item() / size)
    if "q" not in inputs or name not in ("q", "k", "w", "beta", "log_forget"):
        return 1.0
    y = want["output 0"]
    per_query = cotangent(y).double().norm(dim=-1)  # [B,T,H]
    if name not in ("q", "k"):
        # A token's log f, beta and w meet the terms of all later queries, in quadrature.
        per_query = per_query.square().flip(1).cumsum(1).sqrt()
    scale = inputs["q"].shape[-1] ** -0.5 if name == "beta" else 1.0
    values = inputs["v"].double().square().mean().sqrt().item()
    return max(1.0, scale * values * per_query.norm().item() / size)


def limits(
    operator: str, inputs: Inputs, want: Results, dtype: torch.dtype, gpu: bool = False
) -> dict[str, float]:
    """The allowed error of every output and gradient."""
    stages, terms = STAGES[operator], longest_sum(operator, inputs)
    weighted = operator in ("attention", "path", "taylor", "step_size")
    return {
        n: allowed(dtype, stages, terms, cancelled(inputs, want, n) if weighted else 1.0, gpu)
        for n in want
    }


def check_close(got: Results, want: Results, bounds: dict[str, float]) -> None:
    """Each tensor of the same shape, finite and within its bound."""
    assert got.keys() == want.keys()
    for n, x in got.items():
        assert x.shape == want[n].shape and torch.isfinite(x).all(), n
    errors = {n: gap(got[n], want[n]) for n in want}
    wrong = {n: (x, bounds[n]) for n, x in errors.items() if not x <= bounds[n]}
    assert not wrong, f"(error, bound): {wrong}"


def check_against_definition(
    operator: str,
    run: Callable[..., Any],
    definition: Callable[..., Any],
    inputs: Inputs,
    impl: str = "triton",
    gpu: bool = False,
    **options: Any,
) -> None:
    """`run` by `impl` against the definition in float64: every output and gradient."""
    dtype = next(x.dtype for x in inputs.values() if torch.is_tensor(x))
    got = with_gradients(run, inputs, impl=impl, **options)
    assert served()[operator] == impl
    want = with_gradients(definition, doubled(inputs), **options)
    check_close(got, want, limits(operator, inputs, want, dtype, gpu))


def check_equal(got: Results, want: Results, bound: float) -> None:
    """Each tensor within one bound: float64 against float64, or the same bits (0)."""
    check_close(got, want, dict.fromkeys(want, bound))


def check_one_output(
    run: Callable[..., Any],
    definition: Callable[..., Any],
    inputs: Inputs,
    output: int,
    stages: int,
    terms: int,
) -> None:
    """Gradients of one of several outputs by native code against the definition in float64."""

    def gradients(operator: Callable[..., Any], given: Inputs, **options: Any) -> Results:
        leaves = {n: x.clone().requires_grad_() for n, x in given.items()}
        y = operator(**leaves, **options)[output]
        found = torch.autograd.grad(y.sum(), list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    got, want = gradients(run, inputs, impl="native"), gradients(definition, doubled(inputs))
    check_equal(got, want, allowed(torch.float32, stages, terms))
