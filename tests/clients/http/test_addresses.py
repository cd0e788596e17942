"""Which addresses the egress policy admits: the deny table at its edges, what hides inside addresses, openings."""

from ipaddress import ip_address, ip_network

import pytest

from clients.http.addresses import DENIED, METADATA, EgressPolicy

# Network, first and last address, and the nearest addresses outside that are public.
EDGES = [
    ("0.0.0.0/8", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
    ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255 11.0.0.0"),
    ("100.64.0.0/10", "100.64.0.0", "100.127.255.255", "100.63.255.255 100.128.0.0"),
    ("127.0.0.0/8", "127.0.0.0", "127.255.255.255", "126.255.255.255 128.0.0.0"),
    ("168.63.129.16/32", "168.63.129.16", "168.63.129.16", "168.63.129.15 168.63.129.17"),
    ("169.254.0.0/16", "169.254.0.0", "169.254.255.255", "169.253.255.255 169.255.0.0"),
    ("172.16.0.0/12", "172.16.0.0", "172.31.255.255", "172.15.255.255 172.32.0.0"),
    ("192.0.0.0/24", "192.0.0.0", "192.0.0.255", "191.255.255.255 192.0.1.0"),
    ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.1.255 192.0.3.0"),
    ("192.88.99.0/24", "192.88.99.0", "192.88.99.255", "192.88.98.255 192.88.100.0"),
    ("192.168.0.0/16", "192.168.0.0", "192.168.255.255", "192.167.255.255 192.169.0.0"),
    ("198.18.0.0/15", "198.18.0.0", "198.19.255.255", "198.17.255.255 198.20.0.0"),
    ("198.51.100.0/24", "198.51.100.0", "198.51.100.255", "198.51.99.255 198.51.101.0"),
    ("203.0.113.0/24", "203.0.113.0", "203.0.113.255", "203.0.112.255 203.0.114.0"),
    ("224.0.0.0/4", "224.0.0.0", "239.255.255.255", "223.255.255.255"),
    ("240.0.0.0/4", "240.0.0.0", "255.255.255.255", ""),
    ("::/96", "::", "::255.255.255.255", "::1:0:0"),
    (
        "64:ff9b::/96",
        "64:ff9b::",
        "64:ff9b::ffff:ffff",
        "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff 64:ff9b::1:0:0",
    ),
    ("64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:2::"),
    ("100::/64", "100::", "100::ffff:ffff:ffff:ffff", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 100:0:0:1::"),
    ("2001::/23", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:: 2001:200::"),
    ("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:: 2001:db9::"),
    ("2002::/16", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:: 2003::"),
    ("3fff::/20", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:: 3fff:1000::"),
    ("5f00::/16", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5eff:ffff:: 5f01::"),
    ("fc00::/7", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:: fe00::"),
    ("fe80::/10", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f:ffff::"),
    ("fec0::/10", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("ff00::/8", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
]
POLICY = EgressPolicy()


def admits(policy: EgressPolicy, address: str, port: int = 443) -> bool:
    return policy.admits(ip_address(address), port)


def test_the_edges_below_cover_the_whole_table() -> None:
    assert {ip_network(network) for network, *_ in EDGES} == set(DENIED)


@pytest.mark.parametrize(("network", "first", "last", "outside"), EDGES)
def test_a_denied_network_ends_exactly_where_the_table_says(network: str, first: str, last: str, outside: str) -> None:
    assert not admits(POLICY, first)
    assert not admits(POLICY, last)
    assert [address for address in outside.split() if not admits(POLICY, address)] == [], network


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1%eth0",
        "fec0::1%1",
    ],
)
def test_a_denied_address_inside_another_is_found(address: str) -> None:
    assert not admits(POLICY, address)


def test_a_mapped_public_address_is_judged_as_the_address_it_maps() -> None:
    assert admits(POLICY, "::ffff:93.184.215.14")


def test_an_opening_admits_its_network_and_nothing_beside_it() -> None:
    policy = EgressPolicy.parse(["10.1.0.0/16", "::1/128"])
    assert admits(policy, "10.1.255.255")
    assert admits(policy, "::1")
    assert admits(policy, "::ffff:10.1.0.1")
    assert not admits(policy, "10.2.0.0")
    assert not admits(policy, "127.0.0.1")


@pytest.mark.parametrize("entry", ["127.0.0.1/32:8123", "127.0.0.1:8123"])
def test_an_opening_with_a_port_is_for_that_port_only(entry: str) -> None:
    policy = EgressPolicy.parse([entry])
    assert admits(policy, "127.0.0.1", 8123)
    assert not admits(policy, "127.0.0.1", 5432)


def test_an_ipv6_opening_with_a_port_stands_in_brackets() -> None:
    policy = EgressPolicy.parse(["[fd12::/16]:443"])
    assert admits(policy, "fd12::1", 443)
    assert not admits(policy, "fd12::1", 80)


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0.0/8:http"])
def test_an_opening_that_cannot_be_read_is_refused(entry: str) -> None:
    with pytest.raises(ValueError):
        EgressPolicy.parse([entry])


def test_an_opened_translation_prefix_does_not_open_what_lies_behind_it() -> None:
    policy = EgressPolicy.parse(["64:ff9b::/96", "2002::/16", "2001::/32"])
    assert admits(policy, "64:ff9b::5db8:d70e")
    assert not admits(policy, "64:ff9b::a00:1")
    assert not admits(policy, "64:ff9b::a9fe:a9fe")
    assert admits(policy, "2002:5db8:d70e::1")
    assert not admits(policy, "2002:a00:1::1")
    assert not admits(policy, "2001:0:7f00:1::")


@pytest.mark.parametrize("address", sorted(METADATA, key=str), ids=str)
def test_a_metadata_address_needs_an_opening_and_the_flag(address: object) -> None:
    text, everything = str(address), ["0.0.0.0/0", "::/0"]
    assert not admits(POLICY, text)
    assert not admits(EgressPolicy(allow_metadata=True), text)
    assert not admits(EgressPolicy.parse(everything), text)
    assert admits(EgressPolicy.parse(everything, allow_metadata=True), text)
