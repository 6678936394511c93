"""Parts of a projection: their values and gradients are those of torch's split."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lab.mixers._heads import split_heads


def gradient(parts: tuple[Tensor, ...], grads: list[Tensor], x: Tensor) -> Tensor:
    return torch.autograd.grad(parts, x, grads)[0]


@given(
    B=st.integers(1, 2),
    T=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    order=st.permutations([0, 1, 2]),
    whole=st.booleans(),
)
def test_gradients_are_joined_in_their_order(
    B: int, T: int, sizes: list[int], order: list[int], whole: bool
) -> None:
    """Gradients lie side by side, in another order, or apart."""
    x = torch.randn(B, T, sum(sizes), 2, requires_grad=True)
    lying = torch.randn(B, T, sum(sizes), 2).split([sizes[i] for i in order], 2)
    grads = [lying[order.index(i)] for i in range(3)]
    if not whole:
        grads[1] = grads[1].clone()
    want = gradient(x.split(sizes, 2), grads, x)
    assert torch.equal(gradient(split_heads(x, sizes), grads, x), want)


def test_gradients_that_lie_side_by_side_are_not_copied() -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    together = torch.randn(2, 3, 4, 5)
    found = gradient(split_heads(x, [2, 1, 1]), list(together.split([2, 1, 1], 2)), x)
    assert found.data_ptr() == together.data_ptr() and torch.equal(found, together)


def test_a_gradient_that_is_differentiated_again_counts_every_part() -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    together = torch.randn(2, 3, 4, 5, requires_grad=True)
    parts = split_heads(x, [2, 1, 1])
    (found,) = torch.autograd.grad(parts, x, together.split([2, 1, 1], 2), create_graph=True)
    (again,) = torch.autograd.grad(found.square().sum(), together)
    assert torch.equal(again, 2 * together)


def test_transforms_split_as_torch_does() -> None:
    x = torch.randn(3, 1, 2, 4, 2)
    loss = lambda x: sum(p.square().sum() * i for i, p in enumerate(split_heads(x, [2, 1, 1])))  # noqa: E731
    per_row = torch.func.vmap(torch.func.grad(loss))(x)
    assert torch.equal(per_row, torch.stack([torch.func.grad(loss)(row) for row in x]))
