"""The certificates that clients show and trust, read anew when their files have changed.

Whoever renews a certificate replaces files and restarts nothing. So every connection asks here for what to make it
with. Files are not replaced at one instant: what cannot be read, or does not fit together, is left alone until it can
be and does, and what was read before is used meanwhile.
"""

from __future__ import annotations

import _ssl
import logging
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from streams.failure.errors import SetupError
from streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

_Files: TypeAlias = tuple[Path | None, Path | None, Path | None]
_Stamp: TypeAlias = tuple[int, int, int] | None


@dataclass(slots=True)
class _Read:
    """What was read from files, and the files' stamps of the last look, whatever came of that."""

    context: ssl.SSLContext
    stamps: tuple[_Stamp, ...]


_read: Final[dict[_Files, _Read]] = {}


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return what a connection is made with that is opened now.

    Raises:
        SetupError: the files cannot be used, and no earlier ones were read.
    """
    files: _Files = (kafka.ssl_cafile, kafka.ssl_certfile, kafka.ssl_keyfile)
    # Before they are read: what changes meanwhile is read once more.
    stamps = tuple(map(_stamp, files))
    read = _read.get(files)
    if read is None:
        read = _read[files] = _Read(_load(*files), stamps)
    elif stamps != read.stamps:
        read.stamps = stamps
        try:
            read.context = _load(*files)
        except SetupError as error:
            logger.warning("%s; what was read before is used until it can be", error)
        else:
            logger.info(
                "certificates that were renewed are used from now on: %s", ", ".join(map(str, filter(None, files)))
            )
    return read.context


def _stamp(file: Path | None) -> _Stamp:
    try:
        found = os.stat(file) if file is not None else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else None


def _load(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:  # ssl.SSLError is one
        raise SetupError(f"PAYSTREAM_KAFKA__SSL_CAFILE cannot be used ({authorities}): {_reason(error)}") from error
    if certificate is not None:
        try:
            # Without a way to be told the password, OpenSSL would ask for it at the terminal.
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            raise SetupError(
                "PAYSTREAM_KAFKA__SSL_CERTFILE and __SSL_KEYFILE cannot be used "
                f"({', '.join(map(str, filter(None, (certificate, key))))}): {_reason(error)}"
            ) from error
    return context


def _no_password() -> str:
    raise SetupError("the key in PAYSTREAM_KAFKA__SSL_KEYFILE is encrypted: it must be readable without a password")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no certificate or key is in it").lower().replace("_", " ")
    return error.strerror or type(error).__name__


def expired_on(certificate: Path) -> str | None:
    """Return the day on which a certificate expired; None if it has not, or cannot be read."""
    try:
        # The library has no public way to look into a file: it shows what a peer has sent.
        until = ssl.cert_time_to_seconds(_ssl._test_decode_cert(str(certificate))["notAfter"])  # type: ignore[attr-defined]
    except (OSError, KeyError, ValueError, AttributeError):
        return None
    return time.strftime("%Y-%m-%d", time.gmtime(until)) if until < time.time() else None
