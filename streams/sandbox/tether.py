"""Run as a script: become another program that dies when the process that started it dies.

    python tether.py <process id of the starter> <program> <arguments>…

Even if the starter is killed with SIGKILL, and has no chance to clean up, nothing must be left behind. On
Linux the kernel sees to that: ``prctl(PR_SET_PDEATHSIG)`` names the signal a process gets when its parent
dies; it outlives ``exec``, so the program keeps the process id the starter knows. It is set here, after
``exec`` of a new interpreter, because code run between ``fork`` and ``exec`` in a process with threads may
deadlock. "Parent" means the *thread* that forked; see :mod:`streams.sandbox.process` for that half.

Other systems have no such signal: there a starter that is killed with SIGKILL leaves its brokers running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From ``<linux/prctl.h>``."""


def main(starter: str, *command: str) -> None:
    """Tie this process to its starter, then replace it by the command."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(starter):
        raise SystemExit("the process that started this one has died")  # before prctl: nobody told us
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
