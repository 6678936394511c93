"""From a task to training batches and probe rows. numpy only: nothing here imports torch."""

from lab.data.batches import batch_for_step, open_lengths, visible
from lab.data.position_ids import check_rows, position_ids
from lab.data.rows import BLOCK, Rows, join, prefetch, stream
from lab.data.thoughts import reveal, training_rows

__all__ = [
    "BLOCK",
    "Rows",
    "batch_for_step",
    "check_rows",
    "join",
    "open_lengths",
    "position_ids",
    "prefetch",
    "reveal",
    "stream",
    "training_rows",
    "visible",
]
