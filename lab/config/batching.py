"""How rows become the batches of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lab.config.fields import Field
from tasks import refuse


@dataclass(frozen=True)
class Batching:
    """Rows of an update and their parts, problem sizes, fresh or fixed rows."""

    batch: Annotated[int, Field("rows of each update", low=1, common=True)] = 256
    grad_accum: Annotated[
        int,
        Field("parts of a batch that go through the model in turn, for one update", low=1),
    ] = 1
    micro_batches: Annotated[
        Literal["mixed", "one_part"],
        Field(
            "rows of such a part of a batch: of all parts of a mixture of tasks, or each time of"
            " one",
            late=True,
        ),
    ] = "mixed"
    lengths: Annotated[
        tuple[int, ...], Field("problem sizes; each step draws one of them", low=1)
    ] = (20,)
    curriculum: Annotated[
        float,
        Field(
            "fraction of training over which lengths are introduced, shortest first", low=0, high=1
        ),
    ] = 0.0
    examples: Annotated[
        int | None, Field("rows of a fixed training set; none for fresh rows at every step")
    ] = None

    def _check_batches(self) -> None:
        """Refuse batches that cannot be made of the rows."""
        if self.batch % self.grad_accum:
            raise refuse("train.grad_accum", self.grad_accum, f"it must divide {self.batch} rows")
        if not self.lengths:
            raise refuse("train.lengths", self.lengths, "one or more whole numbers from 1")
        least = max(self.batch, len(self.lengths))
        if self.examples is not None and self.examples < least:
            raise refuse("train.examples", self.examples, f"none, or at least {least}")
        if self.examples is not None and self.micro_batches != "mixed":
            allowed = "a fixed training set (train.examples) is drawn from all parts"
            raise refuse("train.micro_batches", self.micro_batches, allowed)
