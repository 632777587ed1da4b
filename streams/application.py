"""The Faust application, with our sources in the place of Faust's consumer."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar, cast

import faust
from faust.app.base import BootStrategy
from faust.types import AgentT
from mode import ServiceT

from streams.database.effects import Effects
from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.service import DatabaseService
from streams.dead_letters.writing import Limits
from streams.delivery.batch import Rules
from streams.delivery.channel import BatchTopic, batches
from streams.delivery.guarantee import Finishing, Guaranteed
from streams.delivery.machinery import end_process
from streams.delivery.meter import Meter
from streams.delivery.source import Source
from streams.failure.breaker import Breakers
from streams.failure.budget import BudgetLimits
from streams.failure.errors import AgentContractBroken, MachineryFailure, SetupError
from streams.failure.open_files import OpenFiles, shortage
from streams.failure.policy import FailurePolicy
from streams.kafka.client_log import quieten_clients
from streams.settings import PREFIX, Guarantee, Settings

logger = logging.getLogger(__name__)

# A batch of 2,000 payments is some 100,000 objects that live until its commit, none of them in a cycle: with
# Python's default of 700 they would be searched for cycles over and over. Measured: 17,000 payments a second
# with 50,000, 20,000 with 200,000 and no more with 1,000,000.
_GC_THRESHOLD: Final = 200_000

E = TypeVar("E")


class SourcesInsteadOfConsumer(BootStrategy):
    """Start what Faust starts, without its consumer and producer, and then the sources.

    Services stop in reverse order: the sources finish their batches while the agents still run.
    """

    enable_kafka = False

    def server(self) -> Iterable[ServiceT]:
        """Return the services of a worker, in starting order."""
        try:
            sources = cast("Application", self.app).make_sources()
        except SetupError as error:
            end_process(error)
        # Stopped last, so that lanes can commit what they have in hand.
        return [*super().server(), *cast("Application", self.app).make_database_service(), *sources]


class Worker(faust.Worker):
    """Shows Faust's spinner on a terminal and nowhere else: in a file it is nothing but escape sequences."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not self.stdout.isatty():
            self.spinner = None


