"""kernels.path: products of reflections, definition, chunked reference and decoding agree."""

import itertools

import pytest
import torch

from kernels.attention import attention
from kernels.path import (
    FOLD,
    definition,
    example_inputs,
    path,
    path_prefill,
    path_step,
    plans,
    reference,
)
from tests.kernels.rounding import allowed, gap, with_gradients
from tests.profiles import NIGHTLY

OPTIONS = [
    {},
    {"forget": True, "gate": "headwise"},
    {"gate": "elementwise", "repeat": 3},
    {"forget": True, "gate": "elementwise", "repeat": 1},
]


def doubles(T: int, options: dict, B: int = 2, H: int = 4, d: int = 8, **shape) -> dict:
    inputs = example_inputs(B, T, H, d, **{"G": 2, "e": 12, **options, **shape}, seed=T)
    return {n: x.double() for n, x in inputs.items()}


def by_products(q, k, v, w, beta, log_forget=None, gate=None) -> torch.Tensor:
    """Explicit d x d matrices multiplied for every pair of tokens."""
    B, T, H, d = q.shape
    group = H // k.shape[2]
    y = torch.zeros(B, T, H, v.shape[3], dtype=q.dtype)
    for b, h in itertools.product(range(B), range(H)):
        g = h // group
        M = [
            torch.eye(d, dtype=q.dtype) - beta[b, t, g] * torch.outer(w[b, t, g], w[b, t, g])
            for t in range(T)
        ]
        for i in range(T):
            s = torch.zeros(i + 1, dtype=q.dtype)
            product = torch.eye(d, dtype=q.dtype)
            for j in range(i, -1, -1):
                s[j] = q[b, i, h] @ product @ k[b, j, g] / d**0.5
                if log_forget is not None:
                    s[j] += log_forget[b, j + 1 : i + 1, h].sum()
                product = product @ M[j]
            p = s.exp()
            y[b, i, h] = (p / p.sum()) @ v[b, : i + 1, g]
            if gate is not None:
                y[b, i, h] /= 1 + (-gate[b, i, h]).exp()
    return y


@pytest.mark.parametrize("options", OPTIONS)
def test_definition_is_the_product_of_reflections(options):
    inputs = doubles(9, options)
    assert (definition(**inputs) - by_products(**inputs)).abs().max() < 1e-12


def test_definition_is_the_one_shot_form():
    q, k, v, w, beta = (x[0, :, 0] for x in doubles(70, {}, B=1, H=1, G=1).values())
    strict = (torch.diag(beta) @ w @ w.T).tril(-1)
    inverse = torch.linalg.inv(torch.eye(70, dtype=q.dtype) + strict)
    middle = inverse @ (torch.diag(beta) @ w @ k.T).tril(-1)
    s = (q @ k.T - (q @ w.T).tril() @ middle) / 8**0.5
    s = s.masked_fill(torch.ones(70, 70, dtype=torch.bool).triu(1), float("-inf"))
    got = definition(*(x[None, :, None] for x in (q, k, v, w, beta)))[0, :, 0]
    assert (got - s.softmax(-1) @ v).abs().max() < 1e-12


# Chunks are of 16, 32 and 64 tokens, by length.
@pytest.mark.parametrize("T", [1, 16, 17, 130, 300] + [2, 15, 33, 65, 257] * NIGHTLY)
@pytest.mark.parametrize("options", OPTIONS)
def test_reference_equals_definition_with_every_gradient(T, options):
    inputs = doubles(T, options, B=1 if T == 300 else 2)
    want = with_gradients(definition, inputs)
    got = with_gradients(reference, inputs)
    assert {n: gap(got[n], want[n]) for n in want if gap(got[n], want[n]) > 1e-10} == {}


