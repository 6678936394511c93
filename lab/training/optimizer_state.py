"""What an optimizer keeps, as tensors and JSON, and back again to the last bit.

The state of torch's optimizers is tensors and numbers by parameter, that of soap lists of both, and
its groups count steps. A matrix may lie in memory by columns, which the products that it enters
depend on in the last bit, so the order of axes is kept too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OptimizerTensors = tuple[dict[str, torch.Tensor], dict[str, Any]]


def optimizer_to_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerTensors:
    """The tensors of an optimizer under "key/parameter name", contiguous, and the rest as JSON: the
    numbers of its groups, and the state of each parameter with {"order": axes by their strides} in
    place of a tensor. TypeError for what is neither a tensor, a list, none nor a number."""
    tensors: dict[str, torch.Tensor] = {}

    def without_tensors(value: Any, key: str, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            strides = [0] * value.ndim if value.is_contiguous() else value.stride()
            order = sorted(range(value.ndim), key=lambda axis: -strides[axis])
            tensors[f"{key}/{name}"] = value.detach().permute(order).contiguous()
            return {"order": order}
        if isinstance(value, list):
            return [without_tensors(part, f"{key}.{i}", name) for i, part in enumerate(value)]
        if value is None or isinstance(value, int | float):
            return value
        raise TypeError(f"{key} of {name} is a {type(value).__name__}, which no checkpoint holds")

    names: dict[torch.Tensor, str] = {p: name for name, p in model.named_parameters()}
    states = {
        names[p]: {key: without_tensors(value, key, names[p]) for key, value in state.items()}
        for p, state in optimizer.state.items()
    }
    groups = [
        {key: value for key, value in group.items() if isinstance(value, int | float)}
        for group in optimizer.param_groups
    ]
    return tensors, {"states": states, "groups": groups}


def tensors_to_optimizer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    rest: dict[str, Any],
) -> None:
    """Put what `pack` gave into the optimizer of the same configuration, as copies."""
    parameters = dict(model.named_parameters())

    def with_tensors(value: Any, key: str, name: str, place: torch.device) -> Any:
        if isinstance(value, list):
            return [with_tensors(part, f"{key}.{i}", name, place) for i, part in enumerate(value)]
        if not isinstance(value, dict):
            return value
        back = [value["order"].index(axis) for axis in range(len(value["order"]))]
        return tensors[f"{key}/{name}"].to(place, copy=True).permute(back)

    fused = {
        p
        for g in optimizer.param_groups
        if g.get("fused") or g.get("capturable")
        for p in g["params"]
    }
    optimizer.state.clear()
    for name, state in rest["states"].items():
        p = parameters[name]
        for key, value in state.items():
            host = key == "step" and p not in fused  # where torch's own optimizers count
            place = torch.device("cpu") if host else p.device
            optimizer.state[p][key] = with_tensors(value, key, name, place)
    for group, values in zip(optimizer.param_groups, rest["groups"], strict=True):
        group.update(values)
