"""kernels.attention: the formula, the definition and the torch reference agree in float64."""

import itertools
import math

import pytest
import torch

from kernels import choose, served
from kernels.attention import attention, definition, example_inputs, reference
from tests.kernels.rounding import CONSTANT, FLOAT32, allowed, gap, with_gradients
from tests.profiles import NIGHTLY

OPTIONS = [
    {},
    {"alibi": True},
    {"window": True, "gate": "headwise"},
    {"forget": True, "gate": "elementwise"},
    {"alibi": True, "window": True, "forget": True, "gate": "headwise"},
]


def doubles(T: int, options: dict, B: int = 2, **shape) -> dict:
    inputs = example_inputs(B, T, 4, 8, **{"G": 2, "e": 12, **options, **shape}, seed=T)
    return {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}


@pytest.mark.parametrize("options", OPTIONS)
def test_definition_is_the_formula_summed_term_by_term(options):
    inputs = doubles(6, options)
    y = definition(**inputs)
    q, k, v = (inputs[n].tolist() for n in "qkv")
    slopes, window, log_f, gate = (
        inputs[n].tolist() if n in inputs else None
        for n in ("slopes", "window", "log_forget", "gate")
    )
    for b, i, h in itertools.product(range(2), range(6), range(4)):
        g = h // 2
        weight = []
        for j in range(i + 1):
            s = sum(x * z for x, z in zip(q[b][i][h], k[b][j][g], strict=True)) / math.sqrt(8)
            if slopes:
                s -= slopes[h] * (i - j)
            if log_f:
                s += sum(log_f[b][m][h] for m in range(j + 1, i + 1))
            seen = not window or window[h] == 0 or i - j < window[h]
            weight.append(math.exp(s) if seen else 0.0)
        for c in range(12):
            want = sum(p * v[b][j][g][c] for j, p in enumerate(weight)) / sum(weight)
            if gate:
                logit = gate[b][i][h]
                logit = logit[c] if isinstance(logit, list) else logit
                want /= 1 + math.exp(-logit)
            assert abs(y[b, i, h, c].item() - want) < 1e-12


@pytest.mark.parametrize("T", [1, 2, 17, 65] + [15, 16, 33, 130] * NIGHTLY)
@pytest.mark.parametrize("options", OPTIONS)
def test_reference_equals_definition_with_every_gradient(T, options):
    inputs = doubles(T, options)
    want = with_gradients(definition, inputs)
    got = with_gradients(reference, inputs)
    assert {n: gap(got[n], want[n]) for n in want if gap(got[n], want[n]) > 1e-10} == {}


@pytest.mark.parametrize(("H", "G", "d", "e"), [(1, 1, 3, 5), (6, 2, 16, 4), (3, 3, 8, 8)])
def test_reference_takes_any_heads_and_widths(H, G, d, e):
    inputs = example_inputs(1, 21, H, d, G=G, e=e, forget=True, dtype=torch.float64)
    inputs["log_forget"] = inputs["log_forget"].double()
    assert gap(reference(**inputs), definition(**inputs)) < 1e-12


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_are_those_of_finite_differences(T, options):
    inputs = doubles(T, options, B=1, e=3)
    names = [n for n in inputs if n not in CONSTANT]
    leaves = [inputs[n].requires_grad_() for n in names]
    for f in (definition, attention):
        run = lambda *x, f=f: f(**inputs | dict(zip(names, x, strict=True)))  # noqa: E731
        assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("options", OPTIONS)
def test_packed_rows_are_the_rows_alone(options):
    inputs = doubles(40, options, B=1)
    bounds = [0, 7, 7, 8, 40]
    offsets = torch.tensor(bounds, dtype=torch.int32)
    packed = with_gradients(lambda **x: attention(**x, offsets=offsets), inputs)
    slow = with_gradients(lambda **x: definition(**x, offsets=offsets), inputs)
    assert max(gap(packed[n], slow[n]) for n in slow) < 1e-10
    for a, b in itertools.pairwise(bounds):
        if a < b:
            alone = {n: x if n in CONSTANT else x[:, a:b] for n, x in inputs.items()}
            assert gap(packed["output 0"][:, a:b], definition(**alone)) < 1e-10


def test_scale_multiplies_the_product_and_not_the_biases():
    inputs = doubles(9, {"alibi": True, "forget": True})
    doubled = definition(**inputs | {"q": 2 * inputs["q"]}, scale=8**-0.5)
    for f in (definition, reference):
        assert gap(f(**inputs, scale=2 * 8**-0.5), doubled) < 1e-12


