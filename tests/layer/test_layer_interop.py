"""Other implementations at the other end: OpenSSL's command, libcoap with OpenSSL and with GnuTLS."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from layer.association import Association, AssociationConfig, Failed, HandshakeCompleted, Role
from layer.credentials import Credentials, Psk
from layer.events import Event
from layer.listener import DtlsListener, HandshakeRefused, PeerConnected, PeerData
from tests.harness.free_port import free_port
from tests.harness.layer_pair import Identity, authority, client_x509, device, server_identity, server_x509
from tests.harness.layer_pump import UdpServer, data_in, drive, output_until, program

KEY = b"0123456789abcdef"  # libcoap's commands take the key as text
DTLS = AssociationConfig(retransmit_initial=1.0)
PSK_CLIENT = Credentials(psk=Psk("dev", KEY))
PSK_SERVER = Credentials(psk_lookup={b"dev": KEY})
PSK_ARGUMENTS = ("-psk_identity", "dev", "-psk", KEY.hex())


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """PEM files of the device, the server and the authority."""
    made = {"ca": tmp_path / "ca.pem"}
    made["ca"].write_bytes(authority().pem)
    identities: dict[str, Identity] = {"device": device(), "server": server_identity()}
    for name, identity in identities.items():
        made[name] = tmp_path / f"{name}.pem"
        made[name].write_bytes(identity.chain)
        made[f"{name}_key"] = tmp_path / f"{name}.key"
        made[f"{name}_key"].write_bytes(identity.key_pem)
    return made


def coap_answer(request: bytes) -> bytes:
    """A piggybacked 2.05 with a short payload (RFC 7252 5.2.1)."""
    token_length = request[0] & 0x0F
    return bytes([0x60 | token_length, 0x45]) + request[2 : 4 + token_length] + b"\xffhello from atls"


def connected(server: UdpServer) -> PeerConnected:
    (event,) = (event for event in server.events if isinstance(event, PeerConnected))
    return event


def completed(found: list[Event]) -> bool:
    assert not any(isinstance(event, Failed) for event in found), found
    return any(isinstance(event, HandshakeCompleted) for event in found)


# Their client, our listener.


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
def test_libcoap_client_with_psk(library: str) -> None:
    with UdpServer(DtlsListener(PSK_SERVER, DTLS), coap_answer) as server:
        uri = f"coaps://127.0.0.1:{server.port}/x"
        with program(f"coap-client-{library}", "-B", "10", "-u", "dev", "-k", KEY.decode(), uri) as client:
            server.run(lambda: client.poll() is not None)
            assert client.stdout and b"hello from atls" in client.stdout.read()
        assert connected(server).info.peer.psk_identity == b"dev"


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
def test_libcoap_client_with_certificate(library: str, files: dict[str, Path]) -> None:
    with UdpServer(DtlsListener(server_x509(), DTLS), coap_answer, "localhost") as server:
        uri = f"coaps://localhost:{server.port}/x"
        certificates = ("-c", files["device"], "-j", files["device_key"], "-C", files["ca"])
        with program(f"coap-client-{library}", "-B", "10", *certificates, uri) as client:
            server.run(lambda: client.poll() is not None)
            assert client.stdout and b"hello from atls" in client.stdout.read()
        assert connected(server).info.peer.spki_sha256 == device().pin


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
def test_libcoap_client_with_wrong_psk_stalls_until_our_timeout(library: str) -> None:
    config = AssociationConfig(retransmit_initial=1.0, handshake_timeout=1.5)
    with UdpServer(DtlsListener(PSK_SERVER, config), coap_answer) as server:
        uri = f"coaps://127.0.0.1:{server.port}/x"
        with program(f"coap-client-{library}", "-B", "5", "-u", "dev", "-k", "fedcba9876543210", uri):
            server.run(lambda: bool(server.events))
        (event, *_) = server.events
        assert isinstance(event, HandshakeRefused) and "not finished" in event.reason


@pytest.mark.parametrize("suite", ["PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256", "ECDHE-PSK-CHACHA20-POLY1305"])
def test_openssl_dtls_client_with_psk(suite: str) -> None:
    with UdpServer(DtlsListener(PSK_SERVER, DTLS), bytes.upper) as server:
        command = ("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}")
        with program(*command, *PSK_ARGUMENTS, "-cipher", f"{suite}:@SECLEVEL=0", feed=b"shout\n") as client:
            server.run(lambda: any(isinstance(event, PeerData) for event in server.events))
            output_until(client, b"SHOUT")
        assert connected(server).info.suite == suite


def test_openssl_dtls_client_with_certificate(files: dict[str, Path]) -> None:
    with UdpServer(DtlsListener(server_x509(), DTLS), bytes.upper) as server:
        command = ("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}", "-verify_return_error")
        certificates = ("-cert", files["device"], "-key", files["device_key"], "-CAfile", files["ca"])
        with program(*command, *certificates, feed=b"shout\n") as client:
            server.run(lambda: any(isinstance(event, PeerData) for event in server.events))
            output_until(client, b"SHOUT")
        assert connected(server).info.peer.subject_alt_names[0] == "dns:lamp.example"


def test_openssl_dtls_client_without_certificate_is_refused(files: dict[str, Path]) -> None:
    with UdpServer(DtlsListener(server_x509(), DTLS), bytes.upper) as server:
        command = ("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}", "-CAfile", files["ca"])
        with program(*command) as client:
            server.run(lambda: bool(server.events))
            output_until(client, b"alert")
        (event,) = server.events
        assert isinstance(event, HandshakeRefused) and "did not return a certificate" in event.reason


# Our client, their server.


def udp(port: int) -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(("127.0.0.1", port))
    return link


def tcp(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def started(credentials: Credentials, config: AssociationConfig, role: Role = Role.CLIENT) -> Association:
    end = Association(role, credentials, config)
    end.start(time.monotonic())
    return end


@pytest.mark.parametrize("protocol", ["-dtls1_2", "-tls1_3", "-tls1_2"])
@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_openssl_server(protocol: str, kind: str, files: dict[str, Path]) -> None:
    port = free_port()
    certificates = ("-cert", files["server"], "-key", files["server_key"], "-CAfile", files["ca"], "-Verify", "1")
    ours = client_x509() if kind == "x509" else PSK_CLIENT
    theirs: tuple[str | Path, ...] = ("-nocert", *PSK_ARGUMENTS) if kind == "psk" else certificates
    if protocol == "-dtls1_2":
        theirs = (*theirs, "-listen")  # with cookies
    config = AssociationConfig(protocol=protocol[1:].replace("_", "."), retransmit_initial=1.0)  # type: ignore[arg-type]
    exporter = ("-keymatexport", "EXPORTER-atls", "-keymatexportlen", "16")
    with program("openssl", "s_server", protocol, "-accept", f"127.0.0.1:{port}", *theirs, *exporter) as server:
        output_until(server, b"ACCEPT")
        with udp(port) if protocol == "-dtls1_2" else tcp(port) as link:
            end = started(ours, config)
            drive(end, link, completed)
            assert end.info is not None
            assert end.info.peer.kind == ("psk" if kind == "psk" else "certificate")
            end.send(b"from the client\n", 0)
            drive(end, link, lambda found: True)
            shown = output_until(server, b"from the client")
            # OpenSSL's command exports without a context.
            assert end.export("EXPORTER-atls", None, 16).hex().upper().encode() in shown
            assert server.stdin
            server.stdin.write(b"from the server\n")
            server.stdin.flush()
            drive(end, link, lambda found: b"from the server" in data_in(found))
            end.close(time.monotonic())
            drive(end, link, lambda found: end.over if protocol == "-dtls1_2" else True)
            output_until(server, b"DONE|ERROR|shut ?down|CONNECTION CLOSED", shown)


@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_openssl_tls13_client(kind: str, files: dict[str, Path]) -> None:
    config = AssociationConfig(protocol="tls1.3")
    end = started(PSK_SERVER if kind == "psk" else server_x509(), config, Role.SERVER)
    certificates = ("-cert", files["device"], "-key", files["device_key"], "-CAfile", files["ca"])
    theirs: tuple[str | Path, ...] = PSK_ARGUMENTS if kind == "psk" else certificates
    with socket.create_server(("127.0.0.1", 0)) as waiting:
        waiting.settimeout(10)
        address = f"127.0.0.1:{waiting.getsockname()[1]}"
        with program("openssl", "s_client", "-tls1_3", "-connect", address, *theirs, feed=b"shout\n") as client:
            link, _ = waiting.accept()
            with link:
                found = drive(end, link, lambda found: completed(found) and b"shout\n" in data_in(found))
                assert end.info is not None
                assert end.info.peer.kind == ("psk" if kind == "psk" else "certificate")
                assert data_in(found) == b"shout\n"
                end.send(b"SHOUT\n", 0)
                end.close(0)
                drive(end, link, lambda found: True)
                output_until(client, b"SHOUT")


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_libcoap_server(library: str, kind: str, files: dict[str, Path]) -> None:
    port = free_port(2)
    certificates = ("-c", files["server"], "-j", files["server_key"], "-C", files["ca"])
    theirs: tuple[str | Path, ...] = ("-k", KEY.decode(), "-h", "hint") if kind == "psk" else certificates
    ours = PSK_CLIENT if kind == "psk" else client_x509()
    with program(f"coap-server-{library}", "-A", "127.0.0.1", "-p", str(port), *theirs), udp(port + 1) as link:
        end = started(ours, AssociationConfig(retransmit_initial=0.3, handshake_timeout=15.0))
        found: list[Event] = []
        while not completed(found):
            try:
                found = drive(end, link, completed)
            except ConnectionRefusedError:  # it is not listening yet
                time.sleep(0.1)
        assert end.info is not None
        assert end.info.peer.kind == ("psk" if kind == "psk" else "certificate")
        get_time = b"\x41\x01\x12\x34\x77\xb4time"
        end.send(get_time, 0)
        answer = data_in(drive(end, link, lambda found: bool(data_in(found))))
        assert answer[1] == 0x45  # 2.05 Content
        end.close(0)
        drive(end, link, lambda found: True)
