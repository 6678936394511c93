"""The published recipe for compositions in context (2502.08991, sparse parity, gpu scale).

lab/experiments/compose_parity.py says which parts are the paper's and which are ours; the
experiment on arithmetic uses the same recipe.
"""

from __future__ import annotations

from lab.config import ModelConfig, TrainConfig

MODEL = ModelConfig(
    layers="attention*3", width=192, heads=1, bias=True, tie_embeddings=True, dropout=0.1
)
TRAIN = TrainConfig(
    steps=62_500,
    batch=64,
    lr=8e-5,
    weight_decay=0.01,
    schedule="constant",
    grad_clip=0.0,
    examples=25_000,
    eval_every=6_250,
)
