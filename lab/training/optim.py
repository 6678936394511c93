"""The optimizer that a configuration names, and which parameters get which of its options."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lab.config import TrainConfig
from lab.mixers._conv import ShortConv
from lab.training.freeze import freeze
from lab.training.optimizers import Adalayer, CombinedOptimizer, Lion, Muon, Signum

Named = list[tuple[str, nn.Parameter]]

TABLES = ("embed.", "place.", "head.", "next_place.")  # parameters: a row a token or position


def build(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that a configuration names, over all parameters of a model. Those that
    train.freeze names are frozen here: without a gradient, no optimizer changes them.

    Weight decay acts on matrices, not on norms and biases, nor on the decay rates of a state space
    (A_log), as its authors have it. It is decoupled from the gradient, but for sgd, where torch
    adds it to the gradient. beta1, beta2 when the configuration gives none:

    adamw     0.9, 0.999
    sgd       momentum 0.9; 0 for none
    signum    0.9
    lion      0.9, 0.99
    muon      momentum 0.95 (Nesterov) for the matrices of the blocks; AdamW with 0.9
              and 0.999 for the rest: tables of tokens and positions, vectors, short convolutions
              and A_log. An update is scaled to the size of AdamW's, so that one train.lr serves
              both (our choice)
    soap      0.95, 0.95, eigenbases renewed every 10 steps. Vectors are not rotated; a table of
              tokens or positions only along sides no longer than the width (our choice)
    adalayer  0.9, 0.999

    ValueError when the optimizer is soap and its package is not installed, and as `freeze`.
    """
    config.installed()
    freeze(model, config.freeze)
    named = [(name, p) for name, p in model.named_parameters()]
    betas, lr = config.betas(), config.lr
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(_groups(named, config), lr=lr, momentum=betas[0])
        case "signum":
            return Signum(_groups(named, config), lr, betas)
        case "lion":
            return Lion(_groups(named, config), lr, betas)
        case "adalayer":
            return Adalayer(_groups(named, config), lr, betas)
        case "muon":
            return _muon(model, named, config)
        case "soap":
            from pytorch_optimizer import SOAP

            tables = [x for x in named if x[0].startswith(TABLES)]
            groups = _groups([x for x in named if not x[0].startswith(TABLES)], config)
            for group in _groups(tables, config):
                groups.append({**group, "max_precondition_dim": group["params"][0].shape[1]})
            return SOAP(groups, lr=lr, betas=(betas[0], betas[1]))
    pair = (betas[0], betas[1])
    return torch.optim.AdamW(_groups(named, config), lr=lr, betas=pair, fused=True)


def _groups(named: Named, config: TrainConfig) -> list[dict[str, Any]]:
    """Matrices with weight decay, the others without."""
    matrices = [p for name, p in named if p.ndim >= 2 and not name.endswith("A_log")]
    others = [p for name, p in named if p.ndim < 2 or name.endswith("A_log")]
    groups = (
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def _muon(model: nn.Module, named: Named, config: TrainConfig) -> torch.optim.Optimizer:
    filters = {id(m.weight) for m in model.modules() if isinstance(m, ShortConv)}
    hidden = [
        (name, p)
        for name, p in named
        if name.startswith("blocks.") and p.ndim == 2
        if not name.endswith("A_log") and id(p) not in filters
    ]
    by_muon = {name for name, _ in hidden}
    rest = _groups([x for x in named if x[0] not in by_muon], config)
    adamw = torch.optim.AdamW(rest, lr=config.lr, fused=True)
    if not hidden:
        return adamw
    muon = Muon([p for _, p in hidden], config.lr, config.weight_decay, config.betas()[0])
    return CombinedOptimizer(muon, adamw)
