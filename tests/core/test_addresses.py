"""Where a webhook may go: every form of an address that must not be reached, and those that may."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.addresses import allowed

NEVER = (
    *("169.254.169.254", "169.254.0.1", "169.254.255.255", "168.63.129.16", "100.100.100.200"),
    *("192.0.0.192", "fe80::1", "fe80::1%1", "febf:ffff::1", "fd00:ec2::254", "fd20:ce::254"),
    *("fd00:ec2::23", "fd00:ec2:ffff::1", "fd00:c1::a9fe:a9fe"),
    *("fd00:42::42", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "0:0:0:0:0:ffff:a9fe:a9fe"),
    *("::169.254.169.254", "::a9fe:a9fe", "::ffff:0:169.254.169.254", "64:ff9b::169.254.169.254"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::169.254.169.254", "64:ff9b:1:a9fe:00a9:fe00::"),
    *("64:ff9b:1:00a9:00fe:a9fe::", "64:ff9b:1:0:00a9:fea9:fe00::", "2002:a9fe:a9fe::"),
    *("2002:a9fe:a9fe:1::9", "2001:0:a9fe:a9fe::1", "2001:0:808:808:0:0:5601:5601"),
    *("2001:470::5efe:169.254.169.254", "2001:470::200:5efe:169.254.169.254"),
)  # fmt: skip
NOT_PUBLIC = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1"),
    *("192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::8.8.8.8"),
    *("fc00::1", "fdff::1", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "2001::1", "100::1"),
    *("2001:2::1", "2001:20::1", "5f00::1", "64:ff9b:1::8.8.8.8", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:100.64.0.1", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1"),
    *("2002:0a00:0001::", "2002:7f00:0001::", "::ffff:0:8.8.8.8", "2a00::5efe:10.0.0.1"),
    *("fd00:ec3::1", "fd00:c1::a9fe:a9ff"),
)
PUBLIC = (
    *("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"),
    *("192.0.1.1", "169.253.0.1", "169.255.0.1", "223.255.255.255", "2606:4700::1111"),
    *("2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:0808:0808::"),
)


@pytest.mark.parametrize("text", NEVER)
def test_what_gives_credentials_away_is_refused_always(text: str) -> None:
    assert not allowed(ip_address(text), "any")
    assert not allowed(ip_address(text), "public")


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_next_door_is_refused_only_where_it_was_asked_for(text: str) -> None:
    assert allowed(ip_address(text), "any")
    assert not allowed(ip_address(text), "public")


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_allowed(text: str) -> None:
    assert allowed(ip_address(text), "any")
    assert allowed(ip_address(text), "public")


@given(st.integers(0, (1 << 32) - 1))
def test_a_form_of_ipv6_is_never_allowed_where_its_ipv4_is_not(number: int) -> None:
    inside = IPv4Address(number)
    for prefix, shift in ((0xFFFF << 32, 0), (0x64FF9B << 96, 0), (0x2002 << 112, 80)):
        outside = IPv6Address(prefix | number << shift)
        for networks in ("any", "public"):
            assert allowed(outside, networks) == allowed(inside, networks), outside


@given(st.integers(0, (1 << 128) - 1).map(IPv6Address) | st.ip_addresses())
def test_public_allows_nothing_that_any_refuses_and_nothing_private(
    address: IPv4Address | IPv6Address,
) -> None:
    if allowed(address, "public"):
        assert allowed(address, "any")
        assert not any((address.is_loopback, address.is_link_local, address.is_multicast))
        assert isinstance(address, IPv6Address) or address.is_global
