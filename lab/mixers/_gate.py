"""The gate of Gated Attention (2505.06708) and its variants.

    Y' = Y * act(X W)   or, additive,   Y' = Y + act(X W)

X is the input of the mixer (the hidden state after the pre-norm). `gate_at` chooses Y:

    G1 the heads' outputs [B,T,H,d]   G2 values, G3 keys [B,T,G,d]   G4 queries [B,T,H,d]
    G5 the mixer's output [B,T,D]

gate_input = constant is the input-independent gate of the paper: a learned number for each score,
initialised to 0, in place of X W. It scales heads or channels alike at every token.

headwise: one score per head and token; elementwise: one per channel. shared: the scores, after act,
averaged over the heads, [B,T,1,d] (the paper averages over heads; that act comes first is our
choice). act: sigmoid, NS-sigmoid 0.5 + 0.5 sigmoid, SiLU. Keys and queries are gated after qk-norm,
which would undo a headwise gate, and before rope (our choice).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.config import ModelConfig
from lab.mixers._recurrent import projection


class Gate(nn.Module):
    """gate(x [B,T,D], y) -> y gated, for y [B,T,heads,d], or [B,T,D] at G5."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.at, self.act = config.gate_at, config.gate_act
        self.add, self.shared = config.gate_add, config.gate_shared
        kv = config.kv_heads or config.heads
        self.heads = kv if self.at in ("G2", "G3") else config.heads
        width = config.width // config.heads if config.gate == "elementwise" else 1
        scores = self.heads * width
        data = config.gate_input == "data"
        self.score = projection(config, config.width, scores) if data else _Constant(scores)

    @property
    def fused(self) -> bool:
        """Whether the attention operator applies this gate itself, from its logits."""
        plain = self.act == "sigmoid" and not self.add and not self.shared
        return self.at == "G1" and plain

    def logits(self, x: Tensor) -> Tensor:
        """[B,T,heads] or [B,T,heads,d]."""
        z = self.score(x)
        return z if z.shape[-1] == self.heads else z.unflatten(-1, (self.heads, -1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.scores(x) if self.add else y * self.scores(x)

    def scores(self, x: Tensor) -> Tensor:
        """act(X W): [B,T,heads,1 or d], 1 head when the gate is shared, or [B,T,D] at G5."""
        z = self.score(x)
        if self.at != "G5":
            z = z.unflatten(-1, (self.heads, -1))
        score = F.silu(z) if self.act == "silu" else z.sigmoid()
        if self.act == "ns_sigmoid":
            score = 0.5 + 0.5 * score
        return score.mean(2, keepdim=True) if self.shared else score


class _Constant(nn.Module):
    """Logits that do not read x: [B,T,D] -> [B,T,scores]."""

    def __init__(self, scores: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(scores))

    def forward(self, x: Tensor) -> Tensor:
        return self.logit.to(x.dtype).expand(*x.shape[:-1], -1)
