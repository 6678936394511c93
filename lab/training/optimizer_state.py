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
    return tensors, {"states": states, "groups": list(map(_numbers, optimizer.param_groups))}


def tensors_to_optimizer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    rest: dict[str, Any],
) -> None:
    """Load what `optimizer_to_tensors` returned, as copies, into an optimizer of the same
    configuration. KeyError, TypeError or ValueError when it is from another one: every tensor must
    have the shape and the type of the optimizer's own."""
    parameters = dict(model.named_parameters())
    _step_at_rest(optimizer)
    own = {name: optimizer.state[parameters[name]] for name in rest["states"]}

    def with_tensors(value: Any, key: str, name: str, like: Any) -> Any:
        if isinstance(like, list) and isinstance(value, list):
            pairs = enumerate(zip(value, like, strict=True))
            return [with_tensors(one, f"{key}.{i}", name, of) for i, (one, of) in pairs]
        if not isinstance(like, torch.Tensor) and type(value) is type(like):
            return value
        order = value.get("order") if isinstance(value, dict) else None
        if not isinstance(like, torch.Tensor) or not isinstance(order, list):
            raise ValueError(f"{key} of {name} is no state of this optimizer")
        back = [order.index(axis) for axis in range(like.ndim)]
        tensor = tensors[f"{key}/{name}"].to(like.device, copy=True).permute(back)
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise ValueError(f"{key} of {name} has another shape or type than the optimizer's own")
        return tensor

    optimizer.state.clear()
    for name, state in rest["states"].items():
        if state.keys() != own[name].keys():
            raise ValueError(f"the state of {name} is not of this optimizer")
        for key, value in state.items():
            optimizer.state[parameters[name]][key] = with_tensors(value, key, name, own[name][key])
    for group, values in zip(optimizer.param_groups, rest["groups"], strict=True):
        if values.keys() != _numbers(group).keys():
            raise ValueError("its groups are not those of this optimizer")
        group.update(values)


def _numbers(group: dict[str, Any]) -> dict[str, int | float]:
    return {key: value for key, value in group.items() if isinstance(value, int | float)}


def _step_at_rest(optimizer: torch.optim.Optimizer) -> None:
    """One step of zero gradients at rate 0, which leaves the weights as they are and makes all
    that an optimizer keeps."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for p in group["params"]:
            p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
