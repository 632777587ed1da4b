"""The pages of a worker beside Faust's statistics at ``/``.

==================  ======  =======================================================================
``/health/live/``   GET     200, or 503 if a restart would help
``/health/ready/``  GET     200, or 503 with what is not as it should be
``/status/``        GET     lanes and breakers, for people and for ``paystream lanes list``
``/lanes/resume/``  POST    let a halted lane go on: JSON with topic, partition and, if several agents
                            read the topic, group
``/lanes/skip/``    POST    what a lane cannot read; with its first and next offset, have it passed over: JSON as
                            above
==================  ======  =======================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from faust.web import Request, Response, View
from pydantic import BaseModel, ConfigDict, ValidationError

from streams.application import Application
from streams.delivery.status import LaneStatus
from streams.failure.policy import safe_reason
from streams.web.health import Health, judge

CONTENT_TYPE: Final = "application/json"
"""What a POST must be. A page of another site cannot send it from somebody's browser without being asked."""

M = TypeVar("M", bound=BaseModel)


class ResumeRequest(BaseModel):
    """Which lane is to go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    partition: int
    group: str | None = None


class ResumeAnswer(BaseModel):
    """Which groups' lanes go on."""

    resumed: tuple[str, ...]


class SkipRequest(BaseModel):
    """Of which lane it is to be said what it cannot read; with offsets, which of that is given up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    partition: int
    group: str | None = None
    first_offset: int | None = None
    next_offset: int | None = None


class Unreadable(BaseModel):
    """What a lane cannot read."""

    group: str
    first_offset: int
    next_offset: int
    records: int
    what: str
    cause: str
    given_up: bool = False


class SkipAnswer(BaseModel):
    """What the lanes of a partition cannot read, before anything is given up of it."""

    unreadable: tuple[Unreadable, ...]


def lane_statuses(app: Application) -> list[LaneStatus]:
    """Ask all lanes of a worker how they stand."""
    return [lane.status() for source in app.sources for lane in source.lanes.values()]


def health_of(app: Application) -> Health:
    """Judge a worker."""
    return judge(
        lane_statuses(app),
        app.breakers.statuses(),
        joined=all(source.joined for source in app.sources),
        stall_after=app.settings.delivery.stall_after,
        troubles=[f"{source.group}: {source.trouble}" for source in app.sources if source.trouble],
    )


def add_pages(app: Application) -> None:
    """Add the pages to an application."""

    @app.page("/health/live/")
    async def live(view: View, request: Request) -> Response:
        """Say whether the worker is alive."""
        health = health_of(app)
        return _answer(view, health.live, health)

    @app.page("/health/ready/")
    async def ready(view: View, request: Request) -> Response:
        """Say whether the worker is ready."""
        health = health_of(app)
        return _answer(view, health.ready, health)

    @app.page("/status/")
    async def status(view: View, request: Request) -> Response:
        """Say how lanes and breakers stand."""
        return view.json(status_of(app))

    @app.page("/lanes/resume/")
    class Resume(View):
        """Lets a halted lane go on."""

        async def post(self, request: Request, **_: Any) -> Response:
            """Resume it."""
            return await _answer_to(self, request, ResumeRequest, lambda wanted: resume(app, wanted))

    @app.page("/lanes/skip/")
    class Skip(View):
        """Has a lane pass over what it cannot read."""

        async def post(self, request: Request, **_: Any) -> Response:
            """Say what that is, or have it passed over."""
            return await _answer_to(self, request, SkipRequest, lambda wanted: skip(app, wanted))


def status_of(app: Application) -> dict[str, Any]:
    """Describe a worker for the status page."""
    health = health_of(app)
    return {
        "live": health.live,
        "ready": health.ready,
        "reasons": list(health.reasons),
        "lanes": [{**asdict(lane), "lag": lane.lag} for lane in lane_statuses(app)],
        "breakers": [asdict(breaker) for breaker in app.breakers.statuses()],
    }


def resume(app: Application, wanted: ResumeRequest) -> ResumeAnswer:
    """Let the halted lanes of a partition go on."""
    source = TopicPartition(wanted.topic, wanted.partition)
    return ResumeAnswer(
        resumed=tuple(each.group for each in app.sources if wanted.group in (None, each.group) and each.resume(source))
    )


def skip(app: Application, wanted: SkipRequest) -> SkipAnswer:
    """Say what the lanes of a partition cannot read, and have that passed over which has exactly the wanted offsets."""
    place, found = TopicPartition(wanted.topic, wanted.partition), []
    for source in app.sources:
        damaged = source.damaged.of(place)
        if damaged is None or wanted.group not in (None, source.group):
            continue
        given_up = (
            wanted.first_offset is not None
            and wanted.next_offset is not None
            and source.give_up(place, wanted.first_offset, wanted.next_offset)
        )
        found.append(
            Unreadable(
                group=source.group,
                first_offset=damaged.first_offset,
                next_offset=damaged.next_offset,
                records=damaged.records,
                what=str(damaged),
                cause=damaged.cause,
                given_up=given_up,
            )
        )
    return SkipAnswer(unreadable=tuple(found))


async def _answer_to(view: View, request: Request, model: type[M], do: Callable[[M], BaseModel]) -> Response:
    """Do what a POST asks for, if it is one of ours."""
    if request.headers.get("Content-Type") != CONTENT_TYPE:
        return view.json({"error": f"send {CONTENT_TYPE}"}, status=415)
    try:
        wanted = model.model_validate_json(await request.read())
    except ValidationError as error:
        return view.json({"error": safe_reason(error)}, status=400)
    return view.json(do(wanted).model_dump())


def _answer(view: View, good: bool, health: Health) -> Response:
    body = {"status": "ok" if good else "degraded", "reasons": list(health.reasons)}
    return view.json(body, status=200 if good else 503)
