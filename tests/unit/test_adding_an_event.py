"""What docs/adding-an-event.md counts is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "adding-an-event.md").read_text(encoding="utf-8")

# Files that belong to the event are counted whole; of the others, the lines that name it.
_NAMES_IT = re.compile(r"PAYMENT_CANCELLED|payment\.cancelled|agents\.cancellations")


def rows() -> list[tuple[list[Path], int]]:
    """Return the files and the lines of each row of the page's table."""
    found = re.findall(r"^\| .+ \| (\[.+) \| (\d+) \|$", PAGE, re.M)
    return [([DOCS / link for link in re.findall(r"\]\((.+?)\)", files)], int(count)) for files, count in found]


def lines_for_the_event(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return lines if "cancel" in file.name else [line for line in lines if _NAMES_IT.search(line)]


def test_every_row_has_as_many_lines_as_its_files() -> None:
    assert len(rows()) == 8
    for files, count in rows():
        assert sum(len(lines_for_the_event(file)) for file in files) == count, [file.name for file in files]


def test_every_letter_of_the_event_is_counted() -> None:
    counted = {file.resolve() for files, _ in rows() for file in files}
    assert set((ROOT / "streams/notify/templates").glob("payment-cancelled.*")) <= counted


def test_the_sums_are_those_of_the_rows() -> None:
    python = [file for files, _ in rows() for file in files if file.suffix == ".py" and "tests" not in file.parts]
    of_python = [line for file in python for line in lines_for_the_event(file)]
    letters = sum(count for files, count in rows() if files[0].suffix in (".txt", ".html"))
    total = sum(count for _, count in rows())
    blank = sum(not line for line in of_python)
    assert (
        f"That is {total} lines: {len(of_python)} of Python, of which {blank} are blank, {letters} of letters, and "
        f"{total - len(of_python) - letters} that keep a page and a test true."
    ) in " ".join(PAGE.split())
