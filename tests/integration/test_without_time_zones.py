"""A machine without time-zone files, as slim images are: nothing of ours misses them.

Arrow reads them from ``/usr/share/zoneinfo`` and nowhere else, whatever the environment says. So they are hidden, in a
mount namespace of one process.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.databases import upgraded
from support.worker import ROOT

_ZONES = Path("/usr/share/zoneinfo")
_HIDE = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs none {_ZONES} && exec "$@"', "sh"]

_FILES = """
import sys
from support.orders import order
from models.platform import ADAPTER
from streams.platform.folder import Folder
from streams.platform.ranges import WaitingFile
from streams.platform.rows import PlatformRow, as_batch, by_day
folder = Folder(sys.argv[1])
rows = [PlatformRow(ADAPTER.validate_json(order(number, 1 + number)), "orders", 0, number) for number in range(3)]
for day, table in by_day([as_batch(rows)]).items():
    file = WaitingFile("orders", 0, 0, "a" * 32, day)
    folder.write_aside(file, table)
    folder.publish([file], 3)
for each in folder.listing().files:
    print(each.day, *folder.read_back(each.name).days)
"""
_LETTERS = """
from support.requests import REQUEST
from streams.notify.letter import write_letter
from streams.settings.notifications import zone_of
for locale, zone in (("ko", "Asia/Seoul"), ("en_GB", "Europe/London")):
    print(write_letter(REQUEST, locale, zone_of(zone)).text)
"""
_REPORTS = """
import sys
from streams.commands.analytics import analytics
for by, form in (("day", "parquet"), ("hour", "parquet"), ("day", "csv")):
    output = f"{sys.argv[1]}/{by}.{form}"
    analytics(["report", "--by", by, "--format", form, "--output", output], standalone_mode=False)
"""


def _hidden(*command: str, **environment: str) -> str:
    """Run a command where there are no time-zone files; return what it prints."""
    hide = _HIDE if _ZONES.exists() else []
    done = subprocess.run(
        [*hide, *command], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "tests", "PYTHONUTF8": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def can_hide() -> None:
    if _ZONES.exists() and (
        shutil.which("unshare") is None or subprocess.run([*_HIDE, "true"], capture_output=True).returncode
    ):
        pytest.skip("nothing can be hidden here: this needs unshare, and a kernel that lets a user have namespaces")


def test_files_for_the_platform_are_written_and_checked(tmp_path: Path) -> None:
    days = ["2010-12-01", "2010-12-02", "2010-12-03"]
    assert _hidden(sys.executable, "-c", _FILES, str(tmp_path)).split() == [day for day in days for _ in range(2)]


@pytest.mark.parametrize("local", [{}, {"TZ": "Asia/Seoul"}, {"TZ": ":/etc/localtime"}, {"TZ": "Nowhere/Land"}])
def test_letters_have_the_day_in_the_zone_that_is_set(local: dict[str, str]) -> None:
    said = _hidden(sys.executable, "-c", _LETTERS, **local)
    assert "2010년 12월 1일" in said
    assert "1 December 2010" in said


def test_sales_are_reported_by_day_and_by_hour(tmp_path: Path) -> None:
    url = asyncio.run(upgraded(f"sqlite:///{tmp_path}/shop.db"))
    _hidden(sys.executable, "-c", _REPORTS, str(tmp_path), PAYSTREAM_DATABASE__URL=url)
    assert all((tmp_path / name).stat().st_size for name in ("day.parquet", "hour.parquet", "day.csv"))
