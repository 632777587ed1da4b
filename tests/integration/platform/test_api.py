"""Platform records over HTTP, to a real server."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError
from support.agent import running, unique
from support.kafka import create_topic, produce, read_topic
from support.orders import order
from support.payments import Raw
from support.receiver import receiver

from agents.platform import OverHttp
from streams.failure.errors import DependencyUnavailable, PermanentError, RecordError, TransientError
from streams.platform.api import PlatformApi
from streams.sandbox import Cluster
from streams.sandbox.process import free_ports
from streams.settings import PlatformSettings, Sink


def api_of(url: str, seconds: float = 10) -> PlatformApi:
    token = SecretStr("secret")
    return PlatformApi(PlatformSettings(sink=Sink.HTTP, api_url=url, api_token=token, api_timeout=seconds))


async def test_every_record_is_posted_once_in_order_under_its_own_key_and_what_is_refused_is_a_dead_letter(
    kafka: Cluster,
) -> None:
    topic = unique("orders")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", order(number)) for number in range(6)])
    async with receiver(200, 429, 200, 503, 200, 409, 200, 200, 422) as platform:
        api = api_of(platform.url)
        async with running(kafka.bootstrap_servers, [topic], OverHttp(api)) as agent:
            await agent.consumed()
            assert (agent.source.meter.tally.processed, agent.source.meter.tally.dead_lettered) == (5, 1)
        await api.close()
    keys = [post.headers["idempotency-key"] for post in platform.posts]
    assert keys == [f"pay-{number}:order-platform" for number in (0, 1, 1, 2, 2, 3, 3, 4, 5)]
    assert {post.headers["authorization"] for post in platform.posts} == {"Bearer secret"}
    assert platform.posts[0].body == order(0)
    assert len(await read_topic(kafka.bootstrap_servers, topic + ".DLT")) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, DependencyUnavailable),
        (404, DependencyUnavailable),
        (405, DependencyUnavailable),
        (410, DependencyUnavailable),
        (408, DependencyUnavailable),
        (409, TransientError),
        (415, DependencyUnavailable),
        (425, DependencyUnavailable),
        (429, DependencyUnavailable),
        (500, TransientError),
        (502, DependencyUnavailable),
        (503, DependencyUnavailable),
        (0, DependencyUnavailable),
        (401, DependencyUnavailable),
        (403, DependencyUnavailable),
        (400, PermanentError),
        (413, PermanentError),
        (422, PermanentError),
    ],
)
async def test_the_answer_of_the_api_decides(status: int, error: type[Exception]) -> None:
    async with receiver(status) as platform:
        api = api_of(platform.url, 10 if status else 0.5)
        with pytest.raises(error):
            await api.post("key", b"{}")
        await api.close()


@pytest.mark.parametrize(
    ("status", "setting"),
    [
        (301, "API_URL"),
        (404, "API_URL"),
        (405, "API_URL"),
        (410, "API_URL"),
        (415, "API_URL"),
        (401, "API_TOKEN"),
        (409, "API_CONFLICT"),
    ],
)
async def test_what_a_setting_could_mend_names_the_setting(status: int, setting: str) -> None:
    async with receiver(status) as platform:
        api = api_of(platform.url)
        with pytest.raises(RecordError, match=f"PAYSTREAM_PLATFORM__{setting}"):
            await api.post("key", b"{}")
        await api.close()
    assert len(platform.posts) == 1, "a redirection is not followed"


async def test_an_api_may_mean_by_a_conflict_that_it_has_the_record() -> None:
    async with receiver(409) as platform:
        api = PlatformApi(PlatformSettings(sink=Sink.HTTP, api_url=platform.url, api_conflict="done"))
        await api.post("key", b"{}")
        await api.close()
    assert len(platform.posts) == 1


async def test_an_api_that_is_not_there_is_an_outage() -> None:
    api = api_of(f"http://127.0.0.1:{free_ports(1)[0]}/")
    with pytest.raises(DependencyUnavailable, match="platform api"):
        await api.post("key", b"{}")
    await api.close()


@pytest.mark.parametrize("url", [None, "ftp://platform.example", "platform.example"])
def test_the_api_needs_a_url(url: str | None) -> None:
    with pytest.raises(ValidationError, match="api_url"):
        PlatformSettings(sink=Sink.HTTP, api_url=url)
