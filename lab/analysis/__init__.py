"""What a trained model computes: statistics of its heads and layers, and interventions on them; and
what a model can compute: weights set by hand (turing_program)."""

from lab.analysis.heads import AnalysisResult, HeadStats, LayerStats, attention_maps, measure
from lab.analysis.interventions import (
    Ablation,
    Interpolation,
    ablation,
    exact_and_loss,
    heads_off,
    interpolate,
)
from lab.analysis.subject import (
    Layer,
    Subject,
    dependency_mask,
    first_rows,
    layers,
    load_model,
    open_run,
)

__all__ = [
    "Ablation",
    "AnalysisResult",
    "HeadStats",
    "Interpolation",
    "Layer",
    "LayerStats",
    "Subject",
    "ablation",
    "attention_maps",
    "dependency_mask",
    "exact_and_loss",
    "first_rows",
    "heads_off",
    "interpolate",
    "layers",
    "load_model",
    "measure",
    "open_run",
]
