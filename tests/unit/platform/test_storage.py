from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streams.failure.errors import SetupError
from streams.platform.storage import Storage


def test_an_object_store_without_its_client_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SetupError) as raised:
        Storage("s3://lake/orders")
    assert str(raised.value).startswith("PAYSTREAM_PLATFORM__FOLDER=s3://lake/orders: ")
    assert str(raised.value).endswith(": pip install s3fs")


def test_a_module_that_is_in_a_package_of_another_name_is_not_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smbclient", None)
    with pytest.raises(SetupError) as raised:
        Storage("smb://lake/orders")
    assert "pip install smbclient" not in str(raised.value)


def test_a_local_folder_is_shown_as_the_path_that_it_is_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage("platform").url == f"{tmp_path}/platform"
    assert Storage(f"file://{tmp_path}/platform/").url == f"{tmp_path}/platform"
    monkeypatch.chdir("/")
    assert Storage("platform").url == "/platform"


def test_of_a_local_folder_it_is_known_whether_it_is_there(tmp_path: Path) -> None:
    assert not Storage(str(tmp_path)).lacks_its_root()
    assert Storage(str(tmp_path / "platform")).lacks_its_root()
    (tmp_path / "file").touch()
    assert Storage(str(tmp_path / "file")).lacks_its_root()


def test_an_object_store_has_no_folders_that_could_be_missing() -> None:
    assert not Storage("memory://lake/orders").lacks_its_root()
