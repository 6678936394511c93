"""Ctrl-C is answered within a second, also while the main thread is inside a long operation.

Python runs its own signal handlers between two bytecodes, so a matrix product of a minute delays
them by a minute. A thread reads the signals from a pipe that the interpreter writes at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator

PATIENCE = 0.7  # seconds that a command may take to end by itself
STOPPING = (
    b"\nStopping; what is computed now ends first. Ctrl-C again ends at once, and a run then goes"
    b" on from its last checkpoint.\n"
)


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """While this lasts, a first Ctrl-C is answered by a line, a second one ends the process with
    code 130, each unless the process ends by itself. Outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    thread = threading.Thread(target=_answer, args=(read,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)
        thread.join()
        os.close(read)


def _answer(read: int) -> None:
    pressed, answered = 0, 0
    while True:
        wait = None if pressed == answered else PATIENCE
        if select.select([read], [], [], wait)[0]:
            signals = os.read(read, 64)
            if not signals:  # the command has ended
                return
            pressed = min(2, pressed + signals.count(signal.SIGINT))
        elif pressed == 2:
            os._exit(130)
        else:
            answered = pressed
            with contextlib.suppress(OSError):
                os.write(2, STOPPING)
