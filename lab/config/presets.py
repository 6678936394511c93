"""Models of the papers by name, for --preset. Parameter counts are checked by the tests.

gpt2-L: 2410.05459, L layers of width 720 (its code sweeps 1 to 4 layers and heads; --heads changes
them). llama, mamba, hybrid: the nine models of 2402.18510, whose embedding and output are one
frozen table of sinusoids and do not count. There a norm stands between the Mamba layers of a hybrid
and its attention layer and none at the end; here it stands at the end.
"""

from __future__ import annotations

from lab.config.model import ModelConfig


def _gpt2(layers: int) -> ModelConfig:
    return ModelConfig(
        layers=f"attention*{layers}",
        width=720,
        heads=4,
        position="learned",
        max_positions=2048,
        bias=True,
        tie_embeddings=True,
        dropout=0.1,
    )


def _rnn_gap(layers: str, width: int, hidden: int = 0) -> ModelConfig:
    return ModelConfig(
        layers=layers,
        width=width,
        heads=4,
        position="rope" if "attention" in layers else "none",
        norm="rms",
        mlp_ratio=hidden / width,
        mlp_act="swiglu" if hidden else "gelu",
        mlp_in="attention" if hidden else "all",
        embed="sinusoidal",
        tie_embeddings=True,
    )


PRESETS: dict[str, ModelConfig] = {
    **{f"gpt2-{layers}": _gpt2(layers) for layers in (1, 2, 3, 4)},
    "llama-0.5m": _rnn_gap("attention*8", 64, 256),
    "llama-1m": _rnn_gap("attention*16", 64, 256),
    "llama-2m": _rnn_gap("attention*12", 128, 256),
    "mamba-0.5m": _rnn_gap("mamba*16", 64),
    "mamba-1m": _rnn_gap("mamba*10", 128),
    "mamba-2m": _rnn_gap("mamba*18", 128),
    "hybrid-0.5m": _rnn_gap("mamba*12,attention", 64, 256),
    "hybrid-1m": _rnn_gap("mamba*7,attention", 128, 256),
    "hybrid-2m": _rnn_gap("mamba*14,attention", 128, 256),
}
