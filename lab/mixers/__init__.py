"""Sequence mixers: lab/mixers/attention.py is the mixer `attention`. No torch until one is loaded.

A mixer is a torch module made from (ModelConfig), causal, for any T:

    forward(x [B,T,D]) -> y [B,T,D]
    prefill(x [B,T,D]) -> y [B,T,D], state        the same y, and what later steps need
    step(x [B,D], state) -> y [B,D], state         one more token; may reuse the memory of state
    state_size(T) -> int                           numbers kept per sequence after T tokens

A state is a tuple (of tuples) of tensors with the rows first, so that rows can be dropped from it;
everything else in it is a plain number. B rows, T tokens, D width, H heads, d width of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Mixer(Protocol):
    """What lab.nn.model asks of a mixer (a torch.nn.Module)."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    def prefill(self, x: torch.Tensor) -> tuple[torch.Tensor, Any]: ...

    def step(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]: ...

    def state_size(self, T: int) -> int: ...
