"""What a service's name may resolve to. A name is looked up once for a connection, and the address that was judged is
the one that is called, so that a name server can't have us call inside our own network.

An address that stands in a url, and ``localhost``, were chosen by a person and are called in any case. With a proxy the
proxy's address is judged; the service's is the proxy's business.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

_PRIVATE: Final = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
"""RFC 1918, RFC 6598, RFC 4193. Python's own word for private covers what is no host's, too."""
_UNICAST: Final = tuple(map(ip_network, ("0.0.0.0/0", "2000::/3")))
"""What may be public: of IPv6 nothing else was ever given to hosts (RFC 4291, section 2.4; IANA)."""
_DOCUMENTATION: Final = ip_network("3fff::/20")
"""RFC 9637; Python before 3.13 doesn't know it."""
_NAT64: Final = ip_network("64:ff9b::/96")
_LOCALHOST: Final = "localhost"


def class_of(address: IPv4Address | IPv6Address) -> str:
    """``public``, ``private``, ``loopback``, ``link-local`` or ``special``: multicast and what is no host's."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return class_of(inner)
    if address.is_multicast or address.is_unspecified or int(address) == 0xFFFF_FFFF:
        return "special"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_global and any(address in network for network in _UNICAST) and address not in _DOCUMENTATION:
        return "public"
    return "private" if any(address in network for network in _PRIVATE) else "special"


class JudgedAddresses(AbstractResolver):
    """``allowed``: the classes of addresses that may be called. OSError: the name resolves to none of them."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        allowed = self._allowed | {"loopback"} if host.rstrip(".").lower() == _LOCALHOST else self._allowed
        results, refused = [], set()
        for kind, _, protocol, _, place in found:
            address = str(place[0])
            sort = class_of(ip_address(address.partition("%")[0]))
            if sort in allowed:
                results.append(
                    ResolveResult(
                        hostname=host, host=address, port=port, family=kind, proto=protocol,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )  # fmt: skip
            else:
                refused.add(sort)
        if not results:
            raise OSError(
                None, f"the name resolves to {' and '.join(sorted(refused))} addresses, which may not be called"
            )
        return results

    async def close(self) -> None:
        """Nothing is kept."""
