"""A device that sleeps, and what waits for it, over real processes."""

from __future__ import annotations

import pytest

from demo.scenario import layer0
from demo.stack import LAMP
from tests.e2e.shared_hub import StartHub
from tests.harness.message_exchange import exchange


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_phone_opens_to_a_device_that_sleeps(start_hub: StartHub) -> None:
    """The open, the DTLS handshake and the messages wait in the gateway until the device asks for them.

    What waits there when the gateway is killed waits for the next one to start, and the session goes on.
    """
    hub = await start_hub("--awake", "2")
    files = layer0(hub, "dtls-psk")
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--sleepy", "1")
    phone = await hub.start_phone("phone", files.phone, "--open", "lamp7")
    await phone.expect_event("session", session=0, seconds=90)
    await lamp.expect_event("session", session=0, seconds=10)
    await exchange(phone, lamp, 1025, 1)
    await exchange(lamp, phone, 1025, 2)
    counters = (await hub.ask("status"))["adapters"]["zigbee"]["detail"]["counters"]
    assert counters["opened_by_gateway"] == 1
    assert counters["held"] > counters["units_out"] > 0  # every unit, and the open

    phone.tell(do="send", session=0, size=300, seed=3)
    assert hub.gateway is not None
    await hub.gateway.kill()
    await hub.start_gateway()
    await lamp.expect_event("received", size=300, seconds=60)
    await exchange(lamp, phone, 1025, 4)
    for endpoint in (lamp, phone):
        assert not [event for event in endpoint.events if event["event"] == "ended"]
    phone.tell(do="close", session=0)
    assert (await lamp.expect_event("ended", session=0, seconds=30))["clean"]
