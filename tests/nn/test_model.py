"""One contract for every mixer and position: causal, rows apart, any length, exact steps."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab import registry
from lab.config import Experiment, ModelConfig
from lab.mixers import attention
from lab.nn.model import Model, State, make_model, select_rows
from lab.results.log import Log
from lab.training import checkpoint
from lab.training.optim import build
from lab.training.state import Position
from tests.kernels.native import COMPILER

WORDS = 7
POSITIONS = typing.get_args(typing.get_type_hints(ModelConfig)["position"])
GATES = ("none", "headwise", "elementwise")
Options = dict[str, typing.Any]


def kinds() -> Iterator[tuple[str, Options]]:
    """Every mixer x position x gate that may combine, and a forget gate and grouped heads each."""
    for mixer in registry.names("mixers"):
        for position in POSITIONS:
            for gate in GATES:
                options = {"position": position, "gate": gate}
                try:
                    ModelConfig(layers=mixer, **options)
                except ValueError:
                    continue
                yield mixer, options
    for position in POSITIONS:
        yield "attention", {"position": position, "forget": True, "kv_heads": 1}
    yield "attention", {"gate": "headwise", "forget": True, "qk_norm": True, "sigma": True}
    yield "mamba,attention", {"position": "path", "norm": "preaffine", "experts": 3}
    yield "lstm,attention", {"norm": "gated", "mlp_act": "swiglu", "bias": True}


KINDS = list(kinds())
# Places that the model adds to the embedding do not meet the mixer: once each is enough for the
# slow tests. Everything that happens inside a mixer stays in.
ADDED = {"learned", "sinusoidal", "coupled", "predicted"}
DISTINCT = [
    (layers, options)
    for layers, options in KINDS
    if options.get("position") not in ADDED
    or (layers == "attention" and options.get("gate") == "none")
]


def name_of(value: typing.Any) -> str:
    return value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items())


every = pytest.mark.parametrize(("layers", "options"), KINDS, ids=name_of)
contract = pytest.mark.parametrize(("layers", "options"), DISTINCT, ids=name_of)


class Fed(torch.nn.Module):
    """A model whose places, where it needs them, are fed by the test: some function of the row."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.needs = model.config.position in ("coupled", "predicted")

    def ids(self, x: torch.Tensor) -> torch.Tensor | None:
        return (torch.arange(x.shape[1]) * 5 % 11).expand(x.shape) if self.needs else None

    def forward(self, x: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
        return self.model(x, where, self.ids(x))

    def prefill(self, x: torch.Tensor) -> tuple[torch.Tensor, typing.Any]:
        return self.model.prefill(x, self.ids(x))

    def step(self, token: torch.Tensor, state: State) -> tuple[torch.Tensor, typing.Any]:
        ids = torch.full_like(token, state.t * 5 % 11) if self.needs else None
        return self.model.step(token, state, ids)


def make(layers: str, seed: int = 0, **options: typing.Any) -> Fed:
    stack = layers if "," in layers else f"{layers}*2"
    config = ModelConfig(layers=stack, width=16, heads=2, **options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(config, WORDS).double().eval()
        for name, p in model.named_parameters():  # large enough that every path matters
            if p.ndim >= 2 and "A_log" not in name and not name.endswith(".original"):
                torch.nn.init.normal_(p, std=0.3)
    return Fed(model)


def tokens(B: int, T: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(WORDS, (B, T), generator=torch.Generator().manual_seed(seed))


@every
@torch.no_grad()
def test_every_combination(layers: str, options: Options) -> None:
    """Causal, rows apart, and steps equal to the parallel form, at one length."""
    model, x = make(layers, **options), tokens(3, 18)
    whole = model(x)
    changed = x.clone()
    changed[1, 11] = (changed[1, 11] + 1) % WORDS
    after = model(changed)
    assert torch.allclose(after[1, :11], whole[1, :11], atol=1e-12)
    assert not torch.allclose(after[1, 11:], whole[1, 11:])
    assert torch.allclose(after[[0, 2]], whole[[0, 2]], atol=1e-12)
    logits, state = model.prefill(x[:, :7])
    assert torch.allclose(logits, whole[:, 6], atol=1e-10)
    for t in range(7, 18):
        logits, state = model.step(x[:, t], state)
        assert torch.allclose(logits, whole[:, t], atol=1e-10)


@contract
@torch.no_grad()
def test_causal(layers: str, options: Options) -> None:
    model, x = make(layers, **options), tokens(2, 33)
    before = model(x)
    for t in (0, 16, 32):
        changed = x.clone()
        changed[:, t] = (changed[:, t] + 1) % WORDS
        after = model(changed)
        assert torch.allclose(before[:, :t], after[:, :t], atol=1e-12)
        assert not torch.allclose(before[:, t], after[:, t])


@contract
@torch.no_grad()
def test_rows_do_not_see_each_other(layers: str, options: Options) -> None:
    model, x = make(layers, **options), tokens(5, 20)
    alone = torch.cat([model(row[None]) for row in x])
    assert torch.allclose(model(x), alone, atol=1e-12)
    assert torch.allclose(model(x.flip(0)).flip(0), alone, atol=1e-12)


@contract
@given(T=st.integers(1, 130), prompt=st.integers(1, 130))
@example(T=130, prompt=1)
@settings(max_examples=8)
@torch.no_grad()
def test_decoding_equals_the_parallel_form(
    layers: str, options: Options, T: int, prompt: int
) -> None:
    model, x = make(layers, **options), tokens(2, T)
    whole = model(x)
    assert whole.shape == (2, T, WORDS)
    start = min(prompt, T)
    logits, state = model.prefill(x[:, :start])
    assert torch.allclose(logits, whole[:, start - 1], atol=1e-10)
    for t in range(start, T):
        logits, state = model.step(x[:, t], state)
        assert torch.allclose(logits, whole[:, t], atol=1e-10), f"token {t}"


@contract
@torch.no_grad()
def test_rows_can_be_dropped_from_a_state(layers: str, options: Options) -> None:
    model, x = make(layers, **options), tokens(5, 24)
    whole = model(x)
    _, state = model.prefill(x[:, :10])
    rows = torch.tensor([0, 2, 3])
    state = select_rows(state, rows)
    for t in range(10, 24):
        logits, state = model.step(x[rows, t], state)
        assert torch.allclose(logits, whole[rows, t], atol=1e-10)


@contract
@torch.no_grad()
def test_bf16_is_near(layers: str, options: Options) -> None:
    """Relative RMS error of bf16 autocast against float64 below 5%, at the weights of a start."""
    model, x = Fed(Model(make(layers, **options).model.config, WORDS).eval()), tokens(3, 40)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x).double()
    exact = model.double()(x)
    assert (low - exact).square().mean().sqrt() < 0.05 * exact.square().mean().sqrt()


@contract
@torch.no_grad()
def test_logits_only_where_asked_are_the_same(layers: str, options: Options) -> None:
    model, x = make(layers, **options), tokens(3, 12)
    where = torch.zeros(3, 12, dtype=torch.bool)
    where[0, 3] = where[2, 11] = where[1] = True
    assert torch.allclose(model(x, where), model(x)[where], atol=1e-12)
    assert torch.equal(model(x, where.flatten().nonzero()[:, 0]), model(x, where))
    exact, single = model(x)[where], model.float()
    assert torch.allclose(single(x, where).double(), exact, rtol=1e-3, atol=1e-4)


@COMPILER
def test_the_last_block_asks_for_supervised_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def spy(q: torch.Tensor, *others: typing.Any, **more: typing.Any) -> torch.Tensor:
        asked.append(tuple(q.shape[:2]))
        return real(q, *others, **more)

    real = attention.attention
    monkeypatch.setattr(attention, "attention", spy)
    model, x = make("attention", position="none").float(), tokens(3, 12)
    where = torch.zeros(3, 12, dtype=torch.bool)
    where[0, 3] = where[2, 11] = True
    model(x, where)
    model(x, torch.ones_like(where))
    model(x)
    assert asked == [(3, 12), (1, 2), (3, 12), (3, 12), (3, 12), (3, 12)]
    model.double()(x, where)
    assert asked[6:] == [(3, 12), (3, 12)]


@contract
def test_checkpoint_is_exact(layers: str, options: Options, tmp_path: Path) -> None:
    from lab.config import TrainConfig

    one, two = make(layers, 0, **options).float(), make(layers, 1, **options).float()
    moments = build(one, TrainConfig()), build(two, TrainConfig())
    one(tokens(2, 9)).square().sum().backward()
    moments[0].step()
    log = Log(tmp_path / "metrics.jsonl")
    at: Position = {
        "run": "parity-01234567",
        "kind": "step",
        "step": 7,
        "seconds": 1.5,
        "threads": 1,
        "log": log.seal(),
    }
    checkpoint.save(tmp_path, at, one, moments[0])
    restored = checkpoint.restore(tmp_path, at["run"], log, two, moments[1], pytest.fail)
    assert restored and at.items() <= restored.items()
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name
    for optimizer, model in zip(moments, (one, two), strict=True):
        optimizer.zero_grad()
        model(tokens(2, 9)).square().sum().backward()
        optimizer.step()
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), f"{name} after one more step"


@contract
def test_every_weight_gets_a_gradient(layers: str, options: Options) -> None:
    model = make(layers, **options).train()
    model(tokens(4, 17)).square().mean().backward()
    for name, p in model.named_parameters():
        own_loss = name.endswith("next_place.weight")
        assert own_loss or (p.grad is not None and p.grad.abs().sum() > 0), name


@pytest.mark.parametrize("position", ["learned", "rope"])
@torch.no_grad()
def test_order_matters_with_positions(position: str) -> None:
    model, x = make("attention", position=position), tokens(1, 8)
    swapped = x[:, [2, 1, 0, *range(3, 8)]]
    assert not torch.allclose(model(x)[:, -1], model(swapped)[:, -1])


@torch.no_grad()
def test_without_positions_one_layer_sees_a_set() -> None:
    config = ModelConfig(layers="attention", width=16, heads=2, position="none")
    model, x = Model(config, WORDS).double(), tokens(1, 8)
    swapped = x[:, [2, 0, 1, *range(3, 8)]]
    assert torch.allclose(model(x)[:, -1], model(swapped)[:, -1], atol=1e-12)


@torch.no_grad()
def test_attention_is_its_definition() -> None:
    from lab.mixers.attention import Attention

    config = ModelConfig(width=12, heads=3, position="rope")
    mixer = Attention(config).double()
    x = torch.randn(2, 6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 6, 12, dtype=torch.float64)
    q, k, v = mixer.qkv(x).split(12, dim=-1)

    def turned(vector: torch.Tensor, position: int) -> torch.Tensor:
        pairs = torch.complex(vector[:2], vector[2:])
        angle = torch.tensor([position * 1.0, position / 100.0], dtype=torch.float64)
        pairs = pairs * torch.polar(torch.ones(2, dtype=torch.float64), angle)
        return torch.cat([pairs.real, pairs.imag])

    for b in range(2):
        for h in range(3):
            part = slice(4 * h, 4 * h + 4)
            for i in range(6):
                logits = torch.stack(
                    [turned(q[b, i, part], i) @ turned(k[b, j, part], j) / 2 for j in range(i + 1)]
                )
                expected[b, i, part] = logits.softmax(0) @ v[b, : i + 1, part]
    assert torch.allclose(mixer(x), mixer.out(expected), atol=1e-12)


def test_weights_depend_on_the_seed_alone() -> None:
    from lab.config.experiment import change
    from lab.experiments.parity import experiment

    def weights(e: Experiment) -> torch.Tensor:
        return torch.cat([p.flatten() for p in make_model(e).parameters()])

    base = experiment(k=2)
    before = torch.random.get_rng_state()
    one = weights(base)
    assert torch.equal(before, torch.random.get_rng_state()), "global random state was touched"
    torch.rand(3)
    assert torch.equal(one, weights(base))
    assert not torch.equal(one, weights(change(base, "train.seed", "1")))


def test_a_row_longer_than_the_position_table_is_refused() -> None:
    model = make("attention", max_positions=8)
    with pytest.raises(ValueError, match=r"model\.max_positions = 8 cannot be used: at least 9"):
        model(tokens(1, 9))


def test_tied_weights_are_one() -> None:
    model = make("attention", tie_embeddings=True, position="none").model
    assert model.head.weight is model.embed.weight
