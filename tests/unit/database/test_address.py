from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.database.address import Address, Host, parse, sqlite_url
from streams.failure.errors import SetupError

ODD = "/data/50% off [1] #2? ü/pay stream+1.db"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///paystream.db", "paystream.db"),
        ("sqlite:////data/pay [1].db", "/data/pay [1].db"),
        ("sqlite:////data/50% off#2.db", "/data/50% off#2.db"),
        ("sqlite:////data/100%25/a%20b%3F.db", "/data/100%/a b?.db"),
        ("sqlite+aiosqlite:///p.db", "p.db"),
        (sqlite_url(ODD), ODD),
        (sqlite_url(Path("/a%20b/p.db")), "/a%20b/p.db"),
    ],
)
def test_a_file_may_have_any_name(url: str, file: str) -> None:
    assert parse(url).database == file
    assert parse(parse(url).name).database == file, "what a message shows can be copied"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_whatever_the_name_of_a_file_is_its_url_leads_back_to_it(name: str) -> None:
    assert parse(sqlite_url(f"/{name}")).database == f"/{name}"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@db/shop", [Host("db")]),
        ("postgresql://u@db:5433/shop", [Host("db", 5433)]),
        ("postgresql://u@[::1]:5433/shop", [Host("::1", 5433)]),
        ("postgresql://u@[fe80::1%25eth0]/shop", [Host("fe80::1%eth0")]),
        ("postgresql://u@a:1,[::2]:2,c/shop", [Host("a", 1), Host("::2", 2), Host("c")]),
        ("postgresql://u@/shop?host=a,b&port=1,2", [Host("a", 1), Host("b", 2)]),
        ("postgresql://u@/shop?host=a,b&port=7", [Host("a", 7), Host("b", 7)]),
        ("postgresql://u@/shop?host=a:1&host=b:2", [Host("a", 1), Host("b", 2)]),
        ("postgresql://u@/shop?host=::1&port=2", [Host("::1", 2)]),
        ("postgresql://u@/shop?host=/run/my%20pg%20[1]%23%25", [Host("/run/my pg [1]#%")]),
        ("postgresql://u@%2Frun%2Fmy pg/shop", [Host("/run/my pg")]),
        ("postgresql://u@first/shop?host=other", [Host("other")]),
        ("postgresql:///shop", []),
    ],
)
def test_hosts_are_read_as_postgresqls_own_client_reads_them(url: str, hosts: list[Host]) -> None:
    address = parse(url)
    assert (list(address.hosts), address.database) == (hosts, "shop")


@pytest.mark.parametrize("password", ["se/cret", "se:cret?#", "se[cr]et", "100%", "50%25 off", "a b", "é€", "p%40ss"])
def test_a_password_may_be_pasted_as_it_is_and_is_shown_nowhere(password: str) -> None:
    address = parse(f"postgresql://shop:{password}@[::1]:5432/my%20db%23?sslmode=require")
    assert (address.user, address.database) == ("shop", "my db#")
    assert address.password == {"50%25 off": "50% off", "p%40ss": "p@ss"}.get(password, password)
    assert address.name == "postgresql://shop:***@[::1]:5432/my db%23"
    assert address.password not in repr(address)


def test_user_and_password_may_be_options_and_are_not_shown_there() -> None:
    address = parse("postgresql://db/shop?user=a%40b&password=secret&application_name=till-7")
    assert (address.user, address.password, address.options) == ("a@b", "secret", {"application_name": "till-7"})
    assert "secret" not in address.name
    assert parse(address.name).user == "a@b"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:SE@CRET@db/shop",
        "postgresql://shop:x@SECRET/y@db/shop",
        "postgresql://shop:x@y?SECRET@db/shop",
        "postgresql://shop:x@y#SECRET@db/shop",
        "postgresql://shop/a:SECRET@db/shop",
        "postgresql://shop/a:SECRET?b@db/shop",
        "postgresql://shop:SECRET/shop",
        "postgresql://shop:SECRET",
        "postgresql://shop:x@db:SECRET/shop",
        "postgresql://shop:x@[SECRET/shop",
        "postgresql://shop:x@db/shop?SECRET!=1",
        "postgresql://shop:x@db/shop?port=SECRET",
        "postgresql://shop:x@a,b,c/shop?port=1,2",
        "postgresql://shop:x@a,,b/shop",
        "postgresql://shop:x@db:65536/shop",
        "postgresql://shop:x@db:" + "9" * 5000 + "/shop",
        "shop:SECRET@db/shop",
        "mysql://shop:SECRET@db/shop",
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_of_it_repeated(url: str) -> None:
    with pytest.raises(SetupError, match="PAYSTREAM_DATABASE__URL") as raised:
        parse(url)
    assert "SECRET" not in str(raised.value)
    assert raised.value.__context__ is None or "SECRET" not in str(raised.value.__context__)


@given(
    st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)] * 3),
    st.sampled_from(["", "/?", "@", ":@", "%"]),
)
def test_no_part_of_a_password_is_ever_shown(parts: tuple[str, str, str], between: str) -> None:
    secret = "SECRET".join(parts) + between
    try:
        shown = parse(f"postgresql://shop:{secret}@db/shop").name
    except SetupError as error:
        shown = str(error)
    assert "SECRET" not in shown


def test_the_folder_of_a_socket_is_shown_and_sqlites_dialect_is_its_own() -> None:
    assert parse("postgresql://u@/d?host=/run/my%20pg").name == "postgresql://u@/d?host=/run/my pg"
    assert parse("sqlite:///p.db") == Address("sqlite", "p.db")
