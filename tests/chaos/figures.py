"""Figures that a run measured: asserted by its test, and shown at the end of all tests."""

from __future__ import annotations

from dataclasses import dataclass

FIGURES: list[Figure] = []
"""Of the test that runs, in the order in which they were measured."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        run: which run.
        what: what was done.
        measured: what came of it, as a number.
        bound: what it must not exceed; None if it is only told.
        unit: of both.
    """

    run: str
    what: str
    measured: float
    bound: float | None = None
    unit: str = "s"

    @property
    def kept(self) -> bool:
        """Whether it is within its bound."""
        return self.bound is None or self.measured <= self.bound

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"  (at most {self.bound:g}{'' if self.kept else ', EXCEEDED'})"
        return f"{self.what:<72} {self.measured:>9.{1 if self.unit else 0}f} {self.unit}{bound}"


def tell(figure: Figure) -> Figure:
    """Have a figure shown."""
    FIGURES.append(figure)
    return figure


def exceeded(run: str) -> list[str]:
    """Return the figures of a run that are beyond their bounds."""
    return [str(each) for each in FIGURES if each.run == run and not each.kept]


def taken() -> list[Figure]:
    """Return the figures told since the last time, and forget them."""
    figures = FIGURES.copy()
    FIGURES.clear()
    return figures
