from __future__ import annotations

import pytest

from streams.notify.webhook_url import UnfitUrl, host_of, is_public, parse_url


@pytest.mark.parametrize(
    "url",
    [
        "https://customer.example/hook?key=a%20b", "https://customer.example:8443", "https://user:pass@cafe.de/",
        "HTTPS://Customer.Example./", "https://xn--bcher-kva.example/", "https://a_b.example/", "https://8.8.8.8/",
        "https://[2606:4700::1111]/", "https://0x7f.example/", "https://1.example/",
    ],
)  # fmt: skip
def test_a_webhook_may_go_to_a_name_or_a_public_address(url: str) -> None:
    assert parse_url(url, private=False).scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "customer.example/hook", "ftp://customer.example/", "https://", "https:///hook", "https://:443/",
        "https://[bad", "https://[bad]/", "https://a:99999/", "https://a:0/", "https://a b/", "https://a..example/",
        "https://-a.example/", f"https://{'a' * 64}.example/", f"https://{'a.' * 127}example/", "https://xn--.example/",
        "https://public.example\\@127.0.0.1/", "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
        "https://b\u00fccher.example/", "https://%31%32%37.0.0.1/", f"https://customer.example/{'a' * 2048}",
        # what inet_aton takes for 127.0.0.1, and an address that it alone would understand
        "https://2130706433/", "https://127.1/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f000001/",
        "https://0/", "https://127.0.0.1./", "https://127.0.0.0x1/", "https://1.2.3.4.5/", "https://999.1.1.1/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("private", [False, True])
def test_what_is_no_url_with_a_host_is_refused_also_where_private_ones_are_allowed(url: str, private: bool) -> None:
    with pytest.raises(UnfitUrl, match="a URL with a host"):
        parse_url(url, private=private)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://customer.example/hook", "begins with https://"),
        ("https://127.0.0.1/", "public address"),
        ("https://[::1]:8443/", "public address"),
        ("https://u:p@10.0.0.8/", "public address"),
        ("https://[fe80::1%25eth0]/", "public address"),
    ],
)
def test_what_is_private_is_refused_unless_it_is_allowed(url: str, expected: str) -> None:
    with pytest.raises(UnfitUrl, match=expected):
        parse_url(url, private=False)
    assert str(parse_url(url, private=True))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "198.18.0.1",
        "192.0.2.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "255.255.255.255", "::", "::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:db8::1",
        "fc00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_one_hosts_on_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_any_other_address_is_public(address: str) -> None:
    assert is_public(address)


def test_only_the_host_of_a_url_is_ever_named() -> None:
    assert host_of("https://user:secret@Customer.example:8443/hook?key=secret") == "customer.example"
    for nonsense in ("nonsense", "https://[bad", ""):
        assert host_of(nonsense) == "unknown"
