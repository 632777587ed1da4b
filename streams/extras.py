"""How the package's extras are installed."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Say how an extra is installed: from the checkout, as paystream is on no registry."""
    return f"pip install '.[{extra}]' in the checkout of paystream"
