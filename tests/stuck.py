"""Programs that stand for the worker of a sweep: they answer at once, die, hang or beat."""

from __future__ import annotations

import sys

# What the program does with a job, which is in `line`.
ANSWER = 'print(\'{"error": null, "last": false}\', flush=True)'
DIE = "import os, sys; print('one\\ntwo', file=sys.stderr, flush=True); os._exit(9)"
HANG = "import time; time.sleep(1000)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {HANG}"
STOP = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
BEAT = "[print(flush=True) or time.sleep(0.1) for i in range('slow' in line and 15)]"
SLOW = f"import time; {BEAT}; {ANSWER}"


def command(code: str) -> list[str]:
    """The command of a program that executes `code` for every line of its stdin."""
    return [sys.executable, "-c", f"import sys\nfor line in sys.stdin: exec({code!r})"]
