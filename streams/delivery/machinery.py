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
import threading
from typing import Final, NoReturn

from streams.failure.errors import ExitStatus, PaystreamError, SetupError
from streams.failure.fingerprint import trace_text
from streams.failure.open_files import shortage

logger = logging.getLogger(__name__)

# A log that blocks (a full disk, a log server that is gone) must not keep a doubtful process alive.
_LAST_WORDS_SECONDS: Final = 2.0


def end_process(error: PaystreamError) -> NoReturn:
    """Say why, and end the process at once with the error's exit status.

    Nothing is cleaned up on the way: no flush, no commit, no goodbye, since each could act on a guess.
    """
    status = ExitStatus(error.exit_status)
    try:
        limit = threading.Timer(_LAST_WORDS_SECONDS, os._exit, (int(status),))
        limit.daemon = True
        limit.start()
        # The places of its causes, not their messages: those may quote a payload. What is wrong with the
        # set-up is in the message, and no line of code would help.
        cause = None if isinstance(error, SetupError) else error.__cause__
        trace = f"\ncaused by:\n{trace_text(cause)}" if cause is not None else ""
        # What fails for it is said to be anything but this: brokers that do not answer, names that are not known.
        short = shortage(error)
        said = f"{error} ({short})" if short and short not in str(error) else error
        logger.critical(
            "%s: %s. The process ends with status %d (%s)%s",
            type(error).__name__, said, status, status.name, trace,
        )  # fmt: skip
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        # Whatever went wrong in saying why.
        os._exit(int(status))
