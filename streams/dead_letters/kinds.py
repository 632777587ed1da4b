"""Dead letters that failed alike: what a row means where letters are counted by their reason."""

from __future__ import annotations

import re
from typing import Final

from models.dead_letter import DeadLetterView

Kind = tuple[str, str, frozenset[str]]
"""Equal for letters of one kind: stage, fingerprint, and what the reason says."""

_SEPARATOR: Final = "; "
_MORE: Final = re.compile(r"and [0-9]+ more")
# What tells one letter from the next of its kind: which line of an order, where a record lay, when it was, how much of
# something there was. An answer's code is not among these: 404 and 410 are two reasons. Neither are digits that are
# part of a name: each host is a reason.
_FIELD: Final = re.compile(r"[A-Za-z_?][\w.?-]*(?=: )")
_INDEX: Final = re.compile(r"\.[0-9]+(?=\.|$)")
_PASSING: Final = re.compile(
    r"(?P<code>(?:answered|:) [2-5][0-9]{2}(?: [245]\.[0-9]{1,3}\.[0-9]{1,3})?(?![\w.]))"
    r"|(?<=-)[0-9]+@[0-9]+"
    r"|(?<!\w)[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[+-][0-9:]+)?"
    r"|(?<![\w.@-])[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?!\.?\w)"
)


def why(view: DeadLetterView) -> str:
    """Say why the record failed as well as its headers can tell."""
    return view.reason or view.exception_class or "unknown"


def kind_of(view: DeadLetterView) -> Kind:
    """Return what letters of one kind have in common.

    The fingerprint alone does not do: it says where in the code a record failed, and one place may have several
    reasons. Nor does the reason alone: two places may have the same to say, an exception's name for instance.
    """
    problems = (_timeless(each) for each in why(view).split(_SEPARATOR) if not _MORE.fullmatch(each))
    return view.stage or "", view.fingerprint or "", frozenset(problems)


def _timeless(problem: str) -> str:
    """Take away from what is said of one problem whatever the next letter's problem of its kind may not share."""
    if (field := _FIELD.match(problem)) is not None:
        problem = _INDEX.sub(".#", field[0]) + problem[field.end() :]
    return _PASSING.sub(lambda found: found["code"] or "#", problem)
