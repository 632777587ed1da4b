"""Where a worker's pages are."""

from __future__ import annotations

from pydantic import Field

from streams.settings.section import Section


class WebSettings(Section):
    """The statistics page."""

    enabled: bool = Field(True, description="whether there is a page at all")
    bind: str = Field("127.0.0.1", description="address to listen on; the page has no password")
    port: int = Field(6066, ge=1, le=65535, description="port to listen on")

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.bind}]" if ":" in self.bind else self.bind
