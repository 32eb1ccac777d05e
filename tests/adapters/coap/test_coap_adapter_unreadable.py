"""A unit that a rule can't read is lost for a client in a DTLS session, and ends a TLS session."""

from __future__ import annotations

from carriage.coap import atls_client, codes
from tests.harness.coap_gateway import Start, opened, sent
from tests.harness.gateway_in_loop import record

READING = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: coap, psk_identity: phone}
rules:
  - id: reads
    effect: permit
    subject: phone
    resource: lamp
    content: [adtls, atls]
    condition: {record_types: [20, 21, 22, 23]}
"""


async def test_a_datagram_that_can_not_be_read_is_lost_and_the_session_goes_on(start: Start) -> None:
    home = await start(policy=READING)
    client = await home.client("phone")
    session = await opened(client, "lamp")
    assert await sent(client, session, 0, record()) is None
    for n in range(1, 5):
        assert await sent(client, session, n, b"no record") == atls_client.SessionRefused(
            "expired", codes.GATEWAY_TIMEOUT
        )
    assert await sent(client, session, 5, record(seed=1)) is None
    assert len(home.hub.engine.all_sessions()) == 1 and home.hub.engine.counters["dropped.unreadable"] == 4
    assert home.adapter.status()["handler_errors"] == 0


async def test_a_stream_that_can_not_be_read_is_over(start: Start) -> None:
    home = await start(policy=READING)
    client = await home.client("phone")
    session = await opened(client, "lamp", "atls")
    assert await sent(client, session, 0, b"no record", "atls") == atls_client.SessionRefused(
        "broken", codes.BAD_GATEWAY
    )
    assert home.hub.engine.all_sessions() == [] and home.adapter.status()["handler_errors"] == 0
