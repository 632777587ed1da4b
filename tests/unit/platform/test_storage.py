from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streams.failure.errors import SetupError
from streams.platform.storage import Storage
from streams.sandbox.process import free_ports


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


_ODD = ("a[b]c", "[!x]", "a b", "a%20b", "100%", "a#b", "a?b", "a*b", "**", "a{b}", "a+b&c=d", "ä 결제", "a:b", "~")


@pytest.mark.parametrize("kind", ["", "file://", "memory://"])
@pytest.mark.parametrize("name", _ODD)
def test_whatever_a_place_is_called_it_is_that_place_and_no_pattern(tmp_path: Path, kind: str, name: str) -> None:
    beside = Storage(f"{kind}{tmp_path}/aXc")
    beside.write("_aside/file", memoryview(b"somebody else's"))
    storage = Storage(f"{kind}{tmp_path}/{name}")
    for each in ("first", "second"):
        storage.write(f"_aside/{each}", memoryview(each.encode()))
    assert sorted(storage.names("_aside")) == ["first", "second"]
    storage.make_folder("dt=2010-12-01")
    storage.move("_aside/first", "dt=2010-12-01/first")
    with pytest.raises(FileNotFoundError):
        storage.move("_aside/first", "dt=2010-12-01/first")
    storage.delete("_aside/second")
    assert storage.every_name() == ["dt=2010-12-01/first"]
    with storage.open("dt=2010-12-01/first") as file:
        assert file.read() == b"first"
    assert beside.every_name() == ["_aside/file"]
    assert storage.url.endswith(name)
    if kind != "memory://":
        assert (tmp_path / name / "dt=2010-12-01" / "first").is_file()


@pytest.mark.parametrize("kind", ["", "file://"])
def test_two_colons_in_a_local_path_are_no_chain_of_stores(tmp_path: Path, kind: str) -> None:
    Storage(f"{kind}{tmp_path}/eu::orders").write("file", memoryview(b""))
    assert (tmp_path / "eu::orders" / "file").is_file()


@pytest.mark.parametrize("url", ["memory://lake/eu::Orders", "memory://lake/orders?versionId=3"])
def test_a_url_of_which_a_store_would_leave_out_the_end_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match="choose another name") as raised:
        Storage(url)
    assert url in str(raised.value)


def test_a_store_that_cannot_be_reached_is_named_without_its_password() -> None:
    (port,) = free_ports(1)
    with pytest.raises(SetupError, match="Connection refused") as raised:
        Storage(f"ftp://user:secret@127.0.0.1:{port}/lake")
    assert "secret" not in str(raised.value)
