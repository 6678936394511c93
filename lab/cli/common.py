"""What several commands share: the options --json and --task, and errors as one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

import click

from lab.errors import UsageError

JSON = click.option("--json", "as_json", is_flag=True, help="print one JSON document, nothing else")


@contextmanager
def as_cli_errors() -> Iterator[None]:
    """Turn what the lab raises into one sentence and an exit code."""
    from lab.errors import RunFailed, RunStopped

    try:
        yield
    except RunStopped as stopped:
        says = f"Stopped at step {stopped.step}; saved. The same command goes on from there."
        raise click.ClickException(says) from None
    except RunFailed as failed:
        raise click.ClickException(str(failed)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def unknown(kind: str, name: str, allowed: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(set(allowed)))}"
    return UsageError(f"no {kind} is named {name!r}: {hint}")


MINE = "your own task that the run was made with"
