"""What a model is made of: the half of an Experiment that lab.nn.model builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lab import registry
from lab.config.fields import at_least, choices, default
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


@dataclass(frozen=True)
class ModelConfig:
    """layers: mixers from bottom to top, "attention*2" or "mamba*7,attention". heads: per layer.
    kv_heads: heads of keys and values, 0 for as many as heads.
    position: where order comes from. max_positions: places in a table of positions. rope_base: longest
    wavelength of rope over 2 pi. banded: heads with a window under hard_alibi, 0 for half of them.
    forget: data-dependent forget gate on attention logits (FoX). log_length: tokens in a training
    row, beyond which logits grow with the logarithm of the place (entropy-ABF), 0 for never.
    gate: gate of attention, one value per head or per channel. gate_at: G1 after attention, G2
    values, G3 keys, G4 queries, G5 after the output projection. gate_shared: one gate for all
    heads. gate_add: add the gate instead of multiplying. gate_act: its nonlinearity. gate_input:
    data, or constant: the gate reads nothing, its scores are learned numbers.
    qk_norm: RMSNorm on queries and keys of each head. sigma: sigma-reparametrised matrices.
    norm: of a block. mlp_ratio: hidden width in units of width, 0 for none. mlp_act: gelu or gated silu.
    mlp_in: which layers have an MLP. experts: of a mixture of experts, 0 for a plain MLP. experts_per_token:
    experts used by a token. aux_loss_weight: weight of the load-balancing loss. balance_over: rows it
    balances. d_state: state size of mamba. expand: inner width of mamba in units of width. d_conv:
    length of the short convolution of mamba and based. feature: width of queries and keys of based.
    bias: biases in linear layers. tie_embeddings: one matrix for embedding and output. embed: learned, or
    frozen sinusoids of the token id. dropout: share of activations dropped."""

    layers: str = "attention*2"
    width: int = 64
    heads: int = 2
    kv_heads: int = 0
    position: Position = "learned"
    max_positions: int = 2048
    rope_base: float = 10_000.0
    banded: int = 0
    forget: bool = False
    log_length: int = 0
    gate: Literal["none", "headwise", "elementwise"] = "none"
    gate_at: Literal["G1", "G2", "G3", "G4", "G5"] = "G1"
    gate_shared: bool = False
    gate_add: bool = False
    gate_act: Literal["sigmoid", "ns_sigmoid", "silu"] = "sigmoid"
    gate_input: Literal["data", "constant"] = "data"
    qk_norm: bool = False
    sigma: bool = False
    norm: Literal["layer", "rms", "preaffine", "gated"] = "layer"
    mlp_ratio: float = 4.0
    mlp_act: Literal["gelu", "swiglu"] = "gelu"
    mlp_in: Literal["all", "attention"] = "all"
    experts: int = 0
    experts_per_token: int = 2
    aux_loss_weight: float = 0.01
    balance_over: Literal["micro", "global"] = "micro"
    d_state: int = 16
    expand: int = 2
    d_conv: int = 4
    feature: int = 16
    bias: bool = False
    tie_embeddings: bool = False
    embed: Literal["learned", "sinusoidal"] = "learned"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        choices(self, "model.")
        for name in (
            "width",
            "heads",
            "max_positions",
            "experts_per_token",
            "d_state",
            "expand",
            "d_conv",
            "feature",
        ):
            at_least(self, "model.", name, 1)
        for name in ("kv_heads", "banded", "log_length", "mlp_ratio", "experts", "aux_loss_weight"):
            at_least(self, "model.", name, 0)
        if self.width % self.heads:
            raise refuse("model.heads", self.heads, f"it must divide the width, {self.width}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise refuse("model.kv_heads", self.kv_heads, f"it must divide heads, {self.heads}")
        if self.banded > self.heads:
            raise refuse("model.banded", self.banded, f"at most the heads, {self.heads}")
        if self.position == "rope" and self.width // self.heads % 2:
            raise refuse("model.position", "rope", "width / heads must be even")
        if not self.rope_base > 1:
            raise refuse("model.rope_base", self.rope_base, "above 1")
        if not 0 <= self.dropout < 1:
            raise refuse("model.dropout", self.dropout, "a share from 0 to below 1")
        if self.experts and not self.experts_per_token <= self.experts:
            raise refuse(
                "model.experts_per_token",
                self.experts_per_token,
                f"at most the experts, {self.experts}",
            )
        if self.experts and not self.mlp_ratio:
            raise refuse(
                "model.experts", self.experts, "model.mlp_ratio = 0 leaves no MLP to divide"
            )
        self._combinations()

    def _combinations(self) -> None:
        """Turn down options that would be accepted and ignored, and those that exclude others."""
        stack = set(self.stack())
        attention, gate = "attention" in stack, self.gate != "none"
        table = self.position in ("learned", "coupled", "predicted")
        needs = (
            ("kv_heads forget log_length gate qk_norm", attention, "no layer is attention"),
            ("gate_at gate_shared gate_add gate_act gate_input", gate, "it needs a gate"),
            ("banded", self.position == "hard_alibi", "only position = hard_alibi has bands"),
            ("rope_base", self.position == "rope", "only position = rope has a base"),
            ("max_positions", table, "only learned, coupled and predicted places have a table"),
            ("d_state expand", "mamba" in stack, "no layer is mamba"),
            ("d_conv", stack & {"mamba", "deltanet", "based"}, "no layer has a short convolution"),
            ("feature", "based" in stack, "no layer is based"),
            ("mlp_act mlp_in", self.mlp_ratio, "model.mlp_ratio = 0 leaves no MLP"),
            (
                "experts_per_token aux_loss_weight balance_over",
                self.experts,
                "it needs model.experts",
            ),
        )
        for names, met, why in needs:
            for name in names.split():
                if not met and getattr(self, name) != default(self, name):
                    raise refuse(f"model.{name}", getattr(self, name), why)
        if self.position in ("rope", "alibi", "hard_alibi", "path") and not attention:
            raise refuse("model.position", self.position, "no layer is attention")
        if self.mlp_in == "attention" and not attention:
            raise refuse("model.mlp_in", "attention", "no layer is attention")
        if self.gate_shared and self.gate == "headwise":
            raise refuse("model.gate_shared", True, "a headwise gate has one value per head")
        if self.gate_at == "G5" and (self.gate == "headwise" or self.gate_shared):
            raise refuse("model.gate_at", "G5", "there are no heads after the output projection")
        if self.log_length == 1:
            raise refuse("model.log_length", 1, "0, or the tokens of a row from 2")
        if self.embed == "sinusoidal" and not self.tie_embeddings:
            raise refuse(
                "model.embed", "sinusoidal", "the output uses it too: set tie_embeddings = true"
            )

    def stack(self) -> list[str]:
        """The mixers from bottom to top, "attention*2,lstm" spelled out."""
        found = []
        for part in self.layers.split(","):
            name, _, times = part.strip().partition("*")
            if name not in registry.names("mixers") or not (times or "1").isdigit():
                allowed = (
                    f"NAME or NAME*TIMES, by commas; names: {', '.join(registry.names('mixers'))}"
                )
                raise refuse("model.layers", self.layers, allowed)
            found += [name] * int(times or "1")
        if not found:
            raise refuse("model.layers", self.layers, "at least one layer")
        return found