@pytest.mark.parametrize("chunk", [1, 2, 4, 64, 128])
def test_the_chunk_changes_nothing(chunk):
    inputs = doubles(75, OPTIONS[1], d=6)
    want = with_gradients(definition, inputs)
    got = with_gradients(lambda **x: reference(**x, chunk=chunk), inputs)
    assert max(gap(got[n], want[n]) for n in want) < 1e-10


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_are_those_of_finite_differences(T, options):
    inputs = doubles(T, options, B=1, H=2, G=1, d=4, e=3)
    names, leaves = list(inputs), [x.requires_grad_() for x in inputs.values()]
    for f in (definition, path, lambda **x: reference(**x, chunk=2)):
        run = lambda *x, f=f: f(**dict(zip(names, x, strict=True)))  # noqa: E731
        assert torch.autograd.gradcheck(run, leaves)


def test_without_reflections_it_is_attention():
    inputs = doubles(40, OPTIONS[1])
    rest = {n: x for n, x in inputs.items() if n not in ("w", "beta")}
    still = inputs | {"beta": torch.zeros_like(inputs["beta"])}
    assert gap(path(**still), attention(**rest)) < 1e-12


def test_reflections_swap_the_elements_that_the_paper_swaps():
    """Keys e_1 .. e_5, each token swaps two: the query finds where the first element went."""
    swaps = [(0, 1), (1, 2), (2, 4), (0, 3), (4, 3)]
    T, d = 1 + len(swaps), 5
    eye = torch.eye(d, dtype=torch.float64)
    w = torch.stack([eye[0]] + [(eye[a] - eye[b]) / 2**0.5 for a, b in swaps])
    beta = torch.tensor([0.0] + [2.0] * len(swaps), dtype=torch.float64)
    k = torch.cat([eye[:1], torch.zeros(T - 1, d, dtype=torch.float64)])
    place = 0
    for t, (a, b) in enumerate(swaps, 1):
        place = {a: b, b: a}.get(place, place)
        for guess in range(d):
            q = 50 * eye[guess].expand(T, d)
            y = path(*(x[None, :, None] for x in (q, k, eye[:1].expand(T, d), w, beta)))
            v = torch.arange(T, dtype=torch.float64)[:, None] > 0
            y = path(*(x[None, :, None] for x in (q, k, v.double(), w, beta)))[0, t, 0, 0]
            assert (y < 1e-6) == (guess == place)


def test_packed_rows_are_the_rows_alone():
    inputs = doubles(90, OPTIONS[1], B=1)
    bounds = [0, 7, 7, 8, 90]
    offsets = torch.tensor(bounds, dtype=torch.int32)
    packed = with_gradients(lambda **x: path(**x, offsets=offsets), inputs)
    slow = with_gradients(lambda **x: definition(**x, offsets=offsets), inputs)
    assert max(gap(packed[n], slow[n]) for n in slow) < 1e-10
    for a, b in itertools.pairwise(bounds):
        if a < b:
            alone = definition(**{n: x[:, a:b] for n, x in inputs.items()})
            assert gap(packed["output 0"][:, a:b], alone) < 1e-10


def test_future_tokens_change_nothing():
    inputs = doubles(40, OPTIONS[1])
    y = path(**inputs)
    for x in inputs.values():
        x[:, 20:] += 3.0
    assert gap(path(**inputs)[:, :20], y[:, :20]) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("repeat", [None, 2])
def test_lower_precision_stays_within_its_bound(dtype, repeat):
    bound = allowed(dtype, stages=4, terms=257 + 32)
    inputs = doubles(257, OPTIONS[1] | {"repeat": repeat}, d=32)
    low = {n: x.to(dtype) if n in "qkv" else x.float() for n, x in inputs.items()}
    y = path(**low)
    assert y.dtype == dtype
    assert gap(y.double(), definition(**{n: x.double() for n, x in low.items()})) < bound


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("prompt", [0, 1, FOLD - 1, 70])
def test_decoding_equals_the_parallel_form(options, prompt):
    T = prompt + 2 * FOLD + 3
    inputs = doubles(T, options)
    want = definition(**inputs)
    kept = {n: inputs[n][:, :prompt] for n in ("k", "v", "w", "beta", "log_forget") if n in inputs}
    cache = path_prefill(**kept)
    for t in range(prompt, T):
        token = {n: x[:, t] for n, x in inputs.items()}
        y, cache = path_step(**token, cache=cache)
        assert gap(y, want[:, t]) < 1e-10
    assert cache.t == T


