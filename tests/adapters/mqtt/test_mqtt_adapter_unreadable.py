"""A unit that a rule can't read is lost for a user in a DTLS session, and ends a TLS session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from carriage.mqtt import messages as bodies
from gateway.api.model import Unit
from tests.adapters.mqtt.mqtt_home import ADTLS, MqttHome
from tests.harness.gateway_in_loop import record, until

READING = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  app: {link: mqtt, user: app}
rules:
  - {id: reads, effect: permit, subject: app, resource: lamp, condition: {record_types: [20, 21, 22, 23]}}
"""


async def test_an_unreadable_unit_is_lost_or_ends_its_session(start: Callable[..., Awaitable[MqttHome]]) -> None:
    home = await start(READING)
    app = await home.user("app")
    session, stream = await app.open("lamp"), await app.open("lamp", "atls")
    for n, unit in enumerate((record(), b"no record", b"nor this", record(seed=1))):
        await app.say(f"{session}/up/{n}", unit, ADTLS)
    await until(lambda: len(home.far.of(Unit)) == 2 and len(app.statuses(session)) == 2)
    assert app.statuses(session) == [bodies.Status(bodies.StatusEvent.EXPIRED, n, "expired") for n in (1, 2)]
    assert [unit.n for unit in home.far.of(Unit)] == [0, 3]
    await app.say(f"{stream}/up/0", b"no record", bodies.CONTENT_TYPES["atls"])
    await until(lambda: app.statuses(stream))
    assert app.statuses(stream)[-1].reason == "broken"
    assert [view.session for view in home.hub.engine.all_sessions()] == [session]
