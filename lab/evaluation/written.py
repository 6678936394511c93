"""The rows that a model writes greedily, decoded only as far as a score needs them.

Up to its first wrong token a greedy row is the reference. So teacher forcing tells of each row:

    no wrong token                            it is the reference
    the first wrong token is in the answer,   its answer is wrong, whatever follows
    and no thought can make up for it
    otherwise                                 it is decoded from its first wrong token on

With stop tokens a thought can always make up for it, since the answer is what ends the row. Where
the choice of the first token is in doubt, as the two forms of a model round differently, the row is
decoded too. Teacher forcing says nothing about the calls of a tool, nor under position = predicted,
where decoding reads the model's own position ids: there all rows are decoded whole.
"""

from __future__ import annotations

import numpy as np

from lab.evaluation.decode import compare, decode
from lab.evaluation.forced import Forced
from lab.nn.model import Model
from tasks import Batch, Role, Task

ROWS_AT_LEAST = 128  # of a group, on a CPU: steps of smaller batches cost more a row


def free_running(
    model: Model, task: Task, batch: Batch, forced: Forced
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `compare` says of the rows that the model writes itself. forced: teacher forcing of the
    same rows."""
    if type(task).tool is not Task.tool or model.config.position == "predicted":
        return compare(task, batch, decode(model, task, batch))
    first, T = forced.first, batch.tokens.shape[1]
    thought = np.isin(batch.roles, (Role.THOUGHT, Role.TOOL))
    rest = thought if task.stop else thought & (np.arange(T) >= first[:, None])
    lost = ~rest.any(1) & ~forced.doubt & (first < T)
    written = batch.tokens.copy()
    rows = np.flatnonzero(~lost & (first < T))
    for group in _groups(rows[np.argsort(first[rows], kind="stable")], model):
        part = Batch(batch.tokens[group], batch.roles[group], batch.hidden[group])
        written[group] = decode(model, task, part, known=first[group])
    answer, valid, first_error = compare(task, batch, written)
    return answer & ~lost, valid, first_error


def _groups(rows: np.ndarray, model: Model) -> list[np.ndarray]:
    """Rows that are decoded together, in the order given, so that those with long known parts do
    not wait for the others; a GPU takes all of them at once."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    number = max(1, len(rows) // ROWS_AT_LEAST) if on_cpu else 1
    return [group for group in np.array_split(rows, number) if len(group)]
