"""What tests measured, on its way from the process that ran them to the end of what pytest prints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pytest

_PROPERTY = "measured"


def measured(report: pytest.TestReport, run: str, line: str) -> None:
    """Have a line shown under the name of its run, when all tests are done."""
    # Properties are the part of a report that travels between processes as it is.
    report.user_properties.append((_PROPERTY, [run, line]))


def lines_by_run(reports: Iterable[object]) -> dict[str, list[str]]:
    """Collect what :func:`measured` was given, in the order of the reports."""
    found: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        if isinstance(report, pytest.TestReport) and report.when == "call":
            for name, value in report.user_properties:
                if name == _PROPERTY and isinstance(value, list):
                    run, line = value
                    found[run].append(line)
    return dict(found)
