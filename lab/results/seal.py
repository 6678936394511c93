"""JSON that carries the SHA-256 of what it holds, so that damage is found when it is read.

    {"step": 3, "seal": "5f1c..."}

A seal finds damage, not deceit: whoever changes a file on purpose can seal it again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lab.files import write_json


def digest(data: Any) -> str:
    """The SHA-256 of a JSON value in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def write_sealed(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON object and its seal, as `lab.files.write_bytes` does."""
    write_json(path, {**data, "seal": digest(data)})


def unsealed(data: Any) -> Any:
    """A JSON object without its seal, which is not checked; anything else as it is."""
    if not isinstance(data, dict):
        return data
    return {key: value for key, value in data.items() if key != "seal"}


def check_seal(data: Any, name: str) -> None:
    """ValueError when a JSON object carries a seal of something else. name: what it stands in.

    Without a seal, as older versions of the lab wrote files, nothing can be found.
    """
    if isinstance(data, dict) and "seal" in data and data["seal"] != digest(unsealed(data)):
        raise ValueError(f"{name} is not what was written")
