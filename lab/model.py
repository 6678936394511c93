"""The only model: embedding -> (norm, mixer, norm, MLP) x layers -> norm -> logits.

Pre-norm residual blocks. Weights of embeddings and linear layers start normal with deviation
`INIT`, projections back into the residual stream smaller by sqrt(2 x layers) (GPT-2). Legend as in
lab.mixers, V words.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from lab import mixers
from lab.config import ModelConfig
from tasks import refuse

INIT = 0.02


class State(NamedTuple):
    """What decoding keeps: one state per mixer, and how many tokens it has read."""

    layers: list[Any]
    t: int


class Model(nn.Module):
    """A causal sequence model over `words` tokens."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(words, config.width)
        self.place = nn.Embedding(config.tokens, config.width) if self._learned else None
        self.blocks = nn.ModuleList(_Block(config, name) for name in config.stack())
        self.norm = _norm(config)
        self.head = nn.Linear(config.width, words, bias=False)
        self.drop = nn.Dropout(config.dropout)
        self._start()
        if config.tie:
            self.head.weight = self.embed.weight

    @property
    def _stack(self) -> list[_Block]:
        return cast("list[_Block]", list(self.blocks))

    @property
    def _learned(self) -> bool:
        return self.config.position == "learned"

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INIT)
        for block in self.blocks:
            for name, weight in block.named_parameters():
                if name.endswith("out.weight"):
                    nn.init.normal_(weight, std=INIT / (2 * len(self.blocks)) ** 0.5)

    def forward(self, tokens: Tensor, where: Tensor | None = None) -> Tensor:
        """Logits [B,T,V]; or [N,V] at the N places where the bool mask `where` [B,T] holds."""
        x = self._read(tokens, 0)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x if where is None else x[where]))

    def prefill(self, tokens: Tensor) -> tuple[Tensor, State]:
        """Read a prompt [B,T]: logits [B,V] of what comes next, and the state to go on from."""
        x, layers = self._read(tokens, 0), []
        for block in self._stack:
            x, state = block.prefill(x)
            layers.append(state)
        return self.head(self.norm(x[:, -1])), State(layers, tokens.shape[1])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one more token [B]: logits [B,V] of what comes next."""
        x, layers = self._read(token[:, None], state.t)[:, 0], []
        for block, old in zip(self._stack, state.layers, strict=True):
            x, new = block.step(x, old)
            layers.append(new)
        return self.head(self.norm(x)), State(layers, state.t + 1)

    def state_size(self, T: int) -> int:
        """Numbers kept per sequence after T tokens."""
        return sum(block.mixer.state_size(T) for block in self._stack)

    def _read(self, tokens: Tensor, start: int) -> Tensor:
        x = self.embed(tokens)
        if self.place is not None:
            stop = start + tokens.shape[1]
            if stop > self.config.tokens:
                allowed = f"at least {stop}, the tokens of the longest row"
                raise refuse("model.tokens", self.config.tokens, allowed)
            x = x + self.place.weight[start:stop]
        return self.drop(x)


class _Block(nn.Module):
    def __init__(self, config: ModelConfig, mixer: str) -> None:
        super().__init__()
        self.norm1 = _norm(config)
        self.mixer = mixers.load(mixer)(config)
        self.norm2 = _norm(config) if config.mlp else None
        self.mlp = _MLP(config) if config.mlp else None
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self._rest(x, self.mixer(self.norm1(x)))

    def prefill(self, x: Tensor) -> tuple[Tensor, Any]:
        y, state = self.mixer.prefill(self.norm1(x))
        return self._rest(x, y), state

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = self.mixer.step(self.norm1(x), state)
        return self._rest(x, y), state

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.drop(mixed)
        if self.mlp is None or self.norm2 is None:
            return x
        return x + self.drop(self.mlp(self.norm2(x)))


class _MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = round(config.mlp * config.width)
        self.up = nn.Linear(config.width, hidden, bias=False)
        self.out = nn.Linear(hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.up(x)))


def _norm(config: ModelConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.width)
