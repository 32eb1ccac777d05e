"""What is right in form and would come to nothing: clients that can't come in, a certificate that they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from adapters.http.config import LISTEN, HttpTable
from adapters.http.identity import OF_CERTIFICATES, OF_TOKENS
from adapters.http.south_admission import ClientAdmission
from adapters.http.south_tls import ServerTls
from gateway.api.facts import PolicyFacts, listed

SOON: Final = timedelta(days=14)
"""So long before its end a certificate is doubted, or a quarter of its life before it if that is less."""

_IN_CLEAR: Final = (
    "tokens cross the network in clear: 127.0.0.1 is for a proxy on this machine, listen for clients elsewhere"
)


def doubts(
    table: HttpTable, tls: ServerTls | None, admission: ClientAdmission, facts: PolicyFacts, now: datetime
) -> Iterator[tuple[str, str]]:
    """Key and text of each. ``now``: with a time zone."""
    known = {claim.removeprefix(OF_TOKENS) for claim in admission.claims()}
    wanted = facts.who(OF_TOKENS)
    if lacking := [name for name, token in wanted.items() if token not in known]:
        yield "tokens_file", f"no token for {listed(lacking)}: they can't come in"
    if surplus := known - set(wanted.values()):
        yield "tokens_file", f"tokens of {listed(surplus)}, which the policy does not name: they may do nothing"
    proven = facts.who(OF_CERTIFICATES) | facts.who("san:")
    if proven and (tls is None or not tls.anchors):
        yield "trust_file", f"{listed(proven)} can't come in: certificates count with trust_file only"
    if table.http_listen is not None and not _on_loopback(table.http_listen):
        yield "http_listen", _IN_CLEAR
    if table.advertise is not None and not admission.is_name(host := urlsplit(table.advertise).netloc):
        yield "advertise", f"{host} is none of our names: requests are refused (421), unless a proxy changes their Host"
    if tls is not None:
        if (text := _of_its_time(tls, now)) is not None:
            yield "certificate_file", text
        if table.http_listen is None and (absent := _not_in(tls, table.names or ())):
            text = f"not in the certificate: {listed(absent)}; clients that call us so over https refuse it"
            yield "names", text


def _on_loopback(listen: str) -> bool:
    found = LISTEN.match(listen)
    host = "" if found is None else found["host"].strip("[]")
    return bool(host) and ip_address(host).is_loopback


def _of_its_time(tls: ServerTls, now: datetime) -> str | None:
    begin, end = tls.chain[0].not_valid_before_utc, tls.chain[0].not_valid_after_utc
    if now < begin:
        return f"it is not valid before {begin:%Y-%m-%d}: clients refuse it"
    if now >= end:
        return f"it ended on {end:%Y-%m-%d}: clients refuse it"
    if end - now < min(SOON, (end - begin) / 4):
        return (
            f"it ends on {end:%Y-%m-%d}, and clients refuse it from then on: put another one in its place, and reload"
        )
    return None


def _not_in(tls: ServerTls, names: list[str] | tuple[()]) -> list[str]:
    """Those of ``names`` that our certificate does not have (RFC 9525, section 6.3)."""
    certified = {name.lower() for name in tls.names()}
    return [each for each in names if not certified & {each, f"*.{each.partition('.')[2]}"}]
