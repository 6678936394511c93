"""The model: embedding -> (norm, mixer, norm, MLP) x layers -> norm -> logits.

Pre-norm residual blocks. Embeddings and linear layers are initialised normal with standard
deviation `INIT`, projections back into the residual stream with INIT / sqrt(2 x layers) (GPT-2).
Shapes use the letters of lab.mixers; V is the vocabulary size.

Positions: learned and sinusoidal add a vector for the token's index in the row. coupled adds a
learned vector for the position id that the task gives the token. predicted does so too, and a
second head predicts the position id of the next token, which decoding then uses (Predictive
Position Coupling, 2502.16792; how the head is attached there is not known to us: ours is one linear
layer beside the output layer). State-dict names keep the older word place for position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from lab import registry
from lab.config import Experiment, ModelConfig
from lab.data.rows import stream
from lab.nn.mlp import mlp
from lab.nn.norms import norm
from lab.nn.sigma_reparam import reparametrise
from tasks import refuse

INIT = 0.02


class State(NamedTuple):
    """The state of decoding: one state per mixer, the number t of tokens read, and under position =
    predicted the position id [B] that the model predicts for the next token."""

    layers: list[Any]
    t: int
    place: Tensor | None = None


class Model(nn.Module):
    """A causal sequence model over `words` tokens."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__()
        self.config = config
        D = config.width
        self.embed = nn.Embedding(words, D)
        table = config.position in ("learned", "coupled", "predicted")
        self.place = nn.Embedding(config.max_positions, D) if table else None
        stack = config.stack()
        mixers = {name: registry.load("mixers", name) for name in dict.fromkeys(stack)}
        self.blocks = nn.ModuleList(_Block(config, name, mixers[name]) for name in stack)
        self.norm = norm(config)
        self.head = nn.Linear(D, words, bias=False)
        predicts = config.position == "predicted"
        self.next_place = nn.Linear(D, config.max_positions, bias=False) if predicts else None
        self.drop = nn.Dropout(config.dropout)
        self._start()

    @property
    def _stack(self) -> list[_Block]:
        return cast("list[_Block]", list(self.blocks))

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INIT)
        for block in self.blocks:
            for name, weight in block.named_parameters():
                if name.endswith("out.weight"):
                    nn.init.normal_(weight, std=INIT / (2 * len(self.blocks)) ** 0.5)
        if self.config.sigma:
            reparametrise(self.blocks)
        if self.config.embed == "sinusoidal":
            ids = torch.arange(self.embed.num_embeddings)
            self.embed.weight = nn.Parameter(sinusoid(ids, self.config.width), requires_grad=False)
        if self.config.tie_embeddings:
            self.head.weight = self.embed.weight

    def hidden(
        self, tokens: Tensor, where: Tensor | None = None, ids: Tensor | None = None
    ) -> Tensor:
        """What the heads read: [B,T,D]; or [N,D] at the N places where the mask `where` holds.

        tokens, ids [B,T] (ids: the task's places, for coupled and predicted). where: bool [B,T], or
        int64 [N], the numbers of the places row after row, whose count no value decides.
        """
        x = self._read(tokens, 0, ids)
        rows = where
        if where is not None and where.dtype == torch.bool:
            rows = where.flatten().nonzero().squeeze(1)
        *lower, last = self.blocks
        for block in lower:
            x = block(x)
        # From the last mixer on tokens do not meet: the other places need no query there and no
        # MLP. A mixture of experts sees them all the same, because it balances over them.
        early = rows is not None and not self.config.experts
        x = last(x, rows if early else None)
        return self.norm(x if rows is None or early else _take(x, rows))

    def forward(
        self, tokens: Tensor, where: Tensor | None = None, ids: Tensor | None = None
    ) -> Tensor:
        """Logits [B,T,V], or [N,V] where the mask holds."""
        return self.head(self.hidden(tokens, where, ids))

    def prefill(self, tokens: Tensor, ids: Tensor | None = None) -> tuple[Tensor, State]:
        """Read a prompt [B,T]: logits [B,V] of what comes next, and the state to go on from."""
        x, layers = self._read(tokens, 0, ids), []
        for block in self._stack:
            x, state = block.prefill(x)
            layers.append(state)
        return self._next(x[:, -1], layers, tokens.shape[1])

    def step(self, token: Tensor, state: State, ids: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one more token [B] with its id [B]: logits [B,V] of what comes next."""
        ids = None if ids is None else ids[:, None]
        x, layers = self._read(token[:, None], state.t, ids)[:, 0], []
        for block, old in zip(self._stack, state.layers, strict=True):
            x, new = block.step(x, old)
            layers.append(new)
        return self._next(x, layers, state.t + 1)

    def _next(self, x: Tensor, layers: list[Any], t: int) -> tuple[Tensor, State]:
        x = self.norm(x)
        place = None if self.next_place is None else self.next_place(x).argmax(-1)
        return self.head(x), State(layers, t, place)

    def state_size(self, T: int) -> int:
        """Numbers kept per sequence after T tokens."""
        return sum(block.mixer.state_size(T) for block in self._stack)

    def _read(self, tokens: Tensor, start: int, ids: Tensor | None) -> Tensor:
        x = self.embed(tokens)
        kind, stop = self.config.position, start + tokens.shape[1]
        if kind == "sinusoidal":
            x = x + sinusoid(torch.arange(start, stop, device=x.device), self.config.width).to(x)
        elif self.place is not None:
            if ids is None and kind != "learned":
                raise refuse("model.position", kind, "the task gives no places")
            highest = stop if ids is None else int(ids.max()) + 1
            if highest > self.config.max_positions:
                allowed = f"at least {highest}, the places of the longest row"
                raise refuse("model.max_positions", self.config.max_positions, allowed)
            x = x + (self.place.weight[start:stop] if ids is None else self.place(ids))
        return self.drop(x)


def sinusoid(ids: Tensor, width: int) -> Tensor:
    """[n] whole numbers -> [n, width]: sin(i / 10000^(j/width)) at even j, the cosine after it.

    Places as in "Attention Is All You Need"; token ids as the embedding of 2402.18510.
    """
    j = torch.arange(0, width, 2, device=ids.device)
    angle = ids[:, None].double() / 10000.0 ** (j.double() / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width].float()


def select_rows(state: Any, rows: Tensor) -> Any:
    """The state of some rows [n] of a batch: every tensor in it has the rows first."""
    if isinstance(state, Tensor):
        return state[rows]
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(select_rows(part, rows) for part in state))
    if isinstance(state, tuple | list):
        return type(state)(select_rows(part, rows) for part in state)
    return state


def _take(x: Tensor, rows: Tensor) -> Tensor:
    """[B,T,D] -> [N,D]: by number, which is cheaper than a mask, forward and backward."""
    return x.flatten(0, 1).index_select(0, rows)


class _Block(nn.Module):
    def __init__(self, config: ModelConfig, name: str, mixer: Callable[[ModelConfig], Any]) -> None:
        super().__init__()
        self.norm1 = norm(config)
        self.mixer = mixer(config)
        own = bool(config.mlp_ratio) and (config.mlp_in == "all" or name == "attention")
        self.norm2 = norm(config) if own else None
        self.mlp = mlp(config) if own else None
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """x [B,T,D] -> [B,T,D], or [N,D] for these of the B T tokens, numbered row after row."""
        read = self.norm1(x)
        y = None if rows is None else self._mixed_at(read, rows)
        if rows is not None and y is not None:
            return self._above(_take(x, rows) + self.drop(y))
        x = x + self.drop(self.mixer(read))
        return self._above(x if rows is None else _take(x, rows))

    def _mixed_at(self, x: Tensor, rows: Tensor) -> Tensor | None:
        """What the mixer gives for some tokens alone, where it can."""
        forward_at = getattr(self.mixer, "forward_at", None)
        return None if forward_at is None else forward_at(x, rows)

    def prefill(self, x: Tensor) -> tuple[Tensor, Any]:
        y, state = self.mixer.prefill(self.norm1(x))
        return self._above(x + self.drop(y)), state

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = self.mixer.step(self.norm1(x), state)
        return self._above(x + self.drop(y)), state

    def _above(self, x: Tensor) -> Tensor:
        """The MLP and its residual."""
        if self.mlp is None or self.norm2 is None:
            return x
        return x + self.drop(self.mlp(self.norm2(x)))


def make_model(experiment: Experiment) -> Model:
    """The model of an experiment with its first weights, drawn from the seed's own stream."""
    seed = stream(experiment.train.seed, "weights").generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return Model(experiment.model, len(experiment.task.words))
