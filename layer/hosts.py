"""Addresses that count as one host: IPv4 one by one, IPv6 by /64, because a host there has as many as it likes."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from ipaddress import IPv4Address, ip_address

#: ``(ip, port, ...)`` as sockets give it, or any other hashable value, which then is its own host.
Address = Hashable


def ip_of(addr: Address) -> Hashable:
    """An address without its port."""
    return addr[0] if isinstance(addr, tuple) and addr else addr


@lru_cache(maxsize=1024)
def host_of(ip: Hashable) -> Hashable:
    """The host that an IP address counts as: its /64 (with the link, if it is link-local), or itself.

    An IPv4 address that an IPv6 socket shows as mapped (RFC 4291 2.5.5.2) is that IPv4 address.
    """
    if not isinstance(ip, str):
        return ip
    try:
        found = ip_address(ip)
    except ValueError:
        return ip
    if isinstance(found, IPv4Address):
        return ip
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return int(found) >> 64, found.scope_id
