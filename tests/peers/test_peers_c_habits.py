"""What Mbed TLS, wolfSSL and GnuTLS send: how long, in how many pieces, and what again (docs/write-an-endpoint.md).

Two programs of examples/write-an-endpoint/c back to back, and a pump in between that reads along.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import pytest

from tests.harness.any_endpoint import build_c
from tests.harness.layer_pair import authority

STACKS = ("mbedtls", "wolfssl", "gnutls")
HANDSHAKE, CLIENT_HELLO, HELLO_VERIFY_REQUEST = 22, 1, 3
LAST_FLIGHT = 20
"""ChangeCipherSpec begins it."""


def version(stack: str) -> tuple[int, int]:
    """Of the library that is installed."""
    if stack == "mbedtls":
        number = ctypes.CDLL("libmbedcrypto.so").mbedtls_version_get_number()
        return number >> 24, number >> 16 & 255
    name = ctypes.CDLL("libwolfssl.so").wolfSSL_lib_version
    name.restype = ctypes.c_char_p
    major, minor, *_ = name().decode().split(".")
    return int(major), int(minor)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials of two ends: certificates of 1.8 kB."""
    folder = tmp_path_factory.mktemp("habits")
    (folder / "ca.pem").write_bytes(authority().pem)
    for role in ("client", "server"):
        identity = authority().issue(role, filler=1500)
        (folder / f"{role}.pem").write_bytes(identity.chain)
        (folder / f"{role}.key").write_bytes(identity.key_pem)
    return folder


