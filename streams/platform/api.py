"""The data platform's API: each record is one POST, which it may see twice and recognises by its key."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp

from streams.failure.errors import DependencyUnavailable, TransientError
from streams.http.answers import asked_to_wait, judge_answer
from streams.http.posting import Poster
from streams.http.requests import header_id, url_as_written, why_not
from streams.settings import PlatformSettings

DEPENDENCY: Final = "platform api"
"""The name under which breakers and pages show it."""

_CONFLICT: Final = 409
# Most often something that was not thought of in one record: waiting for that to pass would hold up all behind it.
# If it is said of every record, the budget of dead letters halts the lane.
_DEFECT: Final = 500
# It is our token that is refused, and no record's fault.
_UNAUTHORIZED: Final = (401, 403)
# Nor is it one's fault that there is no such place, or none that is posted JSON to.
_WRONG_PLACE: Final = (404, 405, 410, 415)
# It asks for time, and would of the next record, too.
_LATER: Final = (408, 425, 429)


class PlatformApi:
    """Posts records, over connections that are kept.

    Arguments:
        settings: where to, and how long to wait.
    """

    def __init__(self, settings: PlatformSettings) -> None:
        assert settings.api_url is not None, "the settings see to it"
        self._url = url_as_written(settings.api_url)
        self._host = self._url.host
        self._conflict_is_done = settings.api_conflict == "done"
        headers = {"Content-Type": "application/json"}
        if settings.api_token is not None:
            headers["Authorization"] = f"Bearer {settings.api_token.get_secret_value()}"
        self._poster = Poster(settings.api_timeout, headers, keep_cookies=True)

    async def post(self, key: str, body: bytes) -> None:
        """Post one record.

        Arguments:
            key: the record's id, sent as ``Idempotency-Key``: the same for a repeat.
            body: JSON.

        Raises:
            DependencyUnavailable: the API does not answer, is in trouble, asks for time, refuses our token, or is
                not where it is said to be: everything that it would say of the next record, too.
            TransientError: it is still at work on the one before (409), or fails over this record (500).
            PermanentError: it refuses the record.
        """
        try:
            answer = await self._poster.post(self._url, body, {"Idempotency-Key": header_id(key)})
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise DependencyUnavailable(DEPENDENCY, f"{self._host}: {why_not(error)}") from None
        except ValueError:
            # What is not a record's: its key and its bytes fit into any request.
            raise DependencyUnavailable(
                DEPENDENCY, "a request cannot be made of PAYSTREAM_PLATFORM__API_URL and PAYSTREAM_PLATFORM__API_TOKEN"
            ) from None
        self._judge(answer.status, asked_to_wait(answer.retry_after, time.time()))

    def _judge(self, status: int, after: float) -> None:
        if status in _UNAUTHORIZED:
            raise DependencyUnavailable(DEPENDENCY, f"it refuses PAYSTREAM_PLATFORM__API_TOKEN: {status}")
        if status in _WRONG_PLACE or 300 <= status < 400:
            raise DependencyUnavailable(
                DEPENDENCY, f"PAYSTREAM_PLATFORM__API_URL answered {status}: is it where records are posted?"
            )
        if status in _LATER:
            raise DependencyUnavailable(DEPENDENCY, f"it answered {status}: later", after=after)
        if status == _DEFECT:
            raise TransientError(f"{DEPENDENCY} answered 500", after=after)
        if status != _CONFLICT:
            judge_answer(status, DEPENDENCY, after)
        elif not self._conflict_is_done:
            raise TransientError(
                f"{DEPENDENCY} answered 409: the same request is in work; an API that means by it that it has the "
                "record needs PAYSTREAM_PLATFORM__API_CONFLICT=done",
                after=after,
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()
