"""An operator that answers for some queries alone, beside the definition for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels.rounding import check_against_definition


@st.composite
def some_of(draw: st.DrawFn, tokens: int) -> Tensor:
    """Numbers of at least one of so many tokens: any, every n-th, or those behind a place."""
    whole = list(range(tokens))
    kinds = [st.sets(st.sampled_from(whole), min_size=1).map(sorted)]
    kinds += [st.integers(1, 9).map(lambda n: whole[::n])]
    kinds += [st.integers(0, tokens - 1).map(lambda first: whole[first:])]
    return torch.tensor(draw(st.one_of(kinds)))


def check_queries(
    name: str,
    operator: Callable[..., Tensor],
    definition: Callable[..., Tensor],
    inputs: dict[str, Tensor],
    queries: Tensor,
    impl: str,
) -> None:
    """Output and every gradient for these queries [N], against the definition in float64."""

    def taken(x: Tensor) -> Tensor:
        return x.flatten(0, 1)[queries][None]

    def asked(**given: Any) -> Tensor:
        return operator(
            **given | {n: taken(given[n]) for n in ("q", "gate") if n in given}, queries=queries
        )

    def defined(**given: Any) -> Tensor:
        return taken(definition(**given))

    check_against_definition(name, asked, defined, inputs, impl)