class Application(faust.App):
    """A Faust application whose agents are fed by lanes.

    Arguments:
        settings: all of them.
        options: further Faust settings.
    """

    BootStrategy = SourcesInsteadOfConsumer

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
        self.sources: list[Source] = []
        self.breakers = Breakers()
        self.files = OpenFiles()
        self._database: Database | None = None
        self._unable: list[SetupError] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        super().__init__(settings.app_id, **{**faust_options(settings), **options})

    def _discovery_modules(self) -> list[str]:
        """Name the modules to import, so that their agents are known: those of the settings, and nothing else.

        Faust would import every module beside this one, whatever that needs to be installed.
        """
        return list(self.settings.agents)

    def discover(self, *extra_modules: str, **options: Any) -> None:
        """Import the agents."""
        try:
            super().discover(*extra_modules, **options)
        except SetupError as error:
            # Every command comes this way, and nothing has been started yet: said as any other setting that is wrong.
            sys.stderr.write(f"paystream: {error}\n")
            raise SystemExit(int(error.exit_status)) from None

    def batches(self, *topics: str, dead_letters: bool = True, finish: Finishing | None = None) -> BatchTopic:
        """Declare what an agent reads; see :func:`streams.delivery.channel.batches`."""
        return batches(self, *topics, dead_letters=dead_letters, finish=finish)

    def in_database(self, effects: Effects[E]) -> InDatabase[E]:
        """Finish an agent's batches in the database: their effects and their offset in one SQL transaction."""
        return InDatabase(self.use_database(), effects)

    def emits_nothing(self) -> Guaranteed:
        """Finish the batches of an agent whose handler emits nothing: at least once, or at most once by the settings.

        A transaction would hold nothing together but dead letters and offset, and would have each partition keep
        connections of its own for that.
        """
        chosen = self.settings.delivery.guarantee
        return Guaranteed(Guarantee.AT_LEAST_ONCE if chosen is Guarantee.EXACTLY_ONCE else chosen, emits=False)

    def use_database(self) -> Database:
        """Return the database; the worker then looks at its schema before it starts any source."""
        if self._database is None:
            self._database = Database(self.settings.database)
        return self._database

    def unable(self, error: SetupError) -> None:
        """Have a worker end with this error as it starts; commands that run no agents need not care."""
        self._unable.append(error)

    def closing(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have `close` called when the worker has stopped, after the last handler."""
        self._closing.append(close)

    async def on_shutdown(self) -> None:
        """Close what agents have opened."""
        for close in self._closing:
            await close()
        await super().on_shutdown()

    def make_database_service(self) -> list[DatabaseService]:
        """Make the service that opens and closes the database; none where no agent uses it."""
        if self._database is None:
            return []
        return [DatabaseService(self._database, loop=self.loop, beacon=self.beacon)]

    def make_sources(self) -> list[Source]:
        """Make the source of every agent that reads batches.

        Raises:
            SetupError: two agents share what they read, and so would take each other's batches; or an agent
                cannot work here, and has said so.
        """
        for error in self._unable:
            raise error
        self.sources = []
        seen: dict[int, str] = {}
        for agent in self.agents.values():
            channel = agent.channel
            if not isinstance(channel, BatchTopic):
                continue
            name = short_name(agent)
            other = seen.setdefault(id(channel.handoff), name)
            if other != name:
                raise SetupError(f"agents {other} and {name} share one app.batches(…): give each its own")
            self.sources.append(self._make_source(name, channel))
        return self.sources

    def _make_source(self, name: str, channel: BatchTopic) -> Source:
        settings = self.settings
        group = f"{settings.app_id}.{name}"
        return Source(
            channel.topics,
            group,
            channel.handoff,
            rules_for(group, settings, dead_letters=channel.dead_letters),
            Meter(self.monitor, name),
            self.breakers,
            settings.kafka,
            settings.delivery,
            finishing=channel.finish,
            reopen_after=settings.failure.pause_interval,
            files=self.files,
            loop=self.loop,
            beacon=self.beacon,
        )

    async def on_first_start(self) -> None:
        """Say in one line that the web port is taken; Faust would say it in fifty."""
        if self.conf.web_enabled:
            try:
                with socket.create_server((self.conf.web_bind, self.conf.web_port)):
                    pass
            except OSError as error:
                if short := shortage(error):
                    end_process(SetupError(f"the web server cannot listen: {short}"))
                end_process(
                    SetupError(
                        f"the web server cannot listen on {self.conf.web_bind}:{self.conf.web_port} "
                        f"({error.strerror}): another worker may run here; give this one a port of its own with -p or "
                        "PAYSTREAM_WEB__PORT"
                    )
                )
        await super().on_first_start()

    async def on_started(self) -> None:
        """Tune the process once everything that lives for ever exists, and say if it may open too few files."""
        suffices, said = self.files.verdict()
        if said:
            logger.log(logging.INFO if suffices else logging.WARNING, "%s", said)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        await super().on_started()

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:
        """An agent's body raised. Faust would start it again with its batch forgotten: end instead."""
        if isinstance(exc, MachineryFailure):
            end_process(exc)
        broken = AgentContractBroken(
            f"agent {short_name(agent)} raised {type(exc).__qualname__}: what its handler raises is the policy's "
            "business, but its body must not raise"
        )
        broken.__cause__ = exc
        end_process(broken)

    def _create_directories(self) -> None:
        """Create none: without tables there is nothing to keep."""


def short_name(agent: AgentT[Any]) -> str:
    """Return an agent's name without its module: ``payments``, not ``agents.payments.payments``."""
    return str(agent.name).rpartition(".")[2]


def rules_for(group: str, settings: Settings, *, dead_letters: bool = True) -> Rules:
    """Say how the records of one agent are treated."""
    failure = settings.failure
    return Rules(
        group=group,
        policy=FailurePolicy.of(failure),
        dead_letter_suffix=failure.dead_letter_suffix if dead_letters else None,
        limits=Limits(message_bytes=failure.max_message_bytes, trace_bytes=failure.max_trace_bytes),
        max_output_bytes=settings.topics.max_message_bytes,
        budget=BudgetLimits(
            failure.max_consecutive_dead_letters, failure.max_dead_letter_share, failure.dead_letter_window
        ),
    )


def faust_options(settings: Settings) -> dict[str, Any]:
    """Translate our settings into Faust's: it must not have a second source of truth."""
    quieten_clients()
    return {
        "broker": [f"kafka://{server}" for server in settings.kafka.bootstrap_servers.split(",")],
        "env_prefix": f"{PREFIX}FAUST_",
        "origin": "streams",
        "Worker": Worker,
        "autodiscover": list(settings.agents),
        "store": "memory://",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": settings.web.enabled,
        "web_bind": settings.web.bind,
        "web_host": settings.web.host,
        "web_port": settings.web.port,
        "web_stats_enabled": True,
        "web_tables_enabled": False,
        "web_router_enabled": False,
    }
