"""Ending the process when delivery is in doubt.

A lane that fails is not repaired in place: a half-alive lane beside its successor has been seen to
commit past records that nobody had handled. Ending is safe, because what is not committed is delivered
again and what is half written is never seen; the supervisor (systemd, Kubernetes, compose) starts the
worker again.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import NoReturn

from streams.failure.errors import ExitStatus, PaystreamError

logger = logging.getLogger(__name__)


def end_process(error: PaystreamError) -> NoReturn:
    """Say why, and end the process at once with the error's exit status.

    Nothing is cleaned up on the way: no flush, no commit, no goodbye, since each could act on a guess.
    """
    # The causes' places, not their messages: those may quote a payload.
    cause, frames = error.__cause__, ""
    while cause is not None:
        frames += f"\ncaused by {type(cause).__module__}.{type(cause).__qualname__}\n"
        frames += "".join(traceback.format_tb(cause.__traceback__)[-6:])
        cause = cause.__cause__
    status = ExitStatus(error.exit_status)
    logger.critical(
        "%s: %s. The process ends with status %d (%s)%s",
        type(error).__name__, error, status, status.name, frames,
    )  # fmt: skip
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(int(status))
