"""Attention token by token, from the equations of the papers, and options to try it on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lab.config import ModelConfig
from lab.mixers.attention import Attention

Options = dict[str, Any]
SIZE: Options = {"width": 16, "heads": 4, "position": "none"}


def make(**options: Any) -> Attention:
    """Weights large enough that every part matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = Attention(ModelConfig(**{**SIZE, **options})).double()
        for p in mixer.parameters():
            torch.nn.init.normal_(p, std=0.5)
    return mixer


def rows(B: int, T: int, D: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Literal:
    """One row x [T,D] through attention, number by number, from the equations in the papers."""

    def __init__(self, config: ModelConfig, weights: dict[str, Tensor], x: Tensor) -> None:
        self.c, self.weights, self.x = config, weights, x
        self.H, self.G = config.heads, config.kv_heads or config.heads
        self.d = config.width // self.H

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = self.weights[name + ".weight"] @ x
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def score(self, t: int, head: int) -> Tensor:
        """act(X W) of one head, or the mean over all of them."""
        constant = self.c.gate_input == "constant"
        z = self.weights["gate.score.logit"] if constant else self.linear("gate.score", self.x[t])
        s = 1 / (1 + torch.exp(-z))
        s = {"sigmoid": s, "ns_sigmoid": 0.5 + 0.5 * s, "silu": z * s}[self.c.gate_act]
        if self.c.gate_at == "G5":
            return s
        heads = self.G if self.c.gate_at in ("G2", "G3") else self.H
        width = len(z) // heads
        parts = [s[h * width : (h + 1) * width] for h in range(heads)]
        return sum(parts) / heads if self.c.gate_shared else parts[head]  # type: ignore[return-value]

    def gated(self, at: str, y: Tensor, t: int, head: int) -> Tensor:
        if self.c.gate == "none" or self.c.gate_at != at:
            return y
        return y + self.score(t, head) if self.c.gate_add else y * self.score(t, head)

    def placed(self, vector: Tensor, t: int) -> Tensor:
        if self.c.position != "rope":
            return vector
        turned, half = vector.clone(), self.d // 2
        for m in range(half):
            a = t / self.c.rope_base ** (2 * m / self.d)
            turned[m] = vector[m] * math.cos(a) - vector[m + half] * math.sin(a)
            turned[m + half] = vector[m] * math.sin(a) + vector[m + half] * math.cos(a)
        return turned

    def normed(self, vector: Tensor, which: str) -> Tensor:
        if self.c.score == "softplus":
            return vector / vector.square().sum().sqrt()
        if not self.c.qk_norm:
            return vector
        rms = (vector.square().mean() + 1e-6).sqrt()
        return vector / rms * self.weights[f"{which}_norm.weight"]

    def part(self, t: int, head: int) -> Tensor:
        return self.linear("qkv", self.x[t])[head * self.d : (head + 1) * self.d]

    def query(self, t: int, h: int) -> Tensor:
        q = self.placed(self.gated("G4", self.normed(self.part(t, h), "q"), t, h), t)
        if self.c.log_length:
            q = q * max(1.0, math.log(t + 1) / math.log(self.c.log_length))
        return q

    def key(self, t: int, g: int) -> Tensor:
        k = self.normed(self.part(t, self.H + g), "k")
        return self.placed(self.gated("G3", k, t, g), t)

    def value(self, t: int, g: int) -> Tensor:
        return self.gated("G2", self.part(t, self.H + self.G + g), t, g)

    def reflection(self, t: int, g: int) -> Tensor:
        """I - beta w w^T."""
        w = torch.zeros(self.G * self.d, dtype=torch.float64)
        for back in range(3):
            if t - back < 0:
                continue
            if "turns.w.weight" in self.weights:
                u = self.linear("turns.w", self.x[t - back])
            else:
                u = self.linear("turns.w.1", self.linear("turns.w.0", self.x[t - back]))
            w += self.weights["turns.conv.weight"][2 - back] * u
        w = w[g * self.d : (g + 1) * self.d]
        w = w / w.square().sum().sqrt()
        beta = 2 / (1 + torch.exp(-self.linear("turns.beta", self.x[t])[g]))
        return torch.eye(self.d, dtype=torch.float64) - beta * torch.outer(w, w)

    def logit(self, i: int, j: int, h: int) -> Tensor:
        g = h * self.G // self.H
        k = self.key(j, g)
        if self.c.position == "path":
            for t in range(j + 1, i + 1):
                k = self.reflection(t, g) @ k
        s = self.query(i, h) @ k
        if self.c.score == "softplus":
            s = s * math.log(self.d) * math.log(self.seen(i, h))
        else:
            s = s / self.d**0.5
        if self.c.position == "alibi":
            s = s - 2 ** (-8 * (h + 1) / self.H) * (i - j)
        if i - j >= self.seen(i, h):
            s = torch.tensor(-torch.inf)
        if self.c.forget:
            for t in range(j + 1, i + 1):
                s = s - torch.log(1 + torch.exp(-self.linear("forget", self.x[t])[h]))
        return s

    def seen(self, i: int, h: int) -> int:
        """The last so many tokens are seen."""
        banded = self.c.banded or max(1, self.H // 2)
        return min(i, h) + 1 if self.c.position == "hard_alibi" and h < banded else i + 1

    def shares(self, i: int, h: int) -> list[float]:
        s = [self.logit(i, j, h) for j in range(i + 1)]
        if self.c.score == "softmax":
            e = torch.stack(s).exp()
            return (e / e.sum()).tolist()
        N, p = self.seen(i, h), self.c.sharpen
        a = [math.log(1 + math.exp(x)) for x in s]
        if p:
            a = [x * N / sum(a) for x in a]
            if N > 3 and max(a) > 1 + 1e-5:
                a = [max(0.0, x - 1) for x in a]
            a = [x**p for x in a]
        return [x / sum(a) for x in a]

    def run(self) -> Tensor:
        out = []
        for i in range(len(self.x)):
            heads = []
            for h in range(self.H):
                w = self.shares(i, h)
                g = h * self.G // self.H
                y = sum(w[j] * self.value(j, g) for j in range(i + 1))
                heads.append(self.gated("G1", y, i, h))  # type: ignore[arg-type]
            out.append(self.gated("G5", self.linear("out", torch.cat(heads)), i, 0))
        return torch.stack(out)


PLACES: list[Options] = [
    {"position": "none"},
    {"position": "rope", "rope_base": 50.0},
    {"position": "alibi"},
    {"position": "hard_alibi"},
    {"position": "path"},
]
GATES: list[Options] = [
    {},
    {"gate": "headwise"},
    {"gate": "elementwise"},
]
FORMS: list[Options] = [
    *({"gate": "headwise", "gate_at": at} for at in ("G2", "G3", "G4")),
    *({"gate": "elementwise", "gate_at": at} for at in ("G2", "G3", "G4", "G5")),
    *({"gate": "elementwise", "gate_shared": True, "gate_at": at} for at in ("G1", "G2", "G4")),
    {"gate": "headwise", "gate_act": "ns_sigmoid"},
    {"gate": "elementwise", "gate_act": "silu"},
    {"gate": "elementwise", "gate_act": "silu", "gate_add": True},
    {"gate": "headwise", "gate_add": True},
    {"gate": "elementwise", "gate_at": "G5", "gate_add": True, "bias": True},
    {"gate": "elementwise", "gate_at": "G3", "gate_shared": True, "gate_act": "silu"},
    *({"gate": g, "gate_input": "constant"} for g in ("headwise", "elementwise")),
    {"gate": "elementwise", "gate_at": "G5", "gate_input": "constant", "bias": True},
    {"gate": "headwise", "gate_at": "G2", "gate_input": "constant", "kv_heads": 2},
]
OTHERS: list[Options] = [
    {"position": "hard_alibi", "banded": 3},
    {"position": "hard_alibi", "banded": 4, "forget": True},
    {"position": "hard_alibi", "banded": 3, "forget": True, "kv_heads": 2},
    {"qk_norm": True},
    {"qk_norm": True, "position": "rope", "gate": "headwise", "gate_at": "G4"},
    {"log_length": 3, "position": "path"},
    {"log_length": 2, "position": "alibi", "forget": True},
    {"score": "softplus"},
    {"score": "softplus", "sharpen": 0.0, "position": "rope", "kv_heads": 2},
    {"score": "softplus", "sharpen": 1.0, "position": "alibi", "forget": True},
    {"score": "softplus", "sharpen": 3.0, "position": "hard_alibi", "banded": 3, "kv_heads": 2},
    {"score": "softplus", "gate": "headwise", "gate_at": "G4"},
    {"kv_heads": 2, "gate": "elementwise", "gate_at": "G2"},
    {"kv_heads": 2, "position": "path", "forget": True, "gate": "elementwise", "bias": True},
    {"kv_heads": 1, "position": "alibi", "forget": True, "qk_norm": True},
    {"kv_heads": 1, "position": "hard_alibi", "gate": "headwise", "gate_at": "G3", "bias": True},
    {"width": 36, "heads": 2, "position": "path", "qk_norm": True},
]
GRID = [
    *({**place, "forget": f, **gate} for place in PLACES for f in (False, True) for gate in GATES),
    *FORMS,
    *OTHERS,
]


def name(options: Options) -> str:
    return ",".join(f"{k}={v}" for k, v in options.items()) or "plain"


grid = pytest.mark.parametrize("options", GRID, ids=name)
