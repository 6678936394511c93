"""The linear layer of the wide products of a block, by `kernels.projection`."""

from __future__ import annotations

from torch import Tensor, nn

from kernels.projection import projection


class Projection(nn.Linear):
    """nn.Linear, of whose products the large ones take less time on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return projection(x, self.weight, self.bias)
