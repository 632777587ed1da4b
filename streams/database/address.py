"""Where the database is: what PAYSTREAM_DATABASE__URL says, taken apart, and how it is shown without its password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote

from streams.failure.errors import SetupError

Dialect = Literal["sqlite", "postgresql"]

_SCHEMES: Final[Mapping[str, Dialect]] = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+asyncpg": "postgresql",
}
_PLACE: Final = ("host", "port", "user", "password")
_OPTIONS: Final = ("sslmode", "ssl", "application_name", "connect_timeout", "passfile", "target_session_attrs", *_PLACE)
# Passwords are pasted as they are, so one may contain anything but an @, which ends it.
_LOGIN: Final = re.compile(r"(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@")
_PLACE_AND_DATABASE: Final = re.compile(r"(?P<hosts>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?", re.DOTALL)
_HOST: Final = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]*))?")
_MOST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Host:
    """One server.

    Attributes:
        name: a name or an address; if it begins with a slash, the folder of a socket.
        port: None for PostgreSQL's own.
    """

    name: str
    port: int | None = None

    def __str__(self) -> str:
        shown = f"[{self.name}]" if ":" in self.name and not self.name.startswith("/") else self.name
        return shown if self.port is None else f"{shown}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is.

    Attributes:
        dialect: of which kind it is.
        database: its name, or SQLite's file; empty if the URL names none.
        user: who asks; None if the URL does not say.
        password: likewise.
        hosts: PostgreSQL's servers; none if the URL names none.
        options: what else the URL says.
    """

    dialect: Dialect
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    hosts: tuple[Host, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its URL without the password and the options, for messages."""
        if self.dialect == "sqlite":
            return sqlite_url(self.database)
        login = "" if self.user is None else _shown(self.user, "@:/[]")
        login += "" if self.password is None else ":***"
        hosts = ",".join(map(str, self.hosts))
        place, query = (hosts, "") if "/" not in hosts else ("", f"?host={_shown(hosts, '&+')}")
        return f"postgresql://{login}{'@' if login else ''}{place}/{_shown(self.database)}{query}"


def sqlite_url(file: str | Path) -> str:
    """Return the URL of a SQLite file, whatever its name contains."""
    return f"sqlite:///{_shown(str(file))}"


def parse(url: str) -> Address:
    """Take a URL apart. What is percent-encoded is decoded, in each part.

    Raises:
        SetupError: it names no database that paystream knows. The message repeats nothing of it: what is wrong with
            it may have put the password into any part.
    """
    scheme, found, rest = url.partition("://")
    dialect = _SCHEMES.get(scheme) if found else None
    if dialect is None:
        raise _wrong("must be sqlite:///FILE or postgresql://user:password@host/database")
    return _sqlite(rest) if dialect == "sqlite" else _postgresql(rest)


def _sqlite(rest: str) -> Address:
    place, _, query = rest.partition("?")
    host, slash, file = place.partition("/")
    if host:
        raise _wrong(": a SQLite file has no host; it is sqlite:///FILE, with three slashes")
    if not slash or unquote(file) in ("", ":memory:"):
        raise _wrong(" names no file: a database in memory would forget with the process")
    _options(query, ())
    return Address("sqlite", unquote(file))


def _postgresql(rest: str) -> Address:
    login = _LOGIN.match(rest)
    after = rest[login.end() :] if login is not None else rest
    if "@" in after:
        raise _wrong(" has more than one @: in a user's name, a password and all else it is written %40")
    parts = _PLACE_AND_DATABASE.fullmatch(after)
    assert parts is not None, "it matches everything"
    options, hosts = _options(parts["query"] or "", _OPTIONS)
    user, password = (unquote(login["user"]), login["password"]) if login is not None else ("", None)
    return Address(
        "postgresql",
        unquote(parts["database"] or ""),
        options.pop("user", user or None),
        options.pop("password", None if password is None else unquote(password)),
        _hosts(hosts or ",".join(map(unquote, parts["hosts"].split(","))), options.pop("port", "")),
        options,
    )


def _options(query: str, known: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Return the options, and the hosts among them: those alone may be there more than once."""
    pairs = parse_qsl(query)
    unknown = sorted({name for name, _ in pairs} - set(known))
    if unknown:
        knows = f"it knows {', '.join(known)}" if known else "for SQLite there are none"
        # Of a name that nobody would give an option nobody knows what it is.
        names = ", ".join(unknown) if all(map(str.isidentifier, unknown)) else "of a strange name"
        raise _wrong(f" has an option that paystream does not know: {names}; {knows}")
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in options and name != "host":
            raise _wrong(f" has an option more than once: {name}")
        options[name] = f"{options[name]},{value}" if name in options else value
    return options, options.pop("host", "")


def _hosts(listed: str, ports: str) -> tuple[Host, ...]:
    """Read hosts as PostgreSQL's own client does: several have commas in between, and a port each or one for all."""
    if not listed:
        return (Host("", _port(ports)),) if ports else ()
    hosts = [_host(each) for each in listed.split(",")]
    given = [_port(each) for each in ports.split(",")] if ports else [None]
    if len(given) == 1:
        given *= len(hosts)
    if len(given) != len(hosts):
        raise _wrong(f" names {len(hosts)} hosts and {len(given)} ports: there is a port for each, or one for all")
    return tuple(Host(host.name, host.port or port) for host, port in zip(hosts, given, strict=True))


def _host(text: str) -> Host:
    if text.startswith("/"):
        return Host(text)
    if "[" not in text and text.count(":") > 1:
        return Host(text)  # an IPv6 address, which needs no brackets where no port can follow
    found = _HOST.fullmatch(text)
    if found is None:
        raise _wrong(
            ": its hosts and ports cannot be understood; postgresql://user:password@host:port/database is what it "
            "looks like, with an IPv6 address in brackets, and with each @ / ? # of a name written %40 %2F %3F %23"
        )
    return Host(found["six"] or found["name"], _port(found["port"] or ""))


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= _MOST_PORT):
        raise _wrong(": a port is a number up to 65535")
    return int(text)


def _shown(text: str, more: str = "") -> str:
    """Encode what would mean something in a URL, or would not be seen; all else is easier to read as it is."""
    return re.sub(rf"[%?#\x00-\x1f\x7f{re.escape(more)}]", lambda found: quote(found[0], safe=""), text)


def _wrong(what: str) -> SetupError:
    return SetupError(f"PAYSTREAM_DATABASE__URL{'' if what[0] in ' :' else ' '}{what}")