class Talk:
    """A client that says one word, and a server; each unit between them is noted, and may be lost."""

    def __init__(self, files: Path, client: str, server: str, *options: str, lost: Iterable[str] = ()) -> None:
        """``lost``: ``client 0`` is the client's first unit."""
        self.units: dict[str, list[bytes]] = {"client": [], "server": []}
        self._lost = set(lost)
        said = {"client": ["-m", "hello", "-x"], "server": ["-s", "-e", "1"]}
        proof = {role: ["-c", f"{role}.pem", "-k", f"{role}.key", "-a", "ca.pem"] for role in said}
        self._processes = {
            role: subprocess.Popen(
                [program, *options, *proof[role], *said[role]],
                cwd=files,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for role, program in (("client", client), ("server", server))
        }
        pumps = [
            threading.Thread(target=self._pump, args=pair) for pair in (("client", "server"), ("server", "client"))
        ]
        for pump in pumps:
            pump.start()
        self.ended = [self._end(process) for process in self._processes.values()]
        for pump in pumps:
            pump.join()
        for process in self._processes.values():
            for stream in (process.stdin, process.stdout, process.stderr):
                assert stream
                with contextlib.suppress(BrokenPipeError):  # of what it did not read
                    stream.close()

    @property
    def done(self) -> bool:
        return self.ended == [0, 0]

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(6)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _pump(self, sender: str, receiver: str) -> None:
        out, into = self._processes[sender].stdout, self._processes[receiver].stdin
        assert out and into
        while size := int.from_bytes(out.read(4), "big"):
            unit = out.read(size)
            name = f"{sender} {len(self.units[sender])}"
            self.units[sender].append(unit)
            if name not in self._lost:
                write(into, size.to_bytes(4, "big") + unit)
        write(into, bytes(4))


def write(stream: IO[bytes], octets: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended
        stream.write(octets)
        stream.flush()


def records(unit: bytes) -> list[bytes]:
    """The DTLS records of a datagram (RFC 6347 4.1)."""
    found = []
    while unit:
        size = 13 + int.from_bytes(unit[11:13], "big")
        found.append(unit[:size])
        unit = unit[size:]
    return found


Built = Callable[..., str]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A stack behind a pipe, which waits one second for an answer; ``options`` go to the compiler."""
    folder = tmp_path_factory.mktemp("c")

    def built(stack: str, *options: str) -> str:
        return str(build_c(folder, stack, "pipe", "-DFIRST_TIMEOUT=1", *options))

    return built


@pytest.mark.parametrize("stack", STACKS)
def test_longest_datagram_with_a_long_certificate(files: Path, program: Built, stack: str) -> None:
    """wolfSSL, as Debian builds it, has no ``wolfSSL_dtls_set_mtu``."""
    talk = Talk(files, program(stack), program(stack), "-d")
    assert talk.done
    longest = max(map(len, talk.units["client"] + talk.units["server"]))
    assert longest == 1400 if stack == "wolfssl" else 1000 < longest <= 1152


def test_gnutls_gives_each_handshake_message_a_datagram(files: Path, program: Built) -> None:
    talk = Talk(files, program("gnutls"), program("gnutls"), "-d")
    assert talk.done
    assert {len(records(unit)) for units in talk.units.values() for unit in units} == {1}
    talk = Talk(files, program("mbedtls"), program("wolfssl"), "-d")
    assert talk.done
    assert all(max(len(records(unit)) for unit in units) > 1 for units in talk.units.values())


def test_mbed_tls_makes_its_datagrams_smaller_when_a_flight_was_lost_twice(files: Path, program: Built) -> None:
    lost = [f"client {number}" for number in range(1, 20)]
    talk = Talk(files, program("mbedtls"), program("gnutls"), "-d", lost=lost)
    assert not talk.done
    assert max(map(len, talk.units["client"])) > 1000
    assert len(talk.units["client"][-1]) <= 508 and len(talk.units["client"][-2]) <= 508


def test_a_client_of_gnutls_sends_no_change_cipher_spec_in_tls_1_3(files: Path, program: Built) -> None:
    """It would, in a unit by itself."""
    talk = Talk(files, program("gnutls"), program("wolfssl"))
    assert talk.done
    assert LAST_FLIGHT not in [unit[0] for unit in talk.units["client"]]


@pytest.mark.parametrize("stack", STACKS)
def test_only_a_server_of_wolfssl_asks_for_a_cookie(files: Path, program: Built, stack: str) -> None:
    talk = Talk(files, program("gnutls"), program(stack), "-d")
    assert talk.done
    assert (talk.units["server"][0][13] == HELLO_VERIFY_REQUEST) == (stack == "wolfssl")


@pytest.mark.parametrize("stack", STACKS)
def test_a_server_repeats_its_last_flight_but_not_that_of_wolfssl_5_5(files: Path, program: Built, stack: str) -> None:
    whole = Talk(files, program("mbedtls"), program(stack), "-d")
    assert whole.done
    begins = [unit[0] for unit in whole.units["server"]].index(LAST_FLIGHT)
    lost = [f"server {number}" for number in range(begins, len(whole.units["server"]))]
    talk = Talk(files, program("mbedtls"), program(stack), "-d", lost=lost)
    repeats = stack != "wolfssl" or version(stack) >= (5, 7)
    assert talk.done == repeats
    assert ([unit[0] for unit in talk.units["server"]].count(LAST_FLIGHT) > 1) == repeats


@pytest.mark.parametrize("stack", STACKS)
def test_which_servers_take_a_hello_in_fragments(files: Path, program: Built, stack: str) -> None:
    """GnuTLS and Mbed TLS 3.6; Mbed TLS 2.28 gives up without a word, and wolfSSL goes on waiting."""
    talk = Talk(files, program("gnutls", "-DLONGEST_DATAGRAM=200"), program(stack), "-d")
    assert [unit[13] for unit in talk.units["client"][:2]] == [CLIENT_HELLO] * 2
    assert talk.done == (stack == "gnutls" or (stack == "mbedtls" and version(stack) >= (3, 6)))
    assert talk.done or talk.units["server"] == []


@pytest.mark.parametrize("stack", STACKS)
def test_no_tickets_come_after_a_handshake(files: Path, program: Built, stack: str) -> None:
    """Each stack has its own way to switch them off; a server that says nothing sends no more than its flights."""
    talk = Talk(files, program("gnutls"), program(stack))
    assert talk.done
    flights = 2 if stack == "mbedtls" and version(stack) < (3, 6) else 1  # TLS 1.2
    assert len(talk.units["server"]) == flights


def test_a_client_of_wolfssl_needs_no_second_hello(files: Path, program: Built) -> None:
    """It would with its own order of groups."""
    talk = Talk(files, program("wolfssl"), program("gnutls"))
    assert talk.done
    assert [unit[5] for unit in talk.units["client"] if unit[0] == HANDSHAKE] == [CLIENT_HELLO]
