"""How many kernels `pytest -m gpu tests/kernels/test_gpu.py` compiles, counted without a GPU.

    python -m tests.kernels.compilations        one line an operator, then the sum

Runs the tests of every shape and option with checks that note launches in place of running them,
and counts what Triton tells apart: kernel, types, constants, alignment, warps and stages. The other
tests of that file compile nothing that these do not. Must run where TRITON_INTERPRET is not set:
the interpreter replaces jitted functions at import.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch._library.custom_ops import CustomOpDef
from torch._subclasses.fake_tensor import FakeTensorMode

from kernels._aot import specialized
from kernels._launch import Launch, recorded
from tests.kernels import test_gpu
from tests.kernels.rounding import with_gradients

TESTS: tuple[Callable[..., None], ...] = (
    test_gpu.test_against_the_definition,
    test_gpu.test_delta_of_every_width,
    test_gpu.test_scans_of_every_state,
    test_gpu.test_twenty_repetitions_are_the_same_bits,
)


def main() -> None:
    """Print the counts."""
    counts = compilations()
    for name, number in sorted(counts.items()):
        print(f"{name}: {number}")
    print(f"in all: {counts.total()}")


def compilations() -> Counter[str]:
    """The number of binaries that the tests need, by operator."""
    calls: dict[Any, tuple[str, Any, dict[str, Any]]] = {}

    def note(name: str, file: Any, inputs: dict[str, Any]) -> None:
        shapes = {n: (x.shape, x.dtype) if torch.is_tensor(x) else x for n, x in inputs.items()}
        calls[name, *shapes.items()] = name, file, inputs

    with patch.multiple(test_gpu, check=note, check_repeats=note):
        for test in TESTS:
            for arguments in _cases(test):
                try:
                    test(**arguments)
                except pytest.skip.Exception:
                    continue
    binaries = set()
    through = patch.object(CustomOpDef, "__call__", lambda self, *inputs: self._init_fn(*inputs))
    for name, file, inputs in calls.values():
        with FakeTensorMode() as mode, through, recorded() as found:
            fake = {n: mode.from_tensor(x) if torch.is_tensor(x) else x for n, x in inputs.items()}
            with_gradients(getattr(file, name), fake, impl="triton")
        binaries |= {(name, _binary(launch)) for launch in found}
    return Counter(name for name, _ in binaries)


def _cases(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """The arguments that pytest gives a test, one case at a time."""
    marks = [m for m in test.pytestmark if m.name == "parametrize"]  # type: ignore[attr-defined]
    names: list[str] = []
    values: list[list[tuple[Any, ...]]] = []
    for mark in marks:
        several = not isinstance(mark.args[0], str)
        names += mark.args[0] if several else [mark.args[0]]
        values.append([x if several else (x,) for x in mark.args[1]])
    for case in itertools.product(*values):
        yield dict(zip(names, itertools.chain.from_iterable(case), strict=True))


def _binary(launch: Launch) -> tuple[Any, ...]:
    """What tells the binary of a launch from others."""
    types, constants, aligned = specialized(launch)
    options = launch.num_warps, launch.num_stages
    return launch.kernel, *types.items(), *constants.items(), *sorted(aligned), *options


if __name__ == "__main__":
    main()
