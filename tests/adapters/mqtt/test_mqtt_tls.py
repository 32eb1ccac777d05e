"""TLS with certificates on both sides, at a real Mosquitto: status names each fault, and a mended file works."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509

from adapters.mqtt.reason_codes import no_broker
from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.harness.gateway_in_loop import until
from tests.harness.layer_pair import Authority

MUTUAL = ("require_certificate true", "use_identity_as_username true")
EXPIRED = (-3, -1)


def hold(home: MqttHome, name: str = "gateway", authority: Authority | None = None, **more: Any) -> None:
    """Give the gateway a certificate."""
    identity = (authority or home.authority).issue(name, x509.DNSName(name), **more)
    home.write("mine.pem", identity.chain)
    home.write("mine.key", identity.key_pem, 0o600)


def present(home: MqttHome, **more: Any) -> None:
    """Give the broker another certificate; it takes it when it starts."""
    identity = home.authority.issue("broker", x509.DNSName("localhost"), **more)
    home.write("broker.pem", identity.chain)
    home.write("broker.key", identity.key_pem)
    home.broker.kill()
    home.broker.start()


@pytest.fixture
async def mutual(start: Start) -> MqttHome:
    """A broker that asks for certificates; the gateway has one that it doesn't know the issuer of."""
    first = Authority("elsewhere").issue("gateway")
    table = {"certificate_file": "mine.pem", "key_file": "mine.key", "user": None, "password_file": None}
    home = await start(lines=MUTUAL, files={"mine.pem": first.chain, "mine.key": first.key_pem}, devices={}, **table)
    assert isinstance(home, MqttHome)
    return home


async def test_a_certificate_is_the_login_and_can_be_renewed_while_we_run(mutual: MqttHome) -> None:
    await until(lambda: "certificate_file" in mutual.state.trouble)
    assert "it doesn't know who issued certificate_file" in mutual.state.trouble
    hold(mutual, days=EXPIRED)
    await until(lambda: "certificate_file has expired" in mutual.state.trouble)
    hold(mutual, name="mallory")
    await until(
        lambda: "check its ACL" in mutual.state.trouble, 20.0
    )  # its certificate lets it in, the access list does not know it
    clients = [part._client for part in (mutual.sessions, mutual.devices)]
    await until(lambda: all(client.is_connected for client in clients), 20.0)  # a later one would stay mallory
    hold(mutual)
    for client in clients:
        client.end("cut")
    await until(lambda: mutual.state.ready, 20.0)
    status = mutual.adapter.status()
    assert status["link"] == "tls1.3" and status["devices"]["connected"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ca_file": "other.pem"}, "ca_file doesn't vouch for its certificate"),
        ({"server_name": "elsewhere.example"}, "its certificate is for another name: check broker or server_name"),
        ({"lines": MUTUAL}, "it asks for our certificate: set certificate_file and key_file"),
        ({"broker_tls": False}, "it may speak no TLS at this port: check broker and tls"),
    ],
)
async def test_a_tls_fault_is_named_in_status(start: Start, table: dict[str, Any], message: str) -> None:
    home = await start(files={"other.pem": Authority("other").pem}, **table)
    await until(lambda: message in home.state.trouble)
    assert home.state.trouble.startswith(f"no broker at localhost:{home.broker.port}: ")
    assert home.adapter.status()["connected"] is False


async def test_the_broker_s_certificate_expires_and_is_replaced(start: Start) -> None:
    home = await start(devices={})
    await until(lambda: home.state.ready)
    present(home, days=EXPIRED)
    await until(lambda: "its certificate has expired" in home.state.trouble)
    present(home)
    await until(lambda: home.state.ready)
    app = await home.user("app")
    await app.open("lamp")


def test_a_session_taken_over_advises_a_client_id_for_each_gateway() -> None:
    message = no_broker("h", 1, "the broker disconnects: Session taken over")
    assert message.endswith("; another program has our client_id, such as a second gateway: give each its own")


def test_words_without_advice_stay_as_they_are() -> None:
    assert no_broker("h", 1, "connection lost") == "no broker at h:1: connection lost"
