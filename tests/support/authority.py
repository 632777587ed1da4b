"""A certificate authority of a test's own, and what it signs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    def overwrite(self, other: Signed) -> None:
        """Put another pair in the place of this one, as a renewal does."""
        shutil.copyfile(other.certificate, self.certificate)
        shutil.copyfile(other.key, self.key)

    def both(self) -> Path:
        """Write the pair into one file, as Kafka wants it, and return its path."""
        path = self.certificate.with_suffix(".both.pem")
        path.write_text(self.key.read_text() + self.certificate.read_text())
        return path


class Authority:
    """An authority that nobody trusts who is not told to.

    Arguments:
        folder: for its files.
        name: its own.
    """

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make certificates with")
        self._folder = folder
        self._name = name
        self._own = Signed(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl(
            "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", str(self._own.key), "-out", str(self._own.certificate),
        )  # fmt: skip

    @property
    def certificate(self) -> Path:
        """What those have to have who are to trust it."""
        return self._own.certificate

    def sign(self, name: str, *, days: int = 2, address: str = "IP:127.0.0.1") -> Signed:
        """Sign a certificate; `days` below 0 for one that has expired, `address` as openssl writes it."""
        made = Signed(self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key")
        request, extensions = self._folder / "request", self._folder / "extensions"
        extensions.write_text(f"subjectAltName={address}\n")
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(request))
        _openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self._own.certificate), "-CAkey", str(self._own.key),
            "-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", str(made.certificate),
        )  # fmt: skip
        return made


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
