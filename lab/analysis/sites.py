"""Activations of a model at a site: read, or changed, while the model runs.

    block    [n,T,D]  output of a block: the residual stream above it
    mlp      [n,T,D]  output of the MLP of a block, or of its experts, before it is added
    head     [n,T,d]  output of an attention head, after a gate at G1, before the output projection
    neurons  [n,T,h]  hidden activations of the MLP; under swiglu the products that its output reads

Layers and heads count from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lab.analysis.subject import Subject
from lab.data.position_ids import position_ids
from lab.nn.model import Model
from tasks import refuse

Part = Literal["block", "mlp", "head", "neurons"]
Change = Callable[[Tensor], Tensor]


class Site(NamedTuple):
    """One of the tensors above. head: None but for a head."""

    part: Part
    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return f"{self.part} {self.layer}" + ("" if self.head is None else f".{self.head}")


def sites_of(model: Model, part: Part) -> list[Site]:
    """Every site of a kind that a model has, from bottom to top. Neurons of experts are none: a
    token has those of the experts that it is sent to."""
    found: list[Site] = []
    for layer, each in enumerate(model.blocks):
        block: Any = each
        if part == "head" and hasattr(block.mixer, "attention_weights"):
            found += [Site(part, layer, head) for head in range(block.mixer.heads)]
        mlp = block.mlp is not None and (part == "mlp" or not model.config.experts)
        if part == "block" or (part in ("mlp", "neurons") and mlp):
            found.append(Site(part, layer))
    return found


def required_sites(model: Model, part: Part) -> list[Site]:
    """The same. ValueError in words where there is none."""
    found, config = sites_of(model, part), model.config
    if part == "head" and not found:
        raise refuse("model.layers", config.layers, "no layer is attention: there are no heads")
    if not found and config.experts:
        allowed = "0: a token has the neurons of the experts that it is sent to"
        raise refuse("model.experts", config.experts, allowed)
    if not found:
        raise refuse("model.mlp_ratio", config.mlp_ratio, "no layer has an MLP")
    return found


@contextmanager
def changed(model: Model, changes: Mapping[Site, Change]) -> Iterator[None]:
    """The model with the activations of some sites passed through functions. Heads, MLPs and
    neurons also when it decodes; then T is 1. Where a model reads the logits of some tokens alone,
    its last block has those alone."""
    hooks = []
    try:
        for site, change in changes.items():
            hooks.append(_hook(model, site, change))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def recorded(model: Model, sites: Iterable[Site]) -> Iterator[dict[Site, Tensor]]:
    """The activations of some sites in the last run of the model, in a dictionary that a run
    fills."""
    kept: dict[Site, Tensor] = {}

    def keep(site: Site) -> Change:
        def change(x: Tensor) -> Tensor:
            kept[site] = x.clone()
            return x

        return change

    with changed(model, {site: keep(site) for site in sites}):
        yield kept


def _hook(model: Model, site: Site, change: Change) -> Any:
    part, layer, head = site
    if part == "head":
        if site not in sites_of(model, part):
            raise refuse("head", (layer, head), "a (layer, head) of an attention layer")
        mixer: Any = model.blocks[layer].mixer
        lanes = slice(head * mixer.d, (head + 1) * mixer.d)  # type: ignore[operator]
        return mixer.out.register_forward_pre_hook(_in_lanes(lanes, change))
    block: Any = model.blocks[layer]
    if part == "neurons":
        return block.mlp.out.register_forward_pre_hook(lambda _, args: (change(args[0]),))
    module = block if part == "block" else block.mlp
    return module.register_forward_hook(lambda _, args, out: change(out))


def _in_lanes(lanes: slice, change: Change) -> Any:
    def hook(module: torch.nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        read = args[0].clone()
        read[..., lanes] = change(read[..., lanes])
        return (read,)

    return hook


@torch.inference_mode()
def logits_at(subject: Subject, tokens: np.ndarray, columns: np.ndarray) -> Tensor:
    """Logits [n,V] of what follows one column of each row. tokens int64 [n,T], columns int [n]
    below T - 1; position ids are those of the subject's rows."""
    model = subject.model.eval()
    device = next(model.parameters()).device

    def read(array: np.ndarray) -> Tensor:  # a model never reads the last token of a row
        return torch.from_numpy(np.ascontiguousarray(array[:, :-1])).to(device)

    ids = position_ids(subject.task, model.config, subject.batch)
    hidden = model.hidden(read(tokens), ids=None if ids is None else read(ids))
    return model.head(hidden[torch.arange(len(tokens)), torch.from_numpy(columns)])
