"""What a model is made of: the half of an Experiment that lab.nn.model builds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from lab import registry
from lab.config.fields import Field, check, default
from tasks import refuse

Position = Literal[
    "none",
    "learned",
    "sinusoidal",
    "rope",
    "alibi",
    "hard_alibi",
    "path",
    "coupled",
    "predicted",
]

CONVOLUTIONS = ("mamba", "deltanet", "based", "memories")  # mixers with a short convolution

LAYERS = 10_000  # more are a mistake, and take minutes to build


@dataclass(frozen=True)
class ModelConfig:
    """Layers, width and everything around and inside the mixers.

    ValueError for a value out of its range, for options that exclude each other and for options
    that the model would ignore.
    """

    layers: Annotated[
        str,
        Field("mixers from bottom to top, such as mamba*7,attention or ./mine.py*2", common=True),
    ] = "attention*2"
    width: Annotated[int, Field("width of the residual stream", low=1, common=True)] = 64
    heads: Annotated[int, Field("attention heads of each layer", low=1, common=True)] = 2
    kv_heads: Annotated[int, Field("heads of keys and values; 0 for as many as --heads", low=0)] = 0
    position: Annotated[Position, Field("how the model knows the order of tokens", common=True)] = (
        "learned"
    )
    max_positions: Annotated[int, Field("rows of the table of position embeddings", low=1)] = 2048
    rope_base: Annotated[float, Field("base of the wavelengths of RoPE", low=1, low_open=True)] = (
        10_000.0
    )
    banded: Annotated[
        int, Field("heads with a sliding window under hard_alibi; 0 for half of them", low=0)
    ] = 0
    forget: Annotated[bool, Field("add a data-dependent forget gate to attention logits (FoX)")] = (
        False
    )
    log_length: Annotated[
        int,
        Field(
            "length beyond which attention logits grow with the logarithm of the position"
            " (entropy-ABF); 0 for never",
            unit="tokens",
            low=0,
        ),
    ] = 0
    score: Annotated[
        Literal["softmax", "softplus"],
        Field(
            "weights of attention: softmax, or softplus that grows with the logarithm of the length"
            " (LSSAR)",
            late=True,
        ),
    ] = "softmax"
    sharpen: Annotated[
        float,
        Field("power of softplus weights above the average, from 1; 0 for none", low=0, late=True),
    ] = 15.0
    gate: Annotated[
        Literal["none", "headwise", "elementwise"],
        Field("gate of attention: one value per head, or one per channel"),
    ] = "none"
    gate_at: Annotated[
        Literal["G1", "G2", "G3", "G4", "G5"],
        Field(
            "where the gate acts: after attention (G1), on values (G2), keys (G3) or queries (G4),"
            " or after the output projection (G5)"
        ),
    ] = "G1"
    gate_shared: Annotated[bool, Field("share one gate among all heads")] = False
    gate_add: Annotated[bool, Field("add the gate instead of multiplying by it")] = False
    gate_act: Annotated[
        Literal["sigmoid", "ns_sigmoid", "silu"], Field("nonlinearity of the gate")
    ] = "sigmoid"
    gate_input: Annotated[
        Literal["data", "constant"],
        Field("compute the gate from the data, or learn it as constant numbers"),
    ] = "data"
    qk_norm: Annotated[bool, Field("apply RMSNorm to the queries and keys of each head")] = False
    sigma: Annotated[
        bool, Field("divide each matrix by its spectral norm, times a learned scale (sigmaReparam)")
    ] = False
    norm: Annotated[
        Literal["layer", "rms", "preaffine", "gated"], Field("normalization in front of a block")
    ] = "layer"
    mlp_ratio: Annotated[
        float, Field("hidden width of the MLP divided by the width; 0 for no MLP", low=0)
    ] = 4.0
    mlp_act: Annotated[
        Literal["gelu", "swiglu"], Field("activation of the MLP: GELU, or gated SiLU")
    ] = "gelu"
    mlp_in: Annotated[
        Literal["all", "attention"], Field("layers that have an MLP: all, or only attention")
    ] = "all"
    experts: Annotated[int, Field("experts of each MLP; 0 for a plain MLP", low=0)] = 0
    experts_per_token: Annotated[int, Field("experts that process a token", low=1)] = 2
    aux_loss_weight: Annotated[
        float, Field("weight of the load-balancing loss of experts and memories", low=0)
    ] = 0.01
    balance_over: Annotated[
        Literal["micro", "global"],
        Field("rows over which a load is balanced: part of a batch (micro), or all (global)"),
    ] = "micro"
    memories: Annotated[
        int,
        Field(
            "states of the mixer memories that tokens are routed to, 2 a token; one more is shared",
            low=2,
            high=64,
            late=True,
        ),
    ] = 4
    d_state: Annotated[int, Field("state size of mamba", low=1)] = 16
    expand: Annotated[int, Field("inner width of mamba divided by the width", low=1)] = 2
    d_conv: Annotated[
        int,
        Field(f"length in tokens of the short convolution of {', '.join(CONVOLUTIONS)}", low=1),
    ] = 4
    feature: Annotated[int, Field("width of the queries and keys of based", low=1)] = 16
    feature_map: Annotated[
        Literal["softmax", "relu", "elu"],
        Field(
            "function in the learned feature map of hedgehog: softmax, ReLU or 1 + ELU", late=True
        ),
    ] = "softmax"
    bias: Annotated[bool, Field("give linear layers a bias")] = False
    tie_embeddings: Annotated[bool, Field("use one matrix for the embedding and the output")] = (
        False
    )
    embed: Annotated[
        Literal["learned", "sinusoidal"],
        Field("token embedding: learned, or frozen sinusoids of the token id"),
    ] = "learned"
    dropout: Annotated[
        float, Field("fraction of activations that are dropped", low=0, high=1, high_open=True)
    ] = 0.0

    def __post_init__(self) -> None:
        check(self, "model.")
        if ".py" in self.layers:  # the working directory is no part of a configuration
            object.__setattr__(self, "layers", _absolute(self.layers))
        if self.width % self.heads:
            raise refuse("model.heads", self.heads, f"it must divide the width, {self.width}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise refuse("model.kv_heads", self.kv_heads, f"it must divide heads, {self.heads}")
        if self.banded > self.heads:
            raise refuse("model.banded", self.banded, f"at most the heads, {self.heads}")
        if self.position == "rope" and self.width // self.heads % 2:
            raise refuse("model.position", "rope", "width / heads must be even")
        if self.experts and self.experts_per_token > self.experts:
            allowed = f"at most the experts, {self.experts}"
            raise refuse("model.experts_per_token", self.experts_per_token, allowed)
        if self.experts and not self.mlp_ratio:
            allowed = "model.mlp_ratio = 0 leaves no MLP to divide"
            raise refuse("model.experts", self.experts, allowed)
        self._combinations()

    def _combinations(self) -> None:
        """Refuse options that the model would ignore, and those that exclude each other.

        A user's own mixer may read any option of a mixer, so none of them counts as ignored.
        """
        stack = set(self.stack())
        own = any(registry.is_file(name) for name in stack)
        attention, gate = "attention" in stack or own, self.gate != "none"
        table = self.position in ("learned", "coupled", "predicted")
        convolution = bool(stack & set(CONVOLUTIONS))
        routed = self.experts or "memories" in stack or own
        needs = (
            ("kv_heads forget log_length gate qk_norm score", attention, "no layer is attention"),
            ("sharpen", self.score == "softplus", "only score = softplus has weights to sharpen"),
            ("gate_at gate_shared gate_add gate_act gate_input", gate, "it needs a gate"),
            ("banded", self.position == "hard_alibi", "only position = hard_alibi has bands"),
            ("rope_base", self.position == "rope", "only position = rope has a base"),
            ("max_positions", table, "only learned, coupled and predicted positions have a table"),
            ("d_state expand", "mamba" in stack or own, "no layer is mamba"),
            ("d_conv", convolution or own, "no layer has a short convolution"),
            ("feature", "based" in stack or own, "no layer is based"),
            ("feature_map", "hedgehog" in stack or own, "no layer is hedgehog"),
            ("mlp_act mlp_in", self.mlp_ratio, "model.mlp_ratio = 0 leaves no MLP"),
            ("experts_per_token", self.experts, "it needs model.experts"),
            (
                "aux_loss_weight balance_over",
                routed,
                "it needs model.experts or a layer of memories",
            ),
            ("memories", "memories" in stack or own, "no layer is memories"),
        )
        for names, met, why in needs:
            for name in names.split():
                if not met and getattr(self, name) != default(self, name):
                    raise refuse(f"model.{name}", getattr(self, name), why)
        if self.position in ("rope", "alibi", "hard_alibi", "path") and not attention:
            raise refuse("model.position", self.position, "no layer is attention")
        if self.mlp_in == "attention" and "attention" not in stack:
            raise refuse("model.mlp_in", "attention", "no layer is attention")
        if self.gate_shared and self.gate == "headwise":
            raise refuse("model.gate_shared", True, "a headwise gate has one value per head")
        if self.gate_at == "G5" and (self.gate == "headwise" or self.gate_shared):
            raise refuse("model.gate_at", "G5", "there are no heads after the output projection")
        if self.score == "softplus":
            self._softplus()
        if self.log_length == 1:
            raise refuse("model.log_length", 1, "0, or the tokens of a row from 2")
        if self.embed == "sinusoidal" and not self.tie_embeddings:
            allowed = "the output uses it too: set tie_embeddings = true"
            raise refuse("model.embed", "sinusoidal", allowed)

    def _softplus(self) -> None:
        if self.position == "path":
            raise refuse("model.score", "softplus", "position = path has softmax alone")
        if self.width == self.heads:
            raise refuse("model.score", "softplus", "width / heads must be at least 2")
        if 0 < self.sharpen < 1:
            raise refuse("model.sharpen", self.sharpen, "0, or from 1")
        if self.qk_norm:
            raise refuse("model.qk_norm", True, "score = softplus scales q and k to norm 1")
        if self.log_length:
            allowed = "score = softplus grows with the logarithm of the length at every length"
            raise refuse("model.log_length", self.log_length, allowed)

    def stack(self) -> list[str]:
        """The mixers from bottom to top: "attention*2,lstm" is attention, attention, lstm.

        A user's own mixer is the absolute path of its FILE.py, which is not executed here.
        """
        known = registry.names("mixers")
        mixers = []
        for part in self.layers.split(","):
            name, _, times = part.strip().partition("*")
            if registry.is_file(name) and not os.path.isfile(name):
                raise refuse("model.layers", self.layers, f"there is no file {name}")
            if not (name in known or registry.is_file(name)) or not (times or "1").isdecimal():
                allowed = (
                    "NAME or NAME*TIMES, separated by commas; NAME is your own FILE.py or one of"
                    f" {', '.join(known)}"
                )
                raise refuse("model.layers", self.layers, allowed)
            if int(times or "1") > LAYERS:
                raise refuse("model.layers", self.layers, f"at most {LAYERS:,} layers")
            mixers += [name] * int(times or "1")
        if not 1 <= len(mixers) <= LAYERS:
            raise refuse("model.layers", self.layers, f"from 1 to {LAYERS:,} layers")
        return mixers


def _absolute(layers: str) -> str:
    """The same layers with the absolute path of every FILE.py that exists."""
    parts = [part.strip().partition("*") for part in layers.split(",")]
    paths = [
        str(Path(name).resolve()) if registry.is_file(name) and os.path.isfile(name) else name
        for name, _, _ in parts
    ]
    for path in paths:
        if "," in path or "*" in path:
            raise refuse("model.layers", path, "the path of a mixer has no comma and no star")
    return ",".join(
        f"{path}{star}{times}" for path, (_, star, times) in zip(paths, parts, strict=True)
    )
