"""A user's own mixers, tried before a run writes anything."""

from __future__ import annotations

from typing import Any

import torch

from lab import registry
from lab.config import ModelConfig
from lab.config.trust import mixer_files
from lab.errors import UsageError, user_line

TOKENS = 5  # of a trial
CLOSE = 1e-3  # between all tokens at once and one after another, in float32


def check_mixers(config: ModelConfig) -> None:
    """UsageError for a mixer from a user's file that cannot be built or cannot read a few tokens,
    returns another shape, or computes something else token by token: then it looks ahead, or its
    steps are wrong."""
    for file in mixer_files(config.layers):
        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                wrong = _wrong(registry.load("mixers", file)(config).eval(), config.width)
        except Exception as error:
            wrong = user_line(error)
        if wrong:
            raise UsageError(f"the mixer {file} cannot be used: {wrong}")


def _wrong(mixer: Any, width: int) -> str | None:
    """What is wrong with a mixer on two rows of random numbers; None for a sound one."""
    x = torch.randn(2, TOKENS, width, generator=torch.Generator().manual_seed(0))
    whole = mixer(x)
    start, state = mixer.prefill(x[:, :-1])
    last, state = mixer.step(x[:, -1], state)
    for name, y, like in (
        ("forward", whole, x),
        ("prefill", start, x[:, :-1]),
        ("step", last, x[:, 0]),
    ):
        if not isinstance(y, torch.Tensor) or y.shape != like.shape:
            given = list(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
            return f"its {name} must give a tensor {list(like.shape)}, as it reads, it gave {given}"
    if type(mixer.state_size(TOKENS)) is not int:
        return "its state_size must give a whole number"
    apart = (torch.cat([start, last[:, None]], 1) - whole).abs().max().item()
    if not apart <= CLOSE * max(1.0, whole.abs().max().item()):
        return (
            f"token by token it differs from forward by {apart:.2g}; no token may depend on a later"
            " one, and prefill and step must agree with forward"
        )
    return None