def test_decoding_goes_on_for_the_rows_that_are_kept():
    inputs = doubles(50, OPTIONS[1], B=3)
    want = definition(**inputs)
    kept = {n: inputs[n][:, :20] for n in ("k", "v", "w", "beta", "log_forget")}
    cache = path_prefill(**kept)
    rows = torch.tensor([2, 0])
    for t in range(20, 50):
        if t == 30:
            cache = type(cache)(*(x[rows] if torch.is_tensor(x) else x for x in cache))
        token = {n: x[:, t] if t < 30 else x[rows, t] for n, x in inputs.items()}
        y, cache = path_step(**token, cache=cache)
        assert gap(y, want[:, t] if t < 30 else want[rows, t]) < 1e-10


def test_decoding_turns_old_keys_once_in_a_while_only():
    inputs = doubles(100, {})
    cache = path_prefill(**{n: inputs[n][:, :40] for n in ("k", "v", "w", "beta")})
    changed = 0
    for t in range(40, 100):
        before = cache.k[:, :, :40].clone()
        _, cache = path_step(**{n: x[:, t] for n, x in inputs.items()}, cache=cache)
        changed += not torch.equal(before, cache.k[:, :, :40])
    assert changed == 60 // FOLD


def test_autocast_keeps_the_reflections_exact():
    inputs = example_inputs(2, 100, 2, 16, repeat=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = path(**inputs)
    assert y.dtype == torch.bfloat16
    assert gap(y, path(**inputs)) < allowed(torch.bfloat16, stages=4, terms=100 + 16)


def test_vmap_is_a_loop():
    inputs = {n: torch.stack([x, x.flip(0)]) for n, x in doubles(19, OPTIONS[1]).items()}
    run = lambda x: path(**x)  # noqa: E731
    loop = torch.stack([run({n: x[i] for n, x in inputs.items()}) for i in range(2)])
    assert gap(torch.func.vmap(run)(inputs), loop) < 1e-12
    slope = torch.func.grad(lambda x: run(x).sum())
    loop = torch.stack([slope({n: x[i] for n, x in inputs.items()})["w"] for i in range(2)])
    assert gap(torch.func.vmap(slope)(inputs)["w"], loop) < 1e-12


def test_wrong_inputs_are_named():
    x = example_inputs(2, 5, 4, 8, G=2)
    with pytest.raises(ValueError, match="w must be"):
        path(**x | {"w": x["w"][..., :4]})
    with pytest.raises(ValueError, match="beta"):
        path(**x | {"beta": x["beta"][:, :, :1]})
    with pytest.raises(ValueError, match="G divide H"):
        path(**x | {"q": x["q"][:, :, :3]})
    with pytest.raises(ValueError, match="log_forget"):
        cache = path_prefill(
            *(x[n] for n in ("k", "v", "w", "beta")), log_forget=torch.zeros(2, 5, 4)
        )
        path_step(**{n: t[:, 0] for n, t in x.items()}, cache=cache)


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("d", [8, 16, 32])
@pytest.mark.parametrize("e", [16, 48, 64, 128])
def test_narrow_keys_have_no_chunks_of_64(d: int, e: int, itemsize: int) -> None:
    """Where Triton 3.6's binaries for Hopper gave gradients that are no numbers (on an H200)."""
    for backward in (False, True):
        assert plans.plan(backward, d, e, itemsize, 2048).C <= 32
