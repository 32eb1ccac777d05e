"""Keys that were added, taken away or changed count for a running adapter; anything else takes a fresh instance."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from carriage.coap import atls_client
from gateway.api.errors import TransportError
from gateway.api.model import Close, Reason
from tests.adapters.coap.restarting import restarted
from tests.harness.coap_devices import POLICY as DEVICES
from tests.harness.coap_devices import Device, observe, watches
from tests.harness.coap_gateway import PSKS, Home, adopted, lines, opened
from tests.harness.gateway_in_loop import until


@pytest.fixture
def guest() -> Iterator[str]:
    PSKS["guest"] = b"guest" * 4
    yield "guest"
    del PSKS["guest"]


async def test_a_client_that_was_added_can_come_and_the_others_stay(start, guest) -> None:
    home: Home = await start()
    phone = await home.client("phone")
    session = await opened(phone, "tablet")
    assert adopted(home, lines("phone", "tablet", "stranger", guest))
    await home.client(guest)
    answer = await phone.request(atls_client.close_request(session))
    assert answer.code, "the connection from before is still the same"
    assert home.adapter.status()["clients"] == 2


@pytest.mark.parametrize("line", [b"", b"phone:" + b"00" * 16 + b"\n"], ids=["taken away", "another key"])
async def test_whose_key_is_not_good_any_more_is_put_out_with_its_sessions(start, line) -> None:
    home: Home = await start()
    phone, tablet = await home.client("phone"), await home.client("tablet")
    to_lamp, to_tablet = await opened(phone, "lamp"), await opened(phone, "tablet")
    other = await opened(tablet, "lamp")
    await until(lambda: len(home.far.orders) >= 2)
    assert adopted(home, line + lines("tablet", "stranger"))
    assert home.adapter.status()["clients"] == 1
    assert {view.session for view in home.hub.engine.all_sessions()} == {other}
    await until(lambda: any(isinstance(order.envelope, Close) for order in home.far.orders))
    (close,) = (order.envelope for order in home.far.orders if isinstance(order.envelope, Close))
    assert isinstance(close, Close) and (close.session, close.reason) == (to_lamp, Reason.DENIED)
    with pytest.raises(TransportError):
        await phone.request(atls_client.close_request(to_lamp))
    answer = await tablet.request(atls_client.close_request(to_tablet))  # its association is the same, the session gone
    assert atls_client.read_unit(answer) is not None


async def test_its_sessions_end_also_where_a_fresh_instance_takes_over(start) -> None:
    home: Home = await start()
    await opened(await home.client("phone"), "lamp")
    other = await opened(await home.client("tablet"), "lamp")
    home.write("clients.psk", b"phone:" + b"00" * 16 + b"\n" + lines("tablet", "stranger"), 0o600)
    assert not home.adapter.adopt(home.configure(idle=60.0))
    assert {view.session for view in home.hub.engine.all_sessions()} == {other}


async def test_an_observation_of_a_device_ends_with_the_key(start) -> None:
    home: Home = await start(policy=DEVICES)
    Device(home.far)
    phone = await home.client("phone")
    await observe(phone, "/d/lamp")
    assert watches(home) == 1
    assert adopted(home, lines("tablet"))
    assert (watches(home), home.adapter.status()["clients"]) == (0, 0)


async def test_the_last_client_can_go_and_another_come(start) -> None:
    home: Home = await start()
    await home.client("phone")
    assert adopted(home, b"# nobody\n")
    assert home.adapter.status()["clients"] == 0
    assert adopted(home, lines("tablet"))
    await home.client("tablet")


async def test_sessions_of_a_key_that_went_while_nobody_served_end_at_the_start(start) -> None:
    home: Home = await start()
    await opened(await home.client("phone"), "lamp")
    tablet = await opened(await home.client("tablet"), "lamp")
    home.write("clients.psk", lines("tablet"), 0o600)
    async with restarted(home):
        assert {view.session for view in home.hub.engine.all_sessions()} == {tablet}


async def test_the_command_clients_counts_connections_by_claim(start) -> None:
    home: Home = await start()
    await home.client("phone")
    await home.client("phone")
    assert await home.adapter.command("clients", {}) == {
        "connected": {"psk:phone": 2},
        "let_in": ["psk:phone", "psk:stranger", "psk:tablet"],
    }


async def test_a_client_that_comes_again_and_again_is_news_once(start, caplog) -> None:
    caplog.set_level(logging.INFO)
    home: Home = await start()
    for _ in range(3):
        await home.client("phone")
    assert caplog.text.count("client psk:phone connected") == 1


async def test_a_refused_handshake_is_logged_with_its_address_at_a_bounded_rate(start, caplog) -> None:
    home: Home = await start()
    for port in range(40):
        home.adapter.refused(("::ffff:192.0.2.7", 4000 + port, 0, 0), "no answer; it named the PSK identity 'pho\nne'")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[0] == (
        "handshake of 192.0.2.7 port 4000 refused: no answer; it named the PSK identity 'pho?ne' (1 so far)"
    )
    assert len(warnings) == 10 and home.adapter.status()["refused_handshakes"] == 40


async def test_any_other_change_takes_a_fresh_instance(start) -> None:
    home: Home = await start()
    assert home.adapter.adopt(home.configure())
    for change in ({"idle": 60.0}, {"absence": 2.0}, {"certificate_file": None, "key_file": None, "trust_file": None}):
        assert not home.adapter.adopt(home.configure(**change)), change
    other = home.authority.issue("other")
    home.write("gateway.pem", other.chain)
    home.write("gateway.key", other.key_pem, 0o600)
    assert not home.adapter.adopt(home.configure())
    assert "phone" not in repr(home.adapter._client_credentials)
