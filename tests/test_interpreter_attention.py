"""kernels/_attention_triton.py under Triton's interpreter: forward and every gradient."""

import os
import sys

import pytest

if "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
elif os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("triton was imported without TRITON_INTERPRET=1", allow_module_level=True)

import torch

from kernels import has_triton, served
from kernels.attention import attention, definition, example_inputs

if not has_triton():
    pytest.skip("triton is not installed", allow_module_level=True)

CONSTANT = ("slopes", "window")
EVERYTHING = {"alibi": True, "window": True, "forget": True}
OPTIONS = [
    {},
    {"G": 1, "e": 48, "gate": "headwise"},
    {"window": True, "G": 1},
    {"forget": True, "gate": "elementwise", "e": 16},
    EVERYTHING | {"gate": "elementwise", "G": 1, "e": 64},
    EVERYTHING | {"gate": "headwise"},
]
LENGTHS = [1, 2, 15, 16, 17, 31, 33, 62, 63, 64, 65, 100, 129, 257]
BOUND = {torch.float32: 4e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """Fresh memory holds NaN: an output that is not written fails."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        make = getattr(owner, name)

        def filled(*args, make=make, **options):
            x = make(*args, **options)
            return x.fill_(float("nan")) if x.is_floating_point() else x

        monkeypatch.setattr(owner, name, filled)


def gap(got: torch.Tensor, want: torch.Tensor) -> float:
    """Relative RMS difference; absolute where `want` is zero up to rounding."""
    size = want.norm().item()
    return (got.double() - want).norm().item() / (size if size > 1e-6 else 1.0)


def gaps(inputs: dict, offsets: torch.Tensor | None = None) -> dict[str, float]:
    """How far the kernels are from the definition in float64: output and every gradient."""
    leaves = {n: x.detach().requires_grad_() for n, x in inputs.items() if n not in CONSTANT}
    y = attention(**inputs | leaves, offsets=offsets, impl="triton")
    assert served()["attention"] == "triton"
    up = torch.sin(torch.arange(y.numel())).view_as(y).to(y.dtype)
    got = (y, *torch.autograd.grad(y, list(leaves.values()), up))
    exact = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    slow = {n: exact[n].requires_grad_() for n in leaves}
    y = definition(**exact, offsets=offsets)
    want = (y, *torch.autograd.grad(y, list(slow.values()), up.double()))
    return {n: gap(a, b) for n, a, b in zip(("y", *leaves), got, want, strict=True)}


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("which", [0, 1])
def test_float32_at_every_length(T, which):
    options = OPTIONS[(2 * LENGTHS.index(T) + which) % len(OPTIONS)]
    found = gaps(example_inputs(1, T, 2, 32, **options, seed=T))
    assert {n: x for n, x in found.items() if not x < BOUND[torch.float32]} == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("T", "which"), [(1, 0), (33, 5), (100, 3), (128, 5), (129, 4), (257, 1)])
def test_half_precision(T, which, dtype):
    found = gaps(example_inputs(1, T, 2, 32, **OPTIONS[which], seed=T, dtype=dtype))
    assert {n: x for n, x in found.items() if not x < BOUND[dtype]} == {}


@pytest.mark.parametrize(("d", "e"), [(5, 3), (24, 128), (128, 40)])
def test_widths_that_are_no_power_of_two(d, e):
    found = gaps(example_inputs(1, 40, 1, d, e=e, gate="elementwise", forget=True))
    assert {n: x for n, x in found.items() if not x < BOUND[torch.float32]} == {}


def test_packed_rows():
    inputs = example_inputs(1, 150, 2, 16, **OPTIONS[5])
    offsets = torch.tensor([0, 70, 70, 71, 150], dtype=torch.int32)
    found = gaps(inputs, offsets)
    assert {n: x for n, x in found.items() if not x < BOUND[torch.float32]} == {}


def test_hard_forgetting_stays_exact_where_it_matters():
    inputs = example_inputs(1, 257, 1, 16, forget=True)
    inputs["log_forget"] *= 50.0
    # Sums of log f reach 2,000, whose float32 neighbours are 1e-4 apart.
    assert (
        gap(
            attention(**inputs, impl="triton"),
            definition(**{n: x.double() for n, x in inputs.items()}),
        )
        < 1e-6
    )
    assert max(gaps(inputs).values()) < 3e-4


def test_gradients_repeat_bit_for_bit():
    inputs = example_inputs(2, 100, 2, 16, **OPTIONS[4] | {"e": 16})
    leaves = {n: x.requires_grad_() for n, x in inputs.items() if n not in CONSTANT}
    first, second = (
        torch.autograd.grad(attention(**inputs, impl="triton").sum(), list(leaves.values()))
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("packed", [False, True])
def test_vmap_folds_into_the_rows(packed):
    inputs = example_inputs(1, 20, 2, 16, **EVERYTHING, gate="headwise")
    shared = {n: inputs.pop(n) for n in CONSTANT} if packed else {}
    offsets = torch.tensor([0, 6, 20], dtype=torch.int32) if packed else None
    if not packed:
        inputs = {n: x[:1] if n not in CONSTANT else x for n, x in inputs.items()}
    inputs = {n: torch.stack([x, x.flip(-1)], 1) for n, x in inputs.items()}

    def run(x: dict[str, torch.Tensor]) -> torch.Tensor:
        return attention(**x, **shared, offsets=offsets, impl="triton")

    def slopes(x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        wanted = {n: y for n, y in x.items() if n not in CONSTANT}
        return torch.func.grad(lambda w: run(x | w).square().sum())(wanted)

    each = [{n: x[:, i] for n, x in inputs.items()} for i in range(2)]
    assert gap(torch.func.vmap(run, 1)(inputs), torch.stack([run(x) for x in each]).double()) < 1e-6
    got = torch.func.vmap(slopes, 1)(inputs)
    want = [slopes(x) for x in each]
    assert all(gap(got[n], torch.stack([w[n] for w in want]).double()) < 1e-6 for n in got)


def test_the_operator_is_registered_whole(monkeypatch):
    monkeypatch.undo()
    x = example_inputs(1, 17, 2, 16, **EVERYTHING, gate="elementwise")
    tensors = [x[n].requires_grad_(n not in CONSTANT) for n in x]
    q, k, v, slopes, window, log_forget, gate = tensors
    arguments = (q, k, v, 0.25, slopes, window, log_forget, gate, None)
    torch.library.opcheck(torch.ops.kernels.attention.default, arguments)


def test_compiled_whole_it_gives_the_same():
    inputs = example_inputs(1, 33, 2, 16, forget=True, gate="headwise")
    run = torch.compile(
        lambda **x: attention(**x, impl="triton").sum(), fullgraph=True, backend="aot_eager"
    )
    leaves = {n: x.requires_grad_() for n, x in inputs.items()}
    got = torch.autograd.grad(run(**leaves), list(leaves.values()))
    want = torch.autograd.grad(attention(**leaves, impl="triton").sum(), list(leaves.values()))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_what_has_no_kernel_is_refused_in_words():
    with pytest.raises(ValueError, match="width 130 exceed 128"):
        attention(**example_inputs(1, 4, 1, 130), impl="triton")
    with pytest.raises(ValueError, match=r"no kernel for torch\.float64"):
        attention(**example_inputs(1, 4, 1, 8, dtype=torch.float64), impl="triton")
    mixed = example_inputs(1, 4, 1, 8)
    mixed["k"] = mixed["k"].half()
    with pytest.raises(ValueError, match="differ in type"):
        attention(**mixed, impl="triton")
