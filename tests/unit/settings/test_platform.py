"""Where platform records go: what can be known to be wrong before a worker starts."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from streams.settings import PlatformSettings, Sink

URL = "https://platform.example/orders?key=secret"


@pytest.mark.parametrize(
    "url",
    ["platform.example", "https://", "https:///secret", "https://platform.example:99999/", "ftp://platform.example/",
     "https://ex ample/", "https://platform.example/\n", "https://shop@platform.example/", "https://shop:secret@platform.example/"],
)  # fmt: skip
def test_a_url_to_which_nothing_can_be_posted_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        PlatformSettings(sink=Sink.HTTP, api_url=url)
    (problem,) = raised.value.errors()
    assert problem["loc"] == ("api_url",)
    assert "secret" not in problem["msg"]


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8080", "HTTP://platform.example/", "http://[::1]:8080/x"])
def test_a_url_is_taken_as_it_is(url: str) -> None:
    assert PlatformSettings(sink=Sink.HTTP, api_url=url).api_url == url


@pytest.mark.parametrize("token", ["secret\n", " secret", "two words", "", "s\u00e9cret"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="a line end behind it is none"):
        PlatformSettings(sink=Sink.HTTP, api_url=URL, api_token=SecretStr(token))


def test_to_post_there_has_to_be_a_url() -> None:
    with pytest.raises(ValidationError, match="PAYSTREAM_PLATFORM__SINK=http needs PAYSTREAM_PLATFORM__API_URL"):
        PlatformSettings(sink=Sink.HTTP)
