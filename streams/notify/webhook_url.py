"""A customer's webhook URL, judged as the HTTP client reads it: when it is loaded, and each time it is called."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from yarl import URL

from streams.http.requests import url_as_written

_TEXT: Final = re.compile(r"[\x21-\x7e]{1,2048}")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")
_LONGEST_NAME: Final = 254
# Source: url.spec.whatwg.org, "ends in a number checker". What inet_aton takes for an address ends like this, in
# whatever base the rest of it is written.
_NUMBER_AT_END: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
# Each of them leads, through a router or the kernel, to an IPv4 address that it contains; and what is deprecated
# (RFC 3879) or is no single host. `is_global` has let them pass in one version of Python or another.
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "::/96",  # IPv4-compatible, RFC 4291
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # NAT64 for local use, RFC 8215
        "2002::/16",  # 6to4, RFC 3056
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
        "224.0.0.0/4",
    )
)


class UnfitUrl(ValueError):
    """No webhook may go to this URL; the message is what was expected instead, and quotes nothing of it."""


def parse_url(text: str, *, private: bool) -> URL:
    """Read a webhook's URL.

    Arguments:
        text: the URL.
        private: whether it may do without TLS, and lead to addresses that are not public.

    Raises:
        UnfitUrl: it is none, or leads where no webhook may go. Where a *name* leads, only its resolution tells.
    """
    url = _read(text)
    if url is None or url.scheme not in ("http", "https") or not url.port or not _is_host(url.raw_host or ""):
        raise UnfitUrl("a URL with a host")
    if private:
        return url
    if url.scheme != "https":
        raise UnfitUrl("a URL that begins with https://")
    if _is_address(url.raw_host or "") and not is_public(url.raw_host or ""):
        raise UnfitUrl("a URL with a public address")
    return url


def host_of(text: str) -> str:
    """Return the host of a URL, which is what an operator is told of it: the rest may hold secrets."""
    url = _read(text)
    return url.raw_host.lower() if url is not None and url.raw_host else "unknown"


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet's, and of a single host.

    Raises:
        ValueError: it is no IP address.
    """
    found = ipaddress.ip_address(address)
    return found.is_global and not any(found in network for network in _NOT_PUBLIC)


def _read(text: str) -> URL | None:
    if not _TEXT.fullmatch(text):
        return None
    try:
        return url_as_written(text)
    except ValueError:
        return None


def _is_host(host: str) -> bool:
    host = host.lower()
    if ":" in host or _NUMBER_AT_END.fullmatch(host):
        return _is_address(host)
    return len(host) <= _LONGEST_NAME and _NAME.fullmatch(host) is not None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
