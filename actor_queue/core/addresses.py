"""Which addresses a webhook may be sent to: a rule about numbers, whatever they were written as.

A name, a decimal number, `0x7f.1` and a DNS answer all end as an address, and that is what is
judged here. IPv6 has several ways to say an IPv4 address; each is taken out and judged, too.

What answers on link-local and metadata addresses gives a machine's credentials to whoever asks from
that machine, and no receiver is there, so these are refused always. The networks are written down
here, because `is_global` of `ipaddress` differs between releases of Python. They are those of the
special-purpose registries of IANA (RFC 6890 and its updates).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from actor_queue.core.settings import Networks

Address = IPv4Address | IPv6Address

_NEVER: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # Amazon's services of a machine: metadata, DNS, time, credentials
        "fd00:c1::a9fe:a9fe/128",  # metadata of Oracle
        "fd20:ce::254/128",  # metadata of Google
        "fd00:42::42/128",  # metadata of Scaleway
        "100.100.100.200/32",  # metadata of Alibaba
        "168.63.129.16/32",  # the host of a machine at Azure
        "192.0.0.192/32",  # metadata of Oracle
    )
)
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast and reserved
        "2001::/23",  # of protocols, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
    )
)
_GLOBAL: Final = IPv6Network("2000::/3")
"""All of IPv6 that has been given out. What is outside is public only where it stands for IPv4."""
_STANDS_FOR: Final = (
    (IPv6Network("::ffff:0:0/96"), 96),  # mapped
    (IPv6Network("64:ff9b::/96"), 96),  # NAT64
    (IPv6Network("2002::/16"), 16),  # 6to4
)
"""Prefixes of IPv6 that reach an IPv4 address, with the bit at which it begins."""
_MAY_STAND_FOR: Final = (
    (IPv6Network("::/96"), (96,)),  # compatible
    (IPv6Network("::ffff:0:0:0/96"), (96,)),  # translated (RFC 2765)
    (IPv6Network("64:ff9b:1::/48"), (96,)),  # NAT64 of one's own (RFC 8215)
    (IPv6Network("2001::/32"), (32,)),  # the server of Teredo; the client is below
)
"""Prefixes that are not public themselves, and might be led to an IPv4 address."""
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


def allowed(address: Address, networks: Networks) -> bool:
    """Whether a webhook may be sent there."""
    if any(_is_in(each, _NEVER) for each in (address, *_embedded(address))):
        return False
    return networks == "any" or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        for network, bit in _STANDS_FOR:
            if address in network:
                return _is_public(_ipv4(address, bit))
        if address not in _GLOBAL:
            return False
    return not any(_is_in(each, _NOT_PUBLIC) for each in (address, *_embedded(address)))


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """Each IPv4 address that a router might take out of it."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    for network, bit in _STANDS_FOR:
        if address in network:
            yield _ipv4(address, bit)
    for network, bits in _MAY_STAND_FOR:
        if address in network:
            yield from (_ipv4(address, bit) for bit in bits)
    if address in IPv6Network("2001::/32"):
        yield IPv4Address(~number & 0xFFFF_FFFF)  # Teredo writes its client's inverted
    if address in IPv6Network("64:ff9b:1::/48"):
        # RFC 6052 leaves the bits 64 to 71 out where the prefix is 48, 56 or 64 long.
        yield IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
        yield IPv4Address((number >> 64 & 0xFF) << 24 | number >> 32 & 0xFF_FFFF)
        yield IPv4Address(number >> 24 & 0xFFFF_FFFF)
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFF_FFFF)


def _ipv4(address: IPv6Address, bit: int) -> IPv4Address:
    return IPv4Address(int(address) >> (96 - bit) & 0xFFFF_FFFF)


def _is_in(address: Address, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(address in network for network in networks)
