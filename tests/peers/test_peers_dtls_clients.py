"""DTLS clients of other stacks at our listener: a hello in fragments gets in, and how each keeps to 1,152 octets.

Java is JSSE (javac and java), Mbed TLS what libmbedtls-dev has, GnuTLS and OpenSSL their own commands.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from layer.association import AssociationConfig
from layer.credentials import Credentials
from layer.listener import DtlsListener, PeerConnected, PeerData
from tests.harness.layer_pair import authority, server_identity
from tests.harness.layer_pump import UdpServer

HERE = Path(__file__).parent
DTLS = AssociationConfig(retransmit_initial=1.0)
UNIT = 1152


class Recorder(DtlsListener):
    """Our listener; notes what came before it looks at it, and is deaf as long as ``deaf`` says so."""

    def __init__(self, deaf: Callable[[bytes], bool] = lambda datagram: False) -> None:
        identity = server_identity()
        super().__init__(
            Credentials(certificate_chain=identity.chain, private_key=identity.key, trust_anchors=authority().pem), DTLS
        )
        self.came: list[bytes] = []
        self.missed = 0
        self._deaf = deaf

    def receive_datagram(self, data: bytes, addr: object, now: float) -> None:  # type: ignore[override]
        self.came.append(data)
        if self._deaf(data):
            self.missed += 1
            return
        self._deaf = lambda datagram: False
        super().receive_datagram(data, addr, now)  # type: ignore[arg-type]

    @property
    def largest(self) -> int:
        return max(map(len, self.came))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device whose certificate has some 2 kB, its key and its anchor; the Java and C clients, compiled."""
    folder = tmp_path_factory.mktemp("peers")
    device = authority().issue("big device", filler=1500)
    (folder / "device.pem").write_bytes(device.chain)
    (folder / "device.key").write_bytes(device.key_pem)
    (folder / "ca.pem").write_bytes(authority().pem)
    (folder / "device.der").write_bytes(device.leaf.public_bytes(Encoding.DER))
    (folder / "ca.der").write_bytes(authority().root.public_bytes(Encoding.DER))
    (folder / "key.der").write_bytes(device.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    subprocess.run(["javac", "-d", folder, HERE / "DtlsClient.java"], check=True)
    mbed = ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]
    subprocess.run(["gcc", "-Wall", "-o", folder / "mbed", HERE / "MbedClient.c", *mbed], check=True)
    return folder


def java(files: Path, port: int, size: int = 0, wait: int = 1000, names: int = 0) -> list[str]:
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", str(files), "DtlsClient", str(port)]
    return [
        *command,
        *(str(files / name) for name in ("device.der", "key.der", "ca.der")),
        str(size),
        str(wait),
        str(names),
    ]


def mbed(files: Path, port: int, size: int = 0, names: int = 0) -> list[str]:
    command = [str(files / "mbed"), str(port)]
    return [*command, *(str(files / name) for name in ("device.pem", "device.key", "ca.pem")), str(size), str(names)]


def gnutls(files: Path, port: int, size: int = 0) -> list[str]:
    credentials = [
        f"--x509cafile={files}/ca.pem",
        f"--x509certfile={files}/device.pem",
        f"--x509keyfile={files}/device.key",
    ]
    mtu = [f"--mtu={size}"] if size else []
    return [
        "gnutls-cli",
        "--udp",
        *mtu,
        "--priority=NORMAL",
        *credentials,
        "--sni-hostname=svc.example",
        "--verify-hostname=svc.example",
        f"--port={port}",
        "127.0.0.1",
    ]


def openssl(files: Path, port: int, size: int = 0) -> list[str]:
    credentials = ["-cert", f"{files}/device.pem", "-key", f"{files}/device.key", "-CAfile", f"{files}/ca.pem"]
    mtu = ["-mtu", str(size)] if size else []
    return ["openssl", "s_client", "-dtls1_2", *mtu, "-quiet", *credentials, "-connect", f"127.0.0.1:{port}"]


def served(listener: Recorder, command: Callable[[int], Sequence[str]], ends_within: float = 10.0) -> str:
    """Serve one client until its line was answered, and it ended or so many seconds are over; what it printed."""
    with UdpServer(listener, bytes.upper) as server:
        client = subprocess.Popen(
            command(server.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        printed: list[str] = []
        reader = threading.Thread(target=lambda: printed.append(client.stdout.read()))  # type: ignore[union-attr]
        reader.start()
        assert client.stdin
        try:
            client.stdin.write("hello from a command\n")
            client.stdin.flush()
            server.run(lambda: any(isinstance(event, PeerData) for event in server.events))
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(ends_within)
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
            reader.join()
            client.stdout.close()  # type: ignore[union-attr]
        assert sum(isinstance(event, PeerConnected) for event in server.events) == 1, printed
    return printed[0]


def is_fragment(datagram: bytes) -> bool:
    """Of a ClientHello."""
    return datagram[0] == 22 and datagram[13] == 1 and datagram[14:17] != datagram[22:25]


def test_java_whose_whole_hellos_were_lost_gets_in_with_fragments(files: Path) -> None:
    """A client that starts while the gateway is away: nine whole hellos, then fragments for good."""
    listener = Recorder(deaf=lambda datagram: not is_fragment(datagram))
    printed = served(listener, lambda port: java(files, port, wait=100))
    assert listener.missed >= 3
    assert "answer HELLO FROM JAVA" in printed
    hellos = [datagram for datagram in listener.came[listener.missed :] if datagram[0] == 22 and datagram[13] == 1]
    assert hellos and all(map(is_fragment, hellos))


@pytest.mark.parametrize("names", [4, 12])
def test_java_with_a_long_hello_in_small_packets(files: Path, names: int) -> None:
    listener = Recorder()
    printed = served(listener, lambda port: java(files, port, size=256, names=names))
    assert "answer HELLO FROM JAVA" in printed
    assert any(map(is_fragment, listener.came))
    assert listener.largest <= 256


def test_mbed_tls_with_a_long_hello_and_a_small_mtu(files: Path) -> None:
    """2.28 (Debian 12) sends its hello whole whatever its MTU is; 3.6 cuts it. Both get in."""
    listener = Recorder()
    printed = served(listener, lambda port: mbed(files, port, size=300, names=12))
    assert "answer HELLO FROM MBED" in printed, printed
    assert all(len(datagram) <= 300 for datagram in listener.came if datagram[0] != 22 or datagram[13] != 1)


#: How each stack keeps to a size (docs/carriage.md), and how long its client takes to end: a command doesn't.
STACKS: dict[str, tuple[Callable[..., list[str]], float]] = {
    "java": (java, 10.0),
    "mbed tls": (mbed, 10.0),
    "gnutls": (gnutls, 0.0),
    "openssl": (openssl, 0.0),
}


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_keeps_to_1152_octets_if_its_mtu_is_set(files: Path, stack: str) -> None:
    command, ends_within = STACKS[stack]
    listener = Recorder()
    served(listener, lambda port: command(files, port, UNIT), ends_within)
    assert listener.largest <= UNIT
    listener = Recorder()
    served(listener, lambda port: command(files, port), ends_within)
    assert listener.largest > UNIT  # no stack does so by itself
    print(stack, "by itself:", listener.largest)
