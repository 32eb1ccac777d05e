"""What stacks send in pieces, twice or late, as docs/write-an-endpoint.md has it: two programs of
examples/write-an-endpoint joined by pipes, so that nothing gets lost in between."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from demo.credentials import Authority
from tests.harness.any_endpoint import EXAMPLES, PEERS

pytestmark = pytest.mark.process
OPENSSL = [sys.executable, str(EXAMPLES / "openssl_program.py")]
PYTHON = [sys.executable, str(EXAMPLES / "python_program.py")]
JAVA = ["java", "-cp", ".", "TlsEndpoint"]
JAVA_WITHOUT_TICKETS = ["java", "-Djdk.tls.server.enableSessionTicketExtension=false", *JAVA[1:]]
LATE = ["sh", "-c", 'sleep 2.5; exec "$@"', "late"]
"""Before a program: it starts after OpenSSL's first two timers."""
ALERT, CCS, CLIENT_HELLO, HELLO_VERIFY, TICKET, FINISHED = "alert", "ccs", "1", "3", "4", "finished"

Joined = Callable[..., dict[str, list[bytes]]]


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Joined:
    """Runs a client and a server to their ends; the units that each sent."""
    folder = tmp_path_factory.mktemp("habits")
    authority = Authority.make(folder)
    for role in PEERS:
        authority.issue(role)
    sources = (EXAMPLES / "java").glob("*.java")
    subprocess.run(["javac", "-d", folder, *sources], check=True)

    def run(
        kind: str, client: list[str], server: list[str], *more: str, mistaken: str | None = None
    ) -> dict[str, list[bytes]]:
        """``more``: options of the server. ``mistaken``: the role of the end that expects another name."""
        programs = {
            role: subprocess.Popen(
                [
                    *command,
                    role,
                    kind,
                    *files(role, mistaken),
                    f"I am the {role}",
                    *options,
                ],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for role, command, options in (("client", client, ()), ("server", server, more))
        }
        units: dict[str, list[bytes]] = {role: [] for role in PEERS}
        logs: dict[str, bytes] = {}

        def carry(role: str) -> None:
            source, sink = programs[role].stdout, programs[PEERS[role]].stdin
            assert source is not None and sink is not None
            with contextlib.suppress(BrokenPipeError), source, sink:
                while size := int.from_bytes(source.read(4), "big"):
                    units[role].append(source.read(size))
                    with contextlib.suppress(BrokenPipeError):  # the other end has ended
                        sink.write(size.to_bytes(4, "big") + units[role][-1])
                        sink.flush()

        def listen(role: str) -> None:
            stream = programs[role].stderr
            assert stream is not None
            with stream:
                logs[role] = stream.read()

        threads = [threading.Thread(target=target, args=(role,)) for target in (carry, listen) for role in PEERS]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join(60)
            assert not any(thread.is_alive() for thread in threads)
        finally:
            for program in programs.values():
                program.kill()
                program.wait()
        for role, peer in PEERS.items():
            heard = f"heard: I am the {peer}\n".encode() in logs[role]
            assert heard or mistaken, logs
            assert not (heard and role == mistaken), logs
        return units

    return run


def files(role: str, mistaken: str | None) -> list[str]:
    return [f"{role}.pem", f"{role}.key", "ca.pem", "another" if role == mistaken else PEERS[role]]


def messages(datagram: bytes) -> list[str]:
    """The records of a datagram of DTLS: the type of a handshake message in clear, or a word."""
    found = []
    while datagram:
        kind, encrypted, size = datagram[0], datagram[4] > 0, 13 + int.from_bytes(datagram[11:13], "big")
        found.append({20: CCS, 21: ALERT, 23: "data"}.get(kind) or (FINISHED if encrypted else str(datagram[13])))
        datagram = datagram[size:]
    return found


def of(datagrams: list[bytes]) -> list[list[str]]:
    return [messages(each) for each in datagrams]


SECOND_FLIGHT = ["11", "16", "15", CCS, FINISHED]
"""A client's Certificate, ClientKeyExchange, CertificateVerify, ChangeCipherSpec and Finished."""


def test_openssl_puts_a_flight_into_one_datagram_and_java_each_message(joined: Joined) -> None:
    assert SECOND_FLIGHT in of(joined("adtls", OPENSSL, PYTHON)["client"])
    sent = of(joined("adtls", JAVA, PYTHON)["client"])
    at = sent.index([SECOND_FLIGHT[0]])
    assert sent[at : at + 5] == [[each] for each in SECOND_FLIGHT]


@pytest.mark.parametrize("server", [JAVA, JAVA_WITHOUT_TICKETS], ids=["tickets", "none"])
def test_java_sends_the_last_flight_of_a_dtls_server_twice(joined: Joined, server: list[str]) -> None:
    units = joined("adtls", PYTHON, server)["server"]
    sent = of(units)
    assert sent.count([CCS]) == sent.count([FINISHED]) == 2
    tickets = [len(unit) for unit, what in zip(units, sent, strict=True) if what == [TICKET]]
    if server is JAVA:
        flight = tickets[: len(tickets) // 2]
        assert tickets == 2 * flight and 900 < sum(flight) < 1700
    else:
        flight = [len(unit) for unit, what in zip(units, sent, strict=True) if what in ([CCS], [FINISHED])]
        assert not tickets and sum(flight) == 2 * 75


def test_java_sends_a_ticket_of_tls_1_3_after_the_handshake(joined: Joined) -> None:
    """It holds the client's certificate, unless the server keeps it."""
    assert 900 < max(map(len, joined("atls", PYTHON, JAVA)["server"][-3:])) < 1700
    assert max(map(len, joined("atls", PYTHON, JAVA_WITHOUT_TICKETS)["server"][-3:])) < 100


def after_the_hello(units: list[bytes]) -> list[int]:
    """Sizes of the records in a server's units, but for the first one, which ends with its Finished."""
    octets, sizes = b"".join(units[1:]), list[int]()
    while octets:
        sizes.append(5 + int.from_bytes(octets[3:5], "big"))
        octets = octets[sizes[-1] :]
    return sizes


@pytest.mark.parametrize("server", [OPENSSL, PYTHON], ids=["3", "4"])
def test_openssl_sends_two_tickets_of_tls_1_3_after_the_handshake(joined: Joined, server: list[str]) -> None:
    """A record each, with the client's certificate in it."""
    first, second, *others = after_the_hello(joined("atls", JAVA, server)["server"])
    assert first == second > 500 and max(others) < 100
    if server is OPENSSL:
        assert max(after_the_hello(joined("atls", JAVA, server, "-num_tickets", "0")["server"])) < 100


def test_the_commands_of_openssl_repeat_a_hello_that_is_not_answered_in_a_second(joined: Joined) -> None:
    """Our two programs wait for as long as a slow hop may take."""
    assert of(joined("adtls", OPENSSL, [*LATE, *PYTHON])["client"]).count([CLIENT_HELLO]) >= 2
    for program in (PYTHON, JAVA):
        assert of(joined("adtls", program, [*LATE, *PYTHON])["client"]).count([CLIENT_HELLO]) == 1


@pytest.mark.parametrize("server", [JAVA, OPENSSL], ids=["java", "openssl"])
def test_some_servers_ask_for_a_cookie(joined: Joined, server: list[str]) -> None:
    assert [HELLO_VERIFY] in of(joined("adtls", PYTHON, server)["server"])


def test_a_server_of_pyopenssl_asks_for_no_cookie(joined: Joined) -> None:
    assert [HELLO_VERIFY] not in of(joined("adtls", JAVA, PYTHON)["server"])


def test_the_first_hello_of_openssl_4_is_longer_than_a_kilobyte_in_tls(joined: Joined) -> None:
    """It has the key share of ML-KEM; the one of OpenSSL 3 and Java has not."""
    assert len(joined("atls", PYTHON, JAVA)["client"][0]) > 1152
    for program in (OPENSSL, JAVA):
        assert len(joined("atls", program, PYTHON)["client"][0]) < 512


def test_no_datagram_is_longer_than_1152(joined: Joined) -> None:
    for client, server in ((OPENSSL, JAVA), (JAVA, PYTHON), (PYTHON, OPENSSL)):
        for units in joined("adtls", client, server).values():
            assert max(map(len, units)) <= 1152


@pytest.mark.parametrize("kind", ["atls", "adtls"])
@pytest.mark.parametrize("mistaken", PEERS)
@pytest.mark.parametrize("program", [OPENSSL, PYTHON, JAVA], ids=["openssl", "python", "java"])
def test_each_program_refuses_a_certificate_with_another_name(
    joined: Joined, program: list[str], mistaken: str, kind: str
) -> None:
    other = JAVA if program is PYTHON else PYTHON
    joined(kind, *((program, other) if mistaken == "client" else (other, program)), mistaken=mistaken)
