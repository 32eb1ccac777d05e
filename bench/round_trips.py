"""Counts the round trips of layer-0 handshakes, and writes the tables of docs/round-trips.md.

``python -m bench.round_trips`` prints the tables of OpenSSL (six seconds), ``--java`` those of SunJSSE as well, which
needs a JDK; ``--write`` puts what it counted into the page. How it counts: ``bench.round_trips_site``.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from bench.round_trips_ends import JsseStack, Stack, ours, python_ssl
from bench.round_trips_site import GRACE, Site, Trips
from bench.skipping_loop import SkippingLoop
from common.replacing import replace
from demo.credentials import Authority, make_psk_file
from endpoint.policy import Layer0Policy, read_policy
from endpoint.transports.gateway_link import Kind

PAGE: Final = Path(__file__).parents[1] / "docs" / "round-trips.md"
HOPS: Final = ("HTTP", "HTTP to the gateway", "HTTP from the gateway", "CoAP to the gateway", "CoAP from the gateway")
TWO_HOPS: Final = (HOPS[0], HOPS[3])
CLIENT, SERVER = "phone-in-the-hall.example", "door.example"
# Nothing here is near a size at which something is cut: signatures differ by some octets from run to run.
LONG: Final = tuple(f"name-{number:03}.of.a.long.certificate.example" for number in range(90))
POLICY: Final = """\
layer: 0
policy-version: 1
protocol: {protocol}
application: raw
credentials: {credentials}
"""
CERTIFICATES: Final = "{{certificate_file: {name}.pem, key_file: {name}.key, trust_file: ca.pem}}"
PSK: Final = "{{psk_file: pair.psk}}"

Table = list[list[str]]
"""Rows of cells, the heads first."""


class EndCredentials:
    """The files of both ends of layer 0, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = Authority.make(folder)
        for name, more in ((CLIENT, ()), (SERVER, ()), ("long.example", LONG)):
            leaf = authority.issue(name, more)
            found = x509.load_pem_x509_certificates(leaf.certificate.read_bytes())
            (folder / f"{name}.p12").write_bytes(
                pkcs12.serialize_key_and_certificates(
                    name.encode(), leaf.private, found[0], None, serialization.BestAvailableEncryption(b"atls")
                )
            )
        make_psk_file(folder / "pair.psk", "pair")

    def policy(self, name: str, protocol: str, credentials: str, more: str = "") -> Layer0Policy:
        path = self.folder / "policy.yaml"
        path.write_text(POLICY.format(protocol=protocol, credentials=credentials.format(name=name)) + more)
        return read_policy(path)

    def pair(self, protocol: str, credentials: str = CERTIFICATES, *, server: str = SERVER, groups: str = "") -> Stack:
        """Our endpoints. ``groups``: the server's, if they are not the client's."""
        more = f"groups: [{groups}]\n" if groups else ""
        client = self.policy(CLIENT, protocol, credentials)
        return ours(client, self.policy(server, protocol, credentials, more))

    def context(self, name: str, *, anonymous: bool = False) -> ssl.SSLContext:
        """As Python makes it, for TLS 1.3 and certificates of both ends; of the client alone if ``anonymous``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if name == SERVER else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.set_ecdh_curve("prime256v1")  # OpenSSL 3.5 would begin with a group that makes the hello 1.5 kB long
        context.verify_mode = ssl.CERT_NONE if anonymous else ssl.CERT_REQUIRED
        return context


def cell(trips: Trips) -> str:
    return " / ".join(f"{each:g}" for each in (trips.client, trips.both, trips.answer))


def flights(trips: Trips) -> str:
    return " ".join(map(str, trips.units))


class Counting:
    """Counts on sites of both kinds, one after the other."""

    def __init__(self, folder: Path, credentials: EndCredentials) -> None:
        self._folder = folder
        self._warm = {"atls": credentials.pair("tls1.3", PSK), "adtls": credentials.pair("dtls1.2", PSK)}

    async def rows(self, kind: Kind, hops: Iterable[str], stacks: Mapping[str, Callable[[], list[Stack]]]) -> Table:
        """A row for each: its name, a cell for each hop, the units of the flights. Of several stacks the last one
        counts; the others are to run before."""
        found = []
        (folder := self._folder / f"site-{len(list(self._folder.iterdir()))}").mkdir()
        async with Site(folder, kind) as site:
            for name, make in stacks.items():
                last = []
                for hop in hops:
                    await site.trips(hop, self._warm[kind])  # so that the connections of layer 1 are there
                    last.append([await site.trips(hop, stack) for stack in make()][-1])
                found.append([name, *map(cell, last), flights(last[-1])])
        return found


async def ours_table(counting: Counting, credentials: EndCredentials) -> Table:
    """The ends of ``atls-endpoint``."""

    def each(*arguments: str, **settings: str) -> Callable[[], list[Stack]]:
        stack = credentials.pair(*arguments, **settings)
        return lambda: [stack]

    head = ["handshake", *HOPS, "units"]
    streams = {
        "TLS 1.3, certificates": each("tls1.3"),
        "TLS 1.3, PSK": each("tls1.3", PSK),
        "TLS 1.3, certificates, the server lacks the client's first group": each("tls1.3", groups="P-256"),
        "TLS 1.3, the server's certificate has 5 kB": each("tls1.3", server="long.example"),
    }
    datagrams = {
        "DTLS 1.2, certificates": each("dtls1.2"),
        "DTLS 1.2, PSK": each("dtls1.2", PSK),
        "DTLS 1.2, the server's certificate has 5 kB": each("dtls1.2", server="long.example"),
    }
    return [head, *await counting.rows("atls", HOPS, streams), *await counting.rows("adtls", HOPS, datagrams)]


async def openssl_table(counting: Counting, credentials: EndCredentials) -> Table:
    """The distribution's OpenSSL by Python's ``ssl``, setting by setting."""

    def contexts(*, anonymous: bool = False) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        return credentials.context(CLIENT), credentials.context(SERVER, anonymous=anonymous)

    def plain() -> list[Stack]:
        return [python_ssl(*contexts())]

    def without_tickets() -> list[Stack]:
        client, server = contexts()
        server.num_tickets = 0
        return [python_ssl(client, server)]

    def resumed() -> list[Stack]:
        client, server = contexts()
        return [stack := python_ssl(client, server, resumes=True), stack]

    def anonymous() -> list[Stack]:
        return [python_ssl(*contexts(anonymous=True))]

    def without_compatibility() -> list[Stack]:
        client, server = contexts()
        for each in (client, server):
            each.options &= ~ssl.OP_ENABLE_MIDDLEBOX_COMPAT
        return [python_ssl(client, server)]

    settings = {
        "as it comes: two tickets": plain,
        "no tickets: `SSL_CTX_set_num_tickets(ctx, 0)`": without_tickets,
        "resumed by a ticket: `SSL_set_session`": resumed,
        "no client certificate: no `SSL_VERIFY_PEER` at the server": anonymous,
        "without `SSL_OP_ENABLE_MIDDLEBOX_COMPAT`": without_compatibility,
    }
    return [["OpenSSL, TLS 1.3", *TWO_HOPS, "units"], *await counting.rows("atls", TWO_HOPS, settings)]


async def java_table(counting: Counting, credentials: EndCredentials) -> Table:
    """SunJSSE, setting by setting. Each JVM has its own properties."""
    folder = credentials.folder
    fresh = iter(range(10_000))
    found: Table = [["SunJSSE", *TWO_HOPS, "units"]]
    with (
        JsseStack(folder) as jvm,
        JsseStack(folder, "-Djdk.tls.server.enableSessionTicketExtension=false") as stateful,
        JsseStack(folder, "-Djdk.tls.server.disableExtensions=psk_key_exchange_modes") as none,
        JsseStack(folder, "-Djdk.tls.namedGroups=secp384r1") as other,
        JsseStack(folder, "-Djdk.tls.client.useCompatibilityMode=false") as strict,
    ):

        def full(of: JsseStack, protocol: str, **settings: Any) -> Callable[[], list[Stack]]:
            return lambda: [of.stack(protocol, context=next(fresh), **settings)]

        def resumed(of: JsseStack, protocol: str, **settings: Any) -> Callable[[], list[Stack]]:
            return lambda: [stack := of.stack(protocol, context=next(fresh), **settings), stack]

        def between(client: Callable[[], Stack], server: Callable[[], Stack]) -> Callable[[], list[Stack]]:
            def made() -> list[Stack]:
                ours, theirs = client(), server()
                return [Stack(ours.kind, lambda is_server: (theirs if is_server else ours).of(is_server))]

            return made

        def java(protocol: str, of: JsseStack = jvm, **settings: Any) -> Callable[[], Stack]:
            return lambda: of.stack(protocol, context=next(fresh), **settings)

        streams = {
            "TLS 1.3 as it comes": full(jvm, "TLSv1.3"),
            "resumed": resumed(jvm, "TLSv1.3"),
            "resumed, `jdk.tls.server.enableSessionTicketExtension=false`": resumed(stateful, "TLSv1.3"),
            "no tickets: `jdk.tls.server.disableExtensions=psk_key_exchange_modes`": full(none, "TLSv1.3"),
            "the server has other groups: `jdk.tls.namedGroups`": between(java("TLSv1.3"), java("TLSv1.3", other)),
            "no client certificate: no `setNeedClientAuth`": full(jvm, "TLSv1.3", auth="none"),
            "`jdk.tls.client.useCompatibilityMode=false`": full(strict, "TLSv1.3"),
            "client OpenSSL (ours), server SunJSSE": between(lambda: credentials.pair("tls1.3"), java("TLSv1.3")),
            "client SunJSSE, server OpenSSL (ours)": between(java("TLSv1.3"), lambda: credentials.pair("tls1.3")),
        }
        found += await counting.rows("atls", TWO_HOPS, streams)
        small = {"size": 1152}
        datagrams = {
            "DTLS 1.2, `setMaximumPacketSize(1152)`, records of a flight packed": full(jvm, "DTLSv1.2", **small),
            "the same, each record a unit": full(jvm, "DTLSv1.2", packs=False, **small),
            "packed, `jdk.tls.server.enableSessionTicketExtension=false`": full(stateful, "DTLSv1.2", **small),
            "the same, resumed": resumed(stateful, "DTLSv1.2", **small),
            "client OpenSSL (ours), server SunJSSE, without tickets": between(
                lambda: credentials.pair("dtls1.2"), java("DTLSv1.2", stateful, **small)
            ),
            "client SunJSSE, server OpenSSL (ours)": between(
                java("DTLSv1.2", stateful, **small), lambda: credentials.pair("dtls1.2")
            ),
        }
        return [*found, *await counting.rows("adtls", TWO_HOPS, datagrams)]


Tables = Callable[[Counting, EndCredentials], Awaitable[Table]]
OF_OPENSSL: Final[tuple[Tables, ...]] = (ours_table, openssl_table)


def count(*wanted: Tables) -> list[Table]:
    """The tables, each from a real run."""

    async def run(folder: Path) -> list[Table]:
        (files := folder / "files").mkdir()
        credentials = EndCredentials(files)
        counting = Counting(folder, credentials)
        return [await each(counting, credentials) for each in wanted]

    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=lambda: SkippingLoop(GRACE)) as runner,
    ):
        return runner.run(run(Path(folder)))


def lines(table: Table) -> str:
    head, *rows = table
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, None, *rows) if row is not None).replace(
        "\n", "\n" + "|---" * len(head) + "|\n", 1
    )


def put_into(page: str, table: Table) -> str:
    """The page with ``table`` in the place of the one with the same head."""
    head = re.escape(f"| {' | '.join(table[0])} |\n")
    found, times = re.subn(rf"{head}(\|.*\n)*", lambda _: lines(table), page)
    if times != 1:
        raise SystemExit(f"{PAGE}: expected one table with the head {' | '.join(table[0])}")
    return found


def main() -> None:
    tables = count(*OF_OPENSSL, *((java_table,) if "--java" in sys.argv[1:] else ()))
    for table in tables:
        print(lines(table))
    if "--write" in sys.argv[1:]:
        page = PAGE.read_text()
        for table in tables:
            page = put_into(page, table)
        replace(PAGE, page, 0o644)


if __name__ == "__main__":
    main()
