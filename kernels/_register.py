"""Operators of torch.library: their schema, gradient and vmap, and the call for eager mode.

An operator takes one NamedTuple, whose annotations (Tensor, Tensor | None, float, bool) are its
schema, and runs functions of its folder, imported when they first run: of the files `forward` and
`backward`, or of `reference` where a field `triton` is False.

    run_forward(inputs)                                        the outputs
    run_backward(inputs, *outputs kept, *gradients of outputs) the gradient of each input by name

Rows are the first dimension of every tensor, but for those of PER_HEAD and OFFSETS.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._native import transformed

PER_HEAD = ("slopes", "window")  # [H] or, one for each row, [B,H]; no gradient
OFFSETS = "offsets"  # of packed rows; no gradient
_SCHEMA = {Tensor: "Tensor", Tensor | None: "Tensor?", float: "float", bool: "bool"}


def register(
    name: str,
    inputs: Any,
    made: Callable[[Any], Any],
    outputs: tuple[str, ...],
    *,
    public: int = 1,
    kept: tuple[str, ...] = (),
    instead: tuple[tuple[str, str], ...] = (),
) -> Callable[[Any], Any]:
    """Register `kernels::name` and `kernels::name_backward`; return the call.

    inputs: the NamedTuple. made: the outputs of some inputs, of any numbers. The first `public`
    outputs have a gradient; those in `kept` go to the backward pass, and (input, output) of
    `instead` sends the output in the input's place.
    """
    types = {field: _SCHEMA[hint] for field, hint in get_type_hints(inputs).items()}
    constant = (*PER_HEAD, OFFSETS)
    learned = [n for n, kind in types.items() if "Tensor" in kind and n not in constant]
    results = (*kept, *(f"d_{n}" for n in outputs[:public]))

    def run(which: str, *values: Any) -> Any:
        given, rest = inputs(*values[: len(types)]), values[len(types) :]
        file = which if getattr(given, "triton", True) else "reference"
        module = importlib.import_module(f"kernels.{name}.{file}")
        return getattr(module, f"run_{which}")(given, *rest)

    def there(values: Any) -> list[str]:
        """The learned inputs that are not None."""
        return [n for n, x in zip(types, values, strict=False) if n in learned and x is not None]

    def run_backward(*values: Any) -> list[Tensor]:
        found = run("backward", *values)
        return [found[n] for n in there(values)]

    def made_backward(*values: Any) -> list[Tensor]:
        given = dict(zip(types, values, strict=False))
        dense = torch.contiguous_format
        return [torch.empty_like(given[n], memory_format=dense) for n in there(values)]

    run_forward = partial(run, "forward")
    schema = ", ".join(f"{kind} {n}" for n, kind in types.items())
    returned = ", ".join(["Tensor"] * len(outputs))
    operator = torch.library.custom_op(
        f"kernels::{name}", run_forward, mutates_args=(), schema=f"({schema}) -> ({returned})"
    )
    schema += "".join(f", Tensor {n}" for n in results)
    operator_backward = torch.library.custom_op(
        f"kernels::{name}_backward", run_backward, mutates_args=(), schema=f"({schema}) -> Tensor[]"
    )
    operator.register_fake(lambda *values: made(inputs(*values)))
    operator_backward.register_fake(made_backward)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        output = output if isinstance(output, tuple) else (output,)
        found = dict(zip(outputs, output, strict=True))
        values = dict(zip(types, inputs, strict=True)) | {n: found[y] for n, y in instead}
        ctx.options = [None if isinstance(x, Tensor) else x for x in values.values()]
        ctx.like = [(y.shape, y.dtype) for y in output[:public]]
        tensors = [x if isinstance(x, Tensor) else None for x in values.values()]
        ctx.save_for_backward(*tensors, *(found[n] for n in kept))
        ctx.set_materialize_grads(False)  # or what is kept gets a gradient of zeros

    def gradients(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        tensors, rest = saved[: len(types)], saved[len(types) :]
        values = [x if y is None else y for x, y in zip(tensors, ctx.options, strict=True)]
        dys = [
            tensors[0].new_zeros(shape, dtype=dtype) if dy is None else dy
            for dy, (shape, dtype) in zip(grads[:public], ctx.like, strict=True)
        ]
        # Not run_backward: what a vjp saved stays wrapped after it; operators see through that.
        found = operator_backward(*values, *rest, *dys)
        found = dict(zip(there(values), found, strict=True))
        return tuple(found.get(n) for n in types)

    class Eager(torch.autograd.Function):
        """Cheaper per call than the operator, and torch.func.grad accepts it."""

        generate_vmap_rule = True

        @staticmethod
        def forward(*values: Any) -> Any:
            return (operator if transformed() else run_forward)(*values)

        setup_context = staticmethod(setup)
        backward = staticmethod(once_differentiable(gradients))  # type: ignore[assignment]

    operator.register_autograd(gradients, setup_context=setup)
    operator.register_vmap(partial(_vmap, operator, list(types)))
    operator_backward.register_vmap(partial(_vmap, operator_backward, [*types, *results]))

    def call(given: Any) -> Any:
        return (operator if torch.compiler.is_compiling() else Eager.apply)(*given)

    return call


def _vmap(
    operator: Any, names: list[str], info: Any, in_dims: tuple[int | None, ...], *inputs: Any
) -> tuple[Any, int]:
    """Run `operator` with the n entries of a vmapped dimension as further rows.

    Packed rows, whose only row holds all tokens, run one entry after the other.
    """
    n = info.batch_size
    values = {
        name: x if dim is None else x.movedim(dim, 0)
        for name, x, dim in zip(names, inputs, in_dims, strict=True)
    }
    many = {name for name, dim in zip(names, in_dims, strict=True) if dim is not None}
    if values.get(OFFSETS) is not None:
        each = [operator(*(x[i] if m in many else x for m, x in values.items())) for i in range(n)]
        return type(each[0])(torch.stack(y) for y in zip(*each, strict=True)), 0
    B = values[names[0]].shape[1 if names[0] in many else 0]
    folded: list[Any] = []
    for name, x in values.items():
        if not isinstance(x, Tensor) or (name in PER_HEAD and name not in many):
            folded.append(x)
        elif name in PER_HEAD:
            folded.append(x.repeat_interleave(B, 0))
        else:
            x = x if name in many else x.expand(n, *x.shape)
            folded.append(x.reshape(-1, *x.shape[2:]))
    outputs = operator(*folded)
    if isinstance(outputs, Tensor):
        return outputs.unflatten(0, (n, -1)), 0
    return type(outputs)(y.unflatten(0, (n, -1)) for y in outputs), 0
