"""The state of an optimizer as tensors and JSON, and back to the last bit.

torch's optimizers keep tensors and numbers for each parameter; soap keeps lists of both, and counts
steps in its groups. The order of axes in memory is stored too: a matrix stored by columns gives
products that differ in the last bit.
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
    """Load what `optimizer_to_tensors` returned, as copies, into an optimizer of the same
    configuration. KeyError or ValueError when it is from another one."""
    parameters = dict(model.named_parameters())

    def with_tensors(value: Any, key: str, name: str, device: torch.device) -> Any:
        if isinstance(value, list):
            return [with_tensors(part, f"{key}.{i}", name, device) for i, part in enumerate(value)]
        if not isinstance(value, dict):
            return value
        back = [value["order"].index(axis) for axis in range(len(value["order"]))]
        return tensors[f"{key}/{name}"].to(device, copy=True).permute(back)

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
            on_cpu = key == "step" and p not in fused  # where torch's own optimizers count steps
            device = torch.device("cpu") if on_cpu else p.device
            optimizer.state[p][key] = with_tensors(value, key, name, device)
    for group, values in zip(optimizer.param_groups, rest["groups"], strict=True):
        group.update(values)
