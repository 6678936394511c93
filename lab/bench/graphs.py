"""CUDA graphs: work that is captured once and replayed without waiting for Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """The new stream on which a CUDA device works inside; None for a CPU.

    A backward pass runs on the stream of its forward pass, and a graph can only be captured on a
    stream that is not the default one.
    """
    if device.type != "cuda":
        yield None
        return
    torch.cuda.synchronize(device)  # inputs were made on the default stream
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        yield stream
    torch.cuda.empty_cache()  # the next stream cannot use what this one has freed


def captured(
    work: Callable[[], object], stream: torch.cuda.Stream | None
) -> tuple[Callable[[], None] | None, str | None]:
    """What replays the work, and None; or None, and why it cannot be captured.

    The work must have run on this stream before. Without a stream there is no graph and no error.
    """
    if stream is None:
        return None, None
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            work()
    except Exception as error:
        return None, first_line(error)
    return graph.replay, None


def first_line(error: Exception) -> str:
    """What a row says of an error."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
