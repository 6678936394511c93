"""What this machine can do, for `lab doctor`."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import click

from lab.cli.common import JSON, wrapped


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """Say what this machine can do: torch, kernels, GPU, bf16, threads.

    Builds the native operators where that has not been done.
    """
    facts = examine()
    if as_json:
        click.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(wrapped(f"{name.ljust(width)}  {value}", " " * (width + 2)))


def examine() -> dict[str, Any]:
    """Facts by name, in the order in which a person asks for them."""
    import torch

    import kernels
    from lab import __version__
    from lab.results.environment import cpu_name

    flags = _cpu_flags()
    fast = [name for name in ("avx512_bf16", "amx_bf16", "bf16") if name in flags]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "lab": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton") or "not installed (kernels run their reference)",
        "kernels on the GPU": "triton" if kernels.has_triton() and gpus else "none (no GPU)",
        "kernels on the CPU": _native(),
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "bf16 on the CPU": f"fast ({', '.join(fast)})" if fast else "slow: stay with fp32",
        "GPU": ", ".join(gpus) or "none",
        "bf16 on the GPU": torch.cuda.is_bf16_supported() if gpus else "-",
    }


def _native() -> str:
    """Which operators run as native code, and why not all of them."""
    import warnings

    import kernels

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # said below
        found = kernels.native_operators()
    built = [name for name, why in found.items() if why is None]
    failures = "; ".join(dict.fromkeys(why for why in found.values() if why))
    if not built:
        return f"reference, in torch alone: {failures}"
    said = f"native: {', '.join(built)} ({kernels.native_compiler()})"
    return f"{said}; {failures}" if failures else said


def _version(name: str) -> str | None:
    import importlib.metadata  # here, so that `lab --help` does not pay for it

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {
        word
        for line in lines
        if line.startswith(("flags", "Features"))
        for word in line.partition(":")[2].split()
    }
