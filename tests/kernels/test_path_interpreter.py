"""The kernels of PaTH under Triton's interpreter: forward and every gradient."""

import pytest
import torch

from kernels._launch import launch
from kernels.path import definition, example_inputs, path, plans
from tests.kernels.interpreter import LENGTHS
from tests.kernels.interpreter import poison as poison
from tests.kernels.rounding import allowed, check_against_definition, doubled, gap
from tests.profiles import NIGHTLY

# Rows alone or folded together by vmap: the same sums in tiles of other sizes.
SAME = allowed(torch.float32, stages=8, terms=32)
BOTH = {"forget": True, "repeat": 2}
OPTIONS = [
    {},
    {"G": 1, "e": 48, "gate": "headwise", "forget": True},
    {"repeat": 3, "d": 40, "gate": "elementwise"},
    BOTH | {"gate": "headwise"},
    BOTH | {"gate": "elementwise", "G": 1, "d": 64},
]


@pytest.fixture
def large(monkeypatch):
    """Tiles as large as half precision has them, for speed: the interpreter counts tiles."""
    own = plans.plan
    monkeypatch.setattr(plans, "plan", lambda backward, d, e, itemsize, T: own(False, d, e, 2, T))


def made(T: int, options: dict, B: int = 1, dtype: torch.dtype = torch.float32) -> dict:
    options = {"d": 32, **options}
    return example_inputs(B, T, 2, options.pop("d"), **options, seed=T, dtype=dtype)


def check(inputs: dict, offsets: torch.Tensor | None = None) -> None:
    """The kernels against the definition in float64: output and every gradient."""
    check_against_definition("path", path, definition, inputs, offsets=offsets)


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("which", range(1 + NIGHTLY))
def test_float32_at_every_length(T, which, large):
    options = OPTIONS[(LENGTHS.index(T) + 2 * which) % len(OPTIONS)]
    check(made(T, options))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("T", "which"),
    [(1, 0), (33, 3), (65, 2), (129, 4), (128, 3), (200, 1)][: None if NIGHTLY else 4],
)
def test_half_precision(T, which, dtype):
    check(made(T, OPTIONS[which], dtype=dtype))


@pytest.mark.parametrize("T", [33, 66])
@pytest.mark.parametrize("which", [1, 4])
def test_float32_in_its_own_tiles(T, which):
    check(made(T, OPTIONS[which]))


@pytest.mark.parametrize("T", [1, 17, 33, 64] if NIGHTLY else [17, 64])
@pytest.mark.parametrize("options", [{}, {"d": 24, "repeat": 3, "gate": "elementwise"}, OPTIONS[3]])
def test_short_float32_rows_in_one_kernel(T, options):
    """Fused forward and `backward_short`: only these rows, with keys for every head, use them."""
    d = options.get("d", 32)
    assert plans.plan(False, d, d, 4, T).fused and plans.plan(True, d, d, 4, T).fused
    check(made(T, options))


@pytest.mark.parametrize(("d", "e"), [(5, 3), (24, 64), (60, 40), (24, 128), (128, 40)])
def test_widths_that_are_no_power_of_two(d, e, large):
    dtype = torch.float32 if max(d, e) <= 64 else torch.float16
    check(example_inputs(1, 70, 1, d, e=e, gate="elementwise", forget=True, dtype=dtype))


@pytest.mark.parametrize("d", [16, 64])
def test_packed_rows(d, large):
    inputs = example_inputs(1, 150, 2, d, G=1, **BOTH, gate="headwise")
    offsets = torch.tensor([0, 70, 70, 71, 150], dtype=torch.int32)
    check(inputs, offsets)


@pytest.mark.parametrize("d", [16, 40])
def test_many_rows_share_programs_without_mixing(d, large):
    check(made(40, {"d": d, "forget": True, "gate": "elementwise"}, B=3))


def test_rows_and_heads_go_through_the_backward_pass_in_parts(monkeypatch):
    from kernels.path import backward  # triton is imported late

    made = example_inputs(3, 33, 4, 16, G=2, forget=True, gate="elementwise")
    leaves = {n: x.requires_grad_() for n, x in made.items()}
    y = path(**leaves, impl="triton").sum()
    launched = []

    def counted(kernel, *rest):
        launched.append(kernel.__name__)
        launch(kernel, *rest)

    def gradients() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(y, list(leaves.values()), retain_graph=True)

    whole = gradients()
    monkeypatch.setattr(backward, "launch", counted)
    # Room for the pairs of some of the 6 heads of keys: 64 queries after 3 chunks of 16, for 2
    # heads of queries, there and back.
    for heads, parts in ((0, 6), (2, 3), (4, 2)):
        monkeypatch.setattr(plans, "PAIRS", heads * 2 * 2 * 3 * 64 * 16 * 4)
        launched.clear()
        assert all(torch.equal(a, b) for a, b in zip(whole, gradients(), strict=True))
        assert launched.count("backward_keys") == parts


