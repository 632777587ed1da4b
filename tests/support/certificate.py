"""A certificate that nobody trusts who is not told to."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1, and its key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Make what a server shows it with."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made

    def trust(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have it trusted from now on."""
        monkeypatch.setenv("SSL_CERT_FILE", str(self.certificate))


def make_certificate(folder: Path) -> Certificate:
    """Make one with openssl; the test is skipped if there is none."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(made.key), "-out", str(made.certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made
