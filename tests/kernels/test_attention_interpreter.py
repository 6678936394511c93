"""The kernels of attention under Triton's interpreter: forward and every gradient."""

import pytest
import torch

from kernels.attention import attention, definition, example_inputs
from tests.kernels.interpreter import LENGTHS
from tests.kernels.interpreter import poison as poison
from tests.kernels.rounding import CONSTANT, FLOAT32, allowed, check_against_definition, gap
from tests.profiles import NIGHTLY

# Rows alone or folded together by vmap: the same sums in tiles of other sizes.
SAME = allowed(torch.float32, stages=4, terms=32)
EVERYTHING = {"alibi": True, "window": True, "forget": True}
OPTIONS = [
    {},
    {"G": 1, "e": 48, "gate": "headwise"},
    {"window": True, "G": 1},
    {"forget": True, "gate": "elementwise", "e": 16},
    EVERYTHING | {"gate": "elementwise", "G": 1, "e": 64},
    EVERYTHING | {"gate": "headwise"},
]


def check(inputs: dict, offsets: torch.Tensor | None = None) -> None:
    """The kernels against the definition in float64: output and every gradient."""
    check_against_definition("attention", attention, definition, inputs, offsets=offsets)


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("which", range(1 + NIGHTLY))
def test_float32_at_every_length(T, which):
    options = OPTIONS[(LENGTHS.index(T) + 3 * which) % len(OPTIONS)]
    check(example_inputs(1, T, 2, 32, **options, seed=T))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("T", "which"),
    [(1, 0), (33, 5), (100, 3), (129, 4), (65, 1), (128, 2)][: None if NIGHTLY else 4],
)
def test_half_precision(T, which, dtype):
    check(example_inputs(1, T, 2, 32, **OPTIONS[which], seed=T, dtype=dtype))


@pytest.mark.parametrize(("d", "e"), [(5, 3), (24, 128), (128, 40)])
def test_widths_that_are_no_power_of_two(d, e):
    check(example_inputs(1, 40, 1, d, e=e, gate="elementwise", forget=True))


def test_packed_rows():
    inputs = example_inputs(1, 150, 2, 16, **OPTIONS[5])
    offsets = torch.tensor([0, 70, 70, 71, 150], dtype=torch.int32)
    check(inputs, offsets)


@pytest.mark.parametrize("T", [70, 257])
def test_forgetting_inside_a_tile_does_not_blur_the_tokens_after_it(T):
    """Twenty gates of -50 near a tile's start: sums of 1,000, between tokens that differ by 0.1."""
    inputs = example_inputs(1, T, 1, 16, forget=True)
    inputs["log_forget"][:, T - 65 : T - 45] = -50.0
    # Neighbours of 1,000 in float32 are 6e-5 apart: 5 times the output's bound.
    assert FLOAT32 * inputs["log_forget"].sum().abs() > 5 * allowed(torch.float32, 4, T + 16)
    check(inputs)


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
    assert gap(torch.func.vmap(run, 1)(inputs), torch.stack([run(x) for x in each])) < SAME
    got = torch.func.vmap(slopes, 1)(inputs)
    want = [slopes(x) for x in each]
    assert all(gap(got[n], torch.stack([w[n] for w in want])) < SAME for n in got)


def test_the_operator_is_registered_whole():
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
    with pytest.raises(ValueError, match=r"scale = -0.5 is not positive"):
        attention(**example_inputs(1, 4, 1, 8), scale=-0.5, impl="triton")
    with pytest.raises(ValueError, match=r"no kernel for torch\.float64"):
        attention(**example_inputs(1, 4, 1, 8, dtype=torch.float64), impl="triton")
    mixed = example_inputs(1, 4, 1, 8)
    mixed["k"] = mixed["k"].half()
    with pytest.raises(ValueError, match="differ in type"):
        attention(**mixed, impl="triton")
