"""What all commands share: running a coroutine, and ending with one clear line and a status."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import click

from streams.failure.errors import PaystreamError

P = ParamSpec("P")


def asynchronous(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a click callback of a coroutine function.

    A :class:`PaystreamError` becomes one line on standard error and the error's own exit status;
    Ctrl-C ends with status 130, as a shell expects.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            asyncio.run(function(*args, **kwargs))
        except PaystreamError as error:
            click.echo(f"paystream: {error}", err=True)
            raise SystemExit(int(error.exit_status)) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    return run
