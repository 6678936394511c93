"""A write replaces the value under its key."""

from __future__ import annotations

import torch

from tests.recurrent import inputs, make


@torch.no_grad()
def test_deltanet_replaces_what_a_key_held() -> None:
    """With beta near 1 and no decay, a key that is written twice reads back its last value."""
    _, mixer = make("deltanet", d_conv=1, width=8, heads=1)
    mixer.A_log.fill_(-30.0)
    mixer.into.weight[32].copy_(torch.full((8,), 100.0))  # b: large and positive on these inputs
    mixer.conv.weight.fill_(1.0)
    mixer.into.weight[:16, :4] = 0.0  # q and k come from the last four inputs, v from all
    mixer.into.weight[:8] = mixer.into.weight[8:16]
    x = inputs(1, 3, 8).abs()
    x[:, 1:, 4:] = x[:, :1, 4:]  # one key three times
    _, state = mixer.prefill(x)
    q, _, v = mixer._heads(mixer.conv(mixer.into(x)[..., :24]))
    assert torch.allclose(state.S[0, 0].T @ q[0, 2, 0], v[0, 2, 0], atol=1e-10)
