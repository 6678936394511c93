"""What a trained model computes: statistics of its heads and layers, and interventions on them; and
what a model can compute: weights set by hand (turing_program).

lab.analysis.analyses has the analyses that `lab analyze --what NAME` knows.
"""

from lab.analysis.finding import Finding
from lab.analysis.heads import AnalysisResult, HeadStats, LayerStats, attention_maps, measure
from lab.analysis.interventions import (
    Ablation,
    Interpolation,
    ablate,
    exact_and_loss,
    heads_off,
    importance,
    interpolate,
    noise_harm,
)
from lab.analysis.pairs import Pairs, corrupted_pairs
from lab.analysis.sites import (
    Site,
    changed,
    logits_at,
    recorded,
    required_sites,
    sites_of,
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
    "Finding",
    "HeadStats",
    "Interpolation",
    "Layer",
    "LayerStats",
    "Pairs",
    "Site",
    "Subject",
    "ablate",
    "attention_maps",
    "changed",
    "corrupted_pairs",
    "dependency_mask",
    "exact_and_loss",
    "first_rows",
    "heads_off",
    "importance",
    "interpolate",
    "layers",
    "load_model",
    "logits_at",
    "measure",
    "noise_harm",
    "open_run",
    "recorded",
    "required_sites",
    "sites_of",
]
