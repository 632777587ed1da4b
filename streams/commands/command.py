"""What all commands share: running a coroutine, and ending with one clear line and a status."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import click

from streams.commands.terminal import escape_what_cannot_be_written
from streams.dead_letters.text import printable
from streams.failure.errors import ExitStatus, PaystreamError, SetupError, how_to_install
from streams.kafka.encoding import is_utf_8

if TYPE_CHECKING:
    from streams.demo.screen import Screen

P = ParamSpec("P")
T = TypeVar("T")

_OURS: Final = ("streams", "agents", "models")
_INTERRUPTED: Final = 130
"""128 and SIGINT's number, as a shell expects."""


def asynchronous(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a click callback of a coroutine function.

    A :class:`PaystreamError` becomes one line on standard error and the error's own exit status;
    Ctrl-C ends with status 130, as a shell expects. What the terminal cannot show is shown as an escape.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        escape_what_cannot_be_written()
        _refuse_what_is_no_text(kwargs)
        try:
            asyncio.run(function(*args, **kwargs))
        except PaystreamError as error:
            click.echo(f"paystream: {printable(str(error), newlines=True)}", err=True)
            raise SystemExit(int(error.exit_status)) from None
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None

    return run


def _refuse_what_is_no_text(arguments: Mapping[str, object]) -> None:
    """Refuse arguments that no broker or database could be asked about; a file may be named by any bytes."""
    for name, value in arguments.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not is_utf_8(text):
                raise click.UsageError(f"{name}: its bytes are no text in this terminal's encoding")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import in this block what comes with an extra of the package.

    Raises:
        SetupError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise  # a defect of ours
        raise SetupError(not_installed(error, name)) from None


def not_installed(error: ImportError, extra: str) -> str:
    """Say what is not installed, and how to install it."""
    package = error.name.partition(".")[0] if error.name else error
    return f"this needs {package}: {how_to_install(extra)}"


async def shown_on(screen: Screen, work: Coroutine[Any, Any, T]) -> T:
    """Run what a screen shows, until it is done, a signal asks for its end, or nobody reads the screen any more.

    In all three cases it takes away what it has started.

    Raises:
        click.exceptions.Exit: it was ended early.
    """
    running = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        # No SystemExit: asyncio lets it out at once, and then complains that nobody has asked the task for it.
        raise click.exceptions.Exit(ExitStatus.FAILED if screen.unread else _INTERRUPTED) from None
