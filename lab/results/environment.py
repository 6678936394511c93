"""What a number depends on besides its configuration: versions, processor, commit."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import lab


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions, commit, device, threads and kernels of this process, as JSON for a result."""
    import numpy
    import torch

    from kernels import native_compiler, served

    kernels = served()
    return {
        "lab": lab.__version__,
        "git": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "numpy": numpy.__version__,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else cpu_name(),
        "threads": threads,
        "kernels": kernels,
        "compiler": native_compiler() if "native" in kernels.values() else None,
        "system": platform.platform(),
    }


def missing_compiler(device: str) -> str | None:
    """A sentence where operators could run as native code on this device, and no compiler is there
    to build them; None where there is one, and where CXX says that none is wanted."""
    from kernels import native_compiler

    if device != "cpu" or os.environ.get("CXX") == "" or native_compiler():
        return None
    return "there is no C++ compiler: operators run in torch alone, which is slower (lab doctor)"


def forget_operators() -> None:
    """Forget which operators this process has run, so that `environment` tells those of one run."""
    from kernels import forget_served

    forget_served()


def cpu_name() -> str:
    """The name of the processor, where the system has it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache  # the code that this process has imported does not change
def _commit() -> str | None:
    """The commit of the checkout of this package ("+": with changes); None outside a checkout."""
    here = Path(lab.__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
