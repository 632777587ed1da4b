"""How orders reach the data platform."""

from __future__ import annotations

import enum
import re
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from streams.settings.section import Section

# As it stands in a header, whatever a scheme makes of it (RFC 6750, section 2.1 is narrower).
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class Sink(str, enum.Enum):
    """Where platform records go."""

    FILES = "files"
    HTTP = "http"


class PlatformSettings(Section):
    """Where platform records go, and how large their files become."""

    sink: Sink = Field(Sink.FILES, description="Parquet files, or HTTP requests to the platform's API")
    folder: str = Field("platform", description="of the files: a local folder, or a URL that fsspec knows (s3://…)")
    # Small files cost their readers more than their bytes; a minute is what an analyst can wait.
    roll_rows: int = Field(100_000, ge=1, description="write files once there are so many records of a partition")
    roll_bytes: int = Field(67_108_864, ge=1, description="or so many bytes of them, before compression")
    roll_age: float = Field(60.0, gt=0, description="or so many seconds after the first of them came")
    api_url: str | None = Field(None, description="of the platform's API: where each record is posted, with sink=http")
    api_token: SecretStr | None = Field(None, description="sent as a bearer token; never shown or logged")
    api_timeout: float = Field(10.0, gt=0, allow_inf_nan=False, description="seconds for one request to the API")
    # Source: draft-ietf-httpapi-idempotency-key-header, section 2.6: the first request is still being processed,
    # and may fail yet. Taken for "done", the record would then be lost.
    api_conflict: Literal["retry", "done"] = Field(
        "retry",
        description="what the API means by 409: retry, its first request is still in work; done, it has the record",
    )

    @field_validator("api_url")
    @classmethod
    def _an_address_on_the_web(cls, value: str | None) -> str | None:
        # Nothing of it is quoted: a query may hold a secret.
        if value is None:
            return None
        try:
            url = URL(value)
            fits = url.scheme in ("http", "https") and url.raw_host and url.port and not re.search(r"\s", value)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("expected a URL such as https://platform.example/orders")
        if url.user is not None or url.password is not None:
            raise ValueError(
                "there is a user or a password in it: what lets us in is to be in PAYSTREAM_PLATFORM__API_TOKEN"
            )
        if "#" in value:
            raise ValueError("there is a # in it, and what follows one is never sent: in a path or a query it is %23")
        return value

    @field_validator("api_token")
    @classmethod
    def _one_word(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("expected visible characters and nothing else: a line end behind it is none")
        return value

    @model_validator(mode="after")
    def _url_for_http(self) -> PlatformSettings:
        if self.sink is Sink.HTTP and self.api_url is None:
            raise ValueError(
                "PAYSTREAM_PLATFORM__SINK=http needs PAYSTREAM_PLATFORM__API_URL, as in https://platform.example/"
            )
        return self
