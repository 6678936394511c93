"""Which activations carry an answer: patching from a clean run into a corrupted one (2404.15255).

A clean and a corrupted row differ in one prompt token and in the token that is asked for, r in the
clean row and w in the corrupted one (lab.analysis.pairs). With D = logit of r - logit of w:

    restored = (mean D patched - mean D corrupted) / (mean D clean - mean D corrupted)

patched is the corrupted run with one activation replaced by that of the clean run: a site (the
output of a block, of an attention head or of an MLP) at a token. 0: it carries nothing of what
differs; 1: all of it; this is denoising in the paper's words. Means are over pairs, before the
ratio, so that pairs that the model tells apart badly do not dominate (our choice).

The tokens: the changed one, the query (the token before the one that is asked for), and all others
before the query; or columns given by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lab.analysis.finding import Finding
from lab.analysis.pairs import Pairs, corrupted_pairs
from lab.analysis.sites import Change, Part, Site, changed, logits_at, recorded, sites_of
from lab.analysis.subject import Subject
from lab.config.fields import Field
from tasks import refuse


@dataclass(frozen=True)
class Restored:
    """One site. restored: by token; None where the model does not tell the rows apart."""

    part: str
    layer: int
    head: int | None
    restored: dict[str, float | None]


@dataclass(frozen=True)
class Patching(Finding):
    """rows: of them `pairs` have a corrupted row. clean, corrupted: mean D of the two runs."""

    rows: int
    pairs: int
    clean: float
    corrupted: float
    sites: tuple[Restored, ...]

    terms: ClassVar[Mapping[str, str]] = {
        "changed": "share of the logit difference restored at the token that differs",
        "query": "the same at the token before the one that is asked for",
        "others": "the same at all other tokens before the query at once",
    }

    @property
    def sentences(self) -> Sequence[str]:
        """The logit differences, and whether there is something to restore."""
        told = [
            f"{self.pairs} of {self.rows} rows have a corrupted row. Mean logit difference: clean"
            f" {self.clean:.3f}, corrupted {self.corrupted:.3f}."
        ]
        if self.clean <= self.corrupted:
            told.append("The model does not tell them apart: there is nothing to restore.")
        return told

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """One site a row."""
        return [
            {"site": str(Site(s.part, s.layer, s.head)), **s.restored}  # type: ignore[arg-type]
            for s in self.sites
        ]


def analyze(
    subject: Subject,
    columns: Annotated[tuple[int, ...], Field("tokens to patch, each alone", low=0)] = (),
    seed: Annotated[int, Field("seed of the corrupted rows", low=0)] = 0,
) -> Patching:
    """The share restored at every site. ValueError for a task without corrupted rows, and for
    columns beyond the rows."""
    both = corrupted_pairs(subject, seed)
    parts: tuple[Part, ...] = ("block", "head", "mlp")
    every = [site for part in parts for site in sites_of(subject.model, part)]
    with recorded(subject.model, every) as kept:
        clean = _difference(both, both.subject.batch.tokens)
    corrupted = _difference(both, both.corrupted)
    found = []
    for site in every:
        shares: dict[str, float | None] = {}
        for name, at in _tokens(both, columns).items():
            with changed(subject.model, {site: _set_to(kept[site], at)}):
                patched = _difference(both, both.corrupted)
            gap = clean - corrupted
            shares[name] = (patched - corrupted) / gap if gap > 0 else None
        found.append(Restored(site.part, site.layer, site.head, shares))
    return Patching(len(subject.batch), len(both.query), clean, corrupted, tuple(found))


def _tokens(both: Pairs, columns: Sequence[int]) -> dict[str, np.ndarray]:
    """Masks bool [n,T-1] of the tokens to patch, by name."""
    n, T = both.corrupted.shape
    t = np.arange(T - 1)
    if columns:
        if max(columns) >= T - 1:
            raise refuse("columns", max(columns), f"below {T - 1}, the tokens that the model reads")
        return {f"token {c}": np.broadcast_to(t == c, (n, T - 1)) for c in columns}
    differs, query = (t == at[:, None] for at in (both.changed, both.query))
    others = (t < both.query[:, None]) & ~differs
    return {"changed": differs, "query": query, "others": others}


def _difference(both: Pairs, tokens: np.ndarray) -> float:
    """Mean logit of the right token minus that of the wrong one, in a run on these tokens."""
    logits = logits_at(both.subject, tokens, both.query).double().cpu().numpy()
    rows = np.arange(len(tokens))
    return float((logits[rows, both.right] - logits[rows, both.wrong]).mean())


def _set_to(clean: Tensor, at: np.ndarray) -> Change:
    mask = torch.from_numpy(np.array(at))[:, :, None].to(clean.device)
    return lambda x: torch.where(mask, clean, x)
