"""Activations read and changed while a model runs, against a run block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lab.analysis.sites import (
    Part,
    Site,
    changed,
    logits_at,
    recorded,
    required_sites,
    sites_of,
)
from lab.config import ModelConfig
from tasks.parity import Parity
from tests.subjects import by_hand, made

PARTS: tuple[Part, ...] = ("block", "head", "mlp", "neurons")
CONFIGS: list[dict[str, Any]] = [
    {"position": "learned", "max_positions": 11},  # one less than the tokens of a row
    {"position": "rope", "mlp_act": "swiglu", "gate": "headwise", "kv_heads": 1},
]


@pytest.mark.parametrize("options", CONFIGS, ids=lambda o: o["position"])
def test_every_site_is_where_its_words_say(options: dict[str, Any]) -> None:
    s = made(Parity(k=3), 8, ModelConfig(width=16, **options), n=6)
    for name, weight in s.model.named_parameters():
        if ".mlp." in name:  # large enough to matter
            torch.nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(2))
    read = torch.from_numpy(np.ascontiguousarray(s.batch.tokens[:, :-1]))
    columns = np.array([10, 10, 9, 8, 10, 9])
    rows = torch.arange(6)
    mask = torch.from_numpy(np.random.default_rng(0).random((6, 11, 1)) < 0.5)
    mask[rows, columns] = True  # or a site of the last layer changes nothing
    intact = logits_at(s, s.batch.tokens, columns)
    torch.testing.assert_close(intact, by_hand(s.model, read)[rows, columns])
    every = [site for part in PARTS for site in required_sites(s.model, part)]
    assert len(every) == 2 + 4 + 2 + 2 and len(set(map(str, every))) == 10
    with recorded(s.model, every) as kept:
        logits_at(s, s.batch.tokens, columns)
    for site in every:

        def edit(at: Site, x: torch.Tensor, site: Site = site) -> torch.Tensor:
            if at != site:
                return x
            torch.testing.assert_close(kept[site], x, rtol=1e-4, atol=1e-5)
            return torch.where(mask, x.flip(-1), x)

        with changed(s.model, {site: lambda x: torch.where(mask, x.flip(-1), x)}):
            found = logits_at(s, s.batch.tokens, columns)
        expected = by_hand(s.model, read, edit)[rows, columns]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, intact, atol=1e-3), site
    torch.testing.assert_close(logits_at(s, s.batch.tokens, columns), intact)


def test_sites_that_a_model_does_not_have() -> None:
    size: dict[str, Any] = {"width": 8, "heads": 1, "position": "none"}
    for options, part, says in (
        ({"layers": "lstm"}, "head", "model.layers = 'lstm' cannot be used: no layer is attention"),
        ({"mlp_ratio": 0}, "neurons", "model.mlp_ratio = 0 cannot be used: no layer has an MLP"),
        ({"experts": 2}, "neurons", "model.experts = 2 cannot be used: 0: a token has"),
    ):
        model = made(Parity(k=2), 4, ModelConfig(**size, **options), n=1).model
        assert sites_of(model, part) == []
        with pytest.raises(ValueError, match=says):
            required_sites(model, part)
        if part == "neurons" and "experts" in options:
            assert len(required_sites(model, "mlp")) == 2
    with (
        pytest.raises(ValueError, match=r"head = \(0, 1\) cannot be used"),
        changed(model, {Site("head", 0, 1): torch.zeros_like}),
    ):
        pass
