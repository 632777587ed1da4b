"""What can be told of an exception without quoting anybody's data: class, causes, trace, fingerprint."""

from __future__ import annotations

import builtins
import hashlib
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final

from pydantic import ValidationError

from streams.failure.errors import Stage

# Three frames tell two failures in one handler apart, and are few enough that the ways by which
# delivery may come to call the handler do not show.
_FRAMES: Final = 3
_OURS: Final = frozenset({"agents", "models", "streams"})
_LIBRARY_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})
_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

# The innermost frames are where it happened; twenty of each exception keep a chain of three within 8 KiB.
_FRAMES_SHOWN: Final = 20
_EXCEPTIONS_SHOWN: Final = 8
_MEMBERS_SHOWN: Final = 5
_BECAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"

# Python 3.10 has no exception groups.
_GROUP: Final[Any] = getattr(builtins, "ExceptionGroup", ())


def qualified_name(error: BaseException) -> str:
    """Name the exception's class as ``module.QualName``."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def causes(error: Exception) -> Iterator[Exception]:
    """Yield the exception and what it was raised from, outermost first.

    Only ``raise … from`` counts: what happened to be handled at the time explains nothing. Members of an
    exception group, as an ``asyncio.TaskGroup`` raises, come before the group's own cause. A
    ``BaseException`` that is not an ``Exception`` ends the chain: a cancellation is how a time-out works, not
    why there was one.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, Exception) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting.append(current.__cause__)
        if isinstance(current, _GROUP):
            waiting.extend(reversed(current.exceptions))


def root_cause(error: Exception) -> Exception:
    """Return the exception at the bottom: the last ``__cause__``, or the only member of a group."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        below: BaseException | None = error.__cause__
        if below is None and isinstance(error, _GROUP) and len(error.exceptions) == 1:
            below = error.exceptions[0]
        if not isinstance(below, Exception):
            break
        error = below
    return error


def field_path(location: tuple[int | str, ...]) -> str:
    """Write pydantic's location of an error as ``lines.0.quantity``.

    What does not look like a field's name is written ``?``: it may be a key that the sender made up.
    """
    return ".".join(str(part) if isinstance(part, int) or is_field_name(part) else "?" for part in location)


def is_field_name(text: str) -> bool:
    """Tell whether `text` looks like the name of a field rather than like data."""
    return _FIELD_NAME.fullmatch(text) is not None


def fingerprint(error: Exception, stage: Stage) -> str:
    """Return 16 hexadecimal digits that are equal for failures at one place of the code.

    One place may fail for several reasons: dead letters are grouped by both.

    It is BLAKE2b, 8 bytes long, of the stage, the classes of the exception and its causes, and

    * for a pydantic ``ValidationError`` among them: the model, the fields and the kind of each error,
      without list indexes and without keys that the contract does not know;
    * else the module and function of the innermost three frames that are not a library's. The frames are
      those of the deepest cause that has any.

    Neither line numbers nor messages nor values go in, so it outlives an edit elsewhere in the file and tells
    nothing of the payload. Moving or renaming the function that fails changes it.
    """
    chain = list(causes(error))
    parts = [stage.value, *(qualified_name(each) for each in chain)]
    invalid = next((each for each in chain if isinstance(each, ValidationError)), None)
    if invalid is not None:
        parts += [invalid.title, *_broken_fields(invalid)]
    else:
        parts += next(filter(None, map(_places, reversed(chain))), [])
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _broken_fields(error: ValidationError) -> list[str]:
    found = set()
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        location = tuple("*" if isinstance(part, int) else part for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            location = (*location[:-1], "?")
        found.add(f"{field_path(location)} {problem['type']}")
    return sorted(found)


def _places(error: Exception) -> list[str]:
    places = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        module = str(trace.tb_frame.f_globals.get("__name__", "?"))
        # Comprehensions and lambdas are frames of their own in one Python version and not in the next.
        if not code.co_name.startswith("<") and _is_ours(module, code.co_filename):
            places.append(f"{module}.{code.co_name}")
        trace = trace.tb_next
    return places[-_FRAMES:]


def _is_ours(module: str, filename: str) -> bool:
    package = module.partition(".")[0]
    if package in _OURS:
        return True
    return package not in sys.stdlib_module_names and _LIBRARY_FOLDERS.isdisjoint(PurePath(filename).parts)


def trace_text(error: BaseException, *, depth: int = 3) -> str:
    """Write the trace as Python would, most recent call last, but without any exception's message.

    So it holds file names, lines of source code and class names, and no payload. Of each exception the
    innermost 20 frames are shown, of a chain the 8 outermost exceptions, of a group the first 5 members.

    Arguments:
        error: what to write about.
        depth: how deep to go into groups of groups.
    """
    links: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    below: BaseException | None = error
    while below is not None and id(below) not in seen and len(links) < _EXCEPTIONS_SHOWN:
        current = below
        seen.add(id(current))
        if current.__cause__ is not None:
            below, link = current.__cause__, _BECAUSE
        else:
            below, link = (None if current.__suppress_context__ else current.__context__), _MEANWHILE
        links.append((current, link))
    blocks = [_block(links[-1][0], depth)]
    blocks += [link + _block(current, depth) for current, link in reversed(links[:-1])]
    return "".join(blocks)


def _block(error: BaseException, depth: int) -> str:
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), limit=-_FRAMES_SHOWN)
    heading = "Traceback (most recent call last):\n" if frames else ""
    text = heading + "".join(frames.format()) + qualified_name(error) + "\n"
    if isinstance(error, _GROUP) and depth:
        for member in error.exceptions[:_MEMBERS_SHOWN]:
            text += textwrap.indent(trace_text(member, depth=depth - 1), "  | ", lambda line: True)
    return text
