"""Memory that is not row-major, and many cotangents at once: the kernels of every operator."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels import attention, delta, path, scan, selective_scan
from tests.kernels.interpreter import poison as poison
from tests.kernels.rounding import CONSTANT, allowed, check_equal, with_gradients

EVERY = {"forget": True, "gate": "elementwise"}
OPERATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "attention": (attention.attention, attention.example_inputs(1, 5, 2, 8, alibi=True, **EVERY)),
    "path": (path.path, path.example_inputs(1, 5, 2, 8, **EVERY)),
    "delta": (delta.delta, delta.example_inputs(1, 5, 1, 8, 8)),
    "scan": (scan.scan, scan.example_inputs(1, 5, 6)),
    "selective_scan": (selective_scan.selective_scan, selective_scan.example_inputs(1, 5, 4, 3)),
}
operators = pytest.mark.parametrize("name", OPERATORS)


@operators
@pytest.mark.parametrize("packed", [False, True])
def test_many_cotangents_of_one_row(name: str, packed: bool) -> None:
    """Saved tensors and one row expand to a view of stride 0, whose copies a kernel cannot read."""
    run, inputs = OPERATORS[name]
    if packed and name not in ("attention", "path"):
        pytest.skip("no packed rows")
    offsets = {"offsets": torch.tensor([0, 2, 5], dtype=torch.int32)} if packed else {}
    constants = {n: inputs[n] for n in CONSTANT if n in inputs} | offsets
    leaves = {n: x for n, x in inputs.items() if n not in CONSTANT}

    def one_output(leaves: dict[str, torch.Tensor]) -> torch.Tensor:
        y = run(**leaves, **constants, impl="triton")
        return y[0] if isinstance(y, tuple) else y

    y, gradients = torch.func.vjp(one_output, leaves)
    random = torch.Generator().manual_seed(0)
    cotangents = torch.randn(3, *y.shape, generator=random)
    (got,) = torch.func.vmap(gradients)(cotangents)
    for n in range(3):
        single = {name: x[n] for name, x in got.items()}
        check_equal(single, gradients(cotangents[n])[0], allowed(torch.float32, 8, 8 + 5))


@operators
def test_memory_in_another_order(name: str) -> None:
    """Every input, its last two dimensions exchanged in memory, gives the same bits."""
    run, inputs = OPERATORS[name]
    models = (*CONSTANT, "A", "Dskip")  # without rows
    inputs = {n: x if n in models else torch.cat([x, x.flip(-1)]) for n, x in inputs.items()}
    turned = {n: x.mT.contiguous().mT if x.ndim > 1 else x for n, x in inputs.items()}
    assert not all(x.is_contiguous() for x in turned.values())
    got = with_gradients(run, turned, impl="triton")
    check_equal(got, with_gradients(run, inputs, impl="triton"), 0.0)


@pytest.mark.parametrize("name", ["attention", "path"])
@pytest.mark.parametrize("offsets", [[0, 2, 4], [1, 5], [0, 4, 3, 5], [0, 6]])
@pytest.mark.parametrize("impl", ["triton", "reference"])
def test_packed_rows_that_leave_tokens_out_are_refused(
    name: str, offsets: list[int], impl: str
) -> None:
    run, inputs = OPERATORS[name]
    inputs = {n: x for n, x in inputs.items() if n not in CONSTANT}
    with pytest.raises(ValueError, match="offsets must rise from 0 to T = 5"):
        run(**inputs, offsets=torch.tensor(offsets, dtype=torch.int32), impl=impl)


def test_a_kernel_is_not_launched_beside_its_memory() -> None:
    from kernels._launch import launch
    from kernels.scan.forward import forward_kernel

    x = torch.zeros(2, 4, 3).mT
    given = {"A": x, "X": x.contiguous(), "H0": x, "H": x.contiguous(), "T": 3, "D": 4}
    given |= {"INITIAL": False, "BD": 16, "U": 1, "S": 1}
    with pytest.raises(ValueError, match="forward_kernel: A, H0 must be row-major"):
        launch(forward_kernel, (2, 1), given, 1, 1)
