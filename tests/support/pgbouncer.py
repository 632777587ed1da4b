"""A real pgbouncer in front of a PostgreSQL server, where the machine has one."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.postgresql import Server, user_of_servers
from support.waiting import eventually

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""Where it is; None if there is none."""

_SETTINGS = """
[databases]
* = host='{sockets}'

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {servers}
logfile = {folder}/log
"""


@contextmanager
def pgbouncer(server: Server, mode: str, *, servers: int) -> Iterator[str]:
    """Run it in front of the server, with so many connections to it; yield the URL of the database ``postgres``."""
    assert PROGRAM is not None
    folder = server.sockets.with_name(f"pgbouncer {mode}")
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = _SETTINGS.format(sockets=server.sockets, port=port, mode=mode, servers=servers, folder=folder)
    (folder / "pgbouncer.ini").write_text(text)
    (folder / "users").write_text('"postgres" ""\n')
    user = user_of_servers()
    if user is not None:
        shutil.chown(folder, user, user)
    process = subprocess.Popen(
        [PROGRAM, "--quiet", folder / "pgbouncer.ini"], user=user, cwd="/", stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        asyncio.run(eventually(lambda: _answers(port), "pgbouncer to listen"))
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
