"""Sequence mixers: lab/mixers/attention.py is the mixer `attention`. No torch until one is loaded.

A mixer is a causal torch module, made from a ModelConfig, for any T:

    forward(x [B,T,D]) -> y [B,T,D]
    prefill(x [B,T,D]) -> y [B,T,D], state        the same y, and the state for later steps
    step(x [B,D], state) -> y [B,D], state         one more token; may reuse the memory of state
    state_size(T) -> int                           numbers kept per sequence after T tokens

One that can answer for some tokens at less cost may say so with a further method; without it, or
where it gives None, the model takes these of all tokens:

    forward_at(x [B,T,D], rows [N]) -> y [N,D] or None     rows: token t of row b is b T + t; rising

A state is a tuple (of tuples) of tensors whose first dimension is the rows, so that finished rows
can be removed; everything else in it is a plain number. B rows, T tokens, D width, H heads, d width
of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Mixer(Protocol):
    """What lab.nn.model needs of a mixer (a torch.nn.Module)."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    def prefill(self, x: torch.Tensor) -> tuple[torch.Tensor, Any]: ...

    def step(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]: ...

    def state_size(self, T: int) -> int: ...
