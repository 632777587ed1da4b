"""What all sections of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: read once, never changed, and a name it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