@pytest.mark.parametrize(("T", "d"), [(60, 16), (70, 16), (70, 40)])
def test_forgetting_inside_a_tile_does_not_blur_the_tokens_after_it(T, d, large):
    """Twenty gates of -50 in the middle of a tile, in one kernel for a short row and in several."""
    inputs = made(T, {"forget": True, "d": d})
    inputs["log_forget"][:, 5:25] = -50.0
    check(inputs)


@pytest.mark.parametrize("d", [16, 40])
def test_gradients_repeat_bit_for_bit(d, large):
    leaves = {n: x.requires_grad_() for n, x in made(65, {"d": d, "forget": True}).items()}
    first, second = (
        torch.autograd.grad(path(**leaves, impl="triton").sum(), list(leaves.values()))
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_directions_in_float32_keep_their_eigenvalue_in_bfloat16():
    """One token over and over with beta = 2: the reflection of a rounded w must not grow."""
    inputs = made(257, {"repeat": 1})
    inputs["beta"] = torch.full_like(inputs["beta"], 2.0)
    low = {n: x.bfloat16() if n in "qkv" else x for n, x in inputs.items()}
    y = path(**low, impl="triton")
    bound = allowed(torch.bfloat16, stages=8, terms=257 + 32)
    assert gap(y, definition(**doubled(low))) < bound


def test_autocast_runs_in_its_type():
    inputs = {n: x.requires_grad_() for n, x in made(33, OPTIONS[3]).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = path(**inputs, impl="triton")
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert all(x.grad.dtype == torch.float32 for x in inputs.values())


@pytest.mark.parametrize("packed", [False, True])
def test_vmap_folds_into_the_rows(packed, large):
    inputs = made(20, OPTIONS[3] | {"d": 16})
    offsets = torch.tensor([0, 6, 20], dtype=torch.int32) if packed else None
    inputs = {n: torch.stack([x, x.flip(1)], 1) for n, x in inputs.items()}

    def run(x: dict[str, torch.Tensor]) -> torch.Tensor:
        return path(**x, offsets=offsets, impl="triton")

    slopes = torch.func.grad(lambda x: run(x).square().sum())
    each = [{n: x[:, i] for n, x in inputs.items()} for i in range(2)]
    assert gap(torch.func.vmap(run, 1)(inputs), torch.stack([run(x) for x in each])) < SAME
    got = torch.func.vmap(slopes, 1)(inputs)
    want = [slopes(x) for x in each]
    assert all(gap(got[n], torch.stack([w[n] for w in want])) < SAME for n in got)


def test_the_operator_is_registered_whole():
    x = {n: t.requires_grad_() for n, t in made(17, OPTIONS[3]).items()}
    first = (x[n] for n in ("q", "k", "v", "w", "beta"))
    arguments = (*first, 0.25, x["log_forget"], x["gate"], None)
    torch.library.opcheck(torch.ops.kernels.path.default, arguments)


def test_compiled_whole_it_gives_the_same():
    leaves = {n: x.requires_grad_() for n, x in made(33, OPTIONS[3]).items()}
    run = torch.compile(
        lambda **x: path(**x, impl="triton").sum(), fullgraph=True, backend="aot_eager"
    )
    got = torch.autograd.grad(run(**leaves), list(leaves.values()))
    want = torch.autograd.grad(path(**leaves, impl="triton").sum(), list(leaves.values()))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_what_has_no_kernel_is_refused_in_words():
    with pytest.raises(ValueError, match="width 130 exceed 128"):
        path(**example_inputs(1, 4, 1, 130, dtype=torch.float16), impl="triton")
    with pytest.raises(ValueError, match="width 65 in float32 exceed 64"):
        path(**example_inputs(1, 4, 1, 65), impl="triton")
    with pytest.raises(ValueError, match=r"scale = 0.0 is not positive"):
        path(**example_inputs(1, 4, 1, 8), scale=0.0, impl="triton")
    with pytest.raises(ValueError, match=r"no kernel for torch\.float64"):
        path(**example_inputs(1, 4, 1, 8, dtype=torch.float64), impl="triton")