def test_a_window_of_one_copies_the_value_and_zero_sees_everything():
    inputs = doubles(9, {}, G=4)
    narrow = attention(**inputs, window=torch.ones(4, dtype=torch.int32))
    assert gap(narrow, inputs["v"]) < 1e-14
    wide = attention(**inputs, window=torch.tensor([0, 9, 20, 0]))
    assert gap(wide, attention(**inputs)) < 1e-14


def test_future_tokens_change_nothing():
    inputs = doubles(30, OPTIONS[-1])
    y = attention(**inputs)
    for name in ("q", "k", "v", "log_forget", "gate"):
        inputs[name][:, 20:] += 3.0
    assert torch.equal(attention(**inputs)[:, :20], y[:, :20])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_stays_within_its_bound(dtype):
    bound = allowed(dtype, stages=2, terms=200 + 8)
    for options in OPTIONS:
        inputs = doubles(200, options)
        low = {n: x.to(dtype) if n in "qkv" else x.float() for n, x in inputs.items()}
        low |= {n: inputs[n] for n in CONSTANT if n in inputs}
        exact = {n: x.double() if x.is_floating_point() else x for n, x in low.items()}
        y = attention(**low)
        assert y.dtype == dtype
        assert gap(y.double(), definition(**exact)) < bound


def test_hard_forgetting_blurs_float32_no_further_than_its_largest_sum():
    inputs = doubles(257, {"forget": True})
    inputs["log_forget"] *= 20.0
    low = {n: x.float() for n, x in inputs.items()}
    exact = {n: x.double() for n, x in low.items()}
    largest = exact["log_forget"].sum(1).abs().max().item()
    assert 1000 < largest < 1e4
    assert gap(attention(**low).double(), definition(**exact)) < FLOAT32 * largest


def test_autocast_asks_for_its_type():
    inputs = example_inputs(2, 20, 2, 8, forget=True, gate="elementwise")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = attention(**inputs)
    assert y.dtype == torch.bfloat16
    assert gap(y, attention(**inputs)) < allowed(torch.bfloat16, stages=2, terms=20 + 8)


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]])
def test_vmap_is_a_loop(options):
    inputs = doubles(11, options)
    shared = {n: inputs.pop(n) for n in CONSTANT if n in inputs}
    inputs = {n: torch.stack([x, x.flip(0)], 1) for n, x in inputs.items()}

    def run(x: dict[str, torch.Tensor]) -> torch.Tensor:
        return attention(**x, **shared)

    def slopes(x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return torch.func.grad(lambda x: run(x).square().sum())(x)

    each = [{n: x[:, i] for n, x in inputs.items()} for i in range(2)]
    assert gap(torch.func.vmap(run, 1)(inputs), torch.stack([run(x) for x in each])) < 1e-12
    got = torch.func.vmap(slopes, 1)(inputs)
    want = [slopes(x) for x in each]
    assert max(gap(got[n], torch.stack([w[n] for w in want])) for n in got) < 1e-12


def test_auto_takes_the_reference_where_no_kernel_fits():
    cuda = torch.device("cuda")  # a name: no device is touched
    assert choose("attention", "auto", cuda, "heads of width 720 exceed 128") == "reference"
    assert served()["attention"] == "reference"
    with pytest.raises(ValueError, match="width 720"):
        choose("attention", "triton", cuda, "heads of width 720 exceed 128")


def test_wrong_inputs_are_named():
    x = example_inputs(2, 5, 4, 8, G=2)
    with pytest.raises(ValueError, match="G divide H"):
        attention(x["q"][:, :, :3], x["k"], x["v"])
    with pytest.raises(ValueError, match="T >= 1"):
        attention(x["q"][:, :0], x["k"][:, :0], x["v"][:, :0])
    with pytest.raises(ValueError, match="log_forget"):
        attention(**x, log_forget=torch.zeros(2, 5, 2))
    with pytest.raises(ValueError, match="gate"):
        attention(**x, gate=torch.zeros(2, 5, 4, 3))
    with pytest.raises(ValueError, match="slopes"):
        attention(**x, slopes=torch.zeros(4, requires_grad=True))
    with pytest.raises(ValueError, match="window"):
        attention(**x, window=torch.zeros(2, dtype=torch.int32))
    with pytest.raises(ValueError, match="B = 1"):
        attention(**x, offsets=torch.tensor([0, 5], dtype=torch.int32))
    one = {n: t[:1] for n, t in x.items()}
    with pytest.raises(ValueError, match="rise from 0 to T = 5"):
        attention(**one, offsets=torch.tensor([0, 4], dtype=torch.int32))
    with pytest.raises(ValueError, match="impl"):
        attention(**x, impl="cuda")  # type: ignore[arg-type]
