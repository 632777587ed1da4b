"""The pages of a worker beside Faust's statistics at ``/``.

==================  ======  =======================================================================
``/health/live/``   GET     200, or 503 if a restart would help
``/health/ready/``  GET     200, or 503 with what is not as it should be
``/status/``        GET     lanes and breakers, for people and for ``paystream lanes list``
``/lanes/resume/``  POST    let a halted lane go on: JSON with topic, partition and, if several agents
                            read the topic, group
==================  ======  =======================================================================
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from aiokafka import TopicPartition
from faust.web import Request, Response, View
from pydantic import BaseModel, ConfigDict, ValidationError

from streams.application import Application
from streams.delivery.status import LaneStatus
from streams.failure.policy import safe_reason
from streams.web.health import Health, judge

CONTENT_TYPE: Final = "application/json"
"""What a POST must be. A page of another site cannot send it from somebody's browser without being asked."""


class ResumeRequest(BaseModel):
    """Which lane is to go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    partition: int
    group: str | None = None


class ResumeAnswer(BaseModel):
    """Which groups' lanes go on."""

    resumed: tuple[str, ...]


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
            if request.headers.get("Content-Type") != CONTENT_TYPE:
                return self.json({"error": f"send {CONTENT_TYPE}"}, status=415)
            try:
                wanted = ResumeRequest.model_validate_json(await request.read())
            except ValidationError as error:
                return self.json({"error": safe_reason(error)}, status=400)
            return self.json(resume(app, wanted).model_dump())


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


def _answer(view: View, good: bool, health: Health) -> Response:
    body = {"status": "ok" if good else "degraded", "reasons": list(health.reasons)}
    return view.json(body, status=200 if good else 503)
