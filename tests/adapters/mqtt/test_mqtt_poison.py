"""Messages that can't be taken, at a real Mosquitto: they cost themselves and nothing else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from adapters.mqtt.adapter import MqttAdapter
from gateway.api.model import Unit
from tests.adapters.mqtt.mqtt_home import ADTLS, Start
from tests.adapters.mqtt.semantic_home import ACL, POLICY, STATE, House, bodies, last, put
from tests.harness.gateway_in_loop import record, until
from tests.harness.interactions import wanted_of
from tests.harness.mqtt_mutations import mutate

SESSIONS = POLICY + "  - {id: sessions, effect: permit, subject: app, resource: lamp, content: [adtls]}\n"
SESSIONS = SESSIONS.replace("  broker:", "  app: {link: mqtt, user: app}\n  broker:")
LONG = b"x" * 70_000


def attempts(adapter: MqttAdapter) -> tuple[int, int]:
    status = adapter.status()
    return status["attempts"], status["devices"]["attempts"]


@pytest.mark.parametrize("version", [4, 5])
async def test_a_message_that_is_too_long_costs_itself_only(
    start: Start, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    """MQTT 5 has the broker drop it; in 3.1.1 it comes to us, on both connections, and is to be acknowledged."""
    home = await start(policy=SESSIONS, acl=ACL, devices={}, version=version)
    house = House(home.far)
    app = await home.user("app", "home/#")
    house.join("lamp", STATE)
    await until(lambda: last(app, "home/lamp") != "nothing")
    before = attempts(home.adapter)
    session = await app.open("lamp")
    for qos in (0, 1):
        await put(app, "home/lamp/set", LONG, qos=qos)
        await put(app, "atls/app/atls/open", LONG, qos=qos)
    for n in range(30):  # many: the log is bounded
        await app.say(f"{session}/up/{n}", LONG, ADTLS)
    await put(app, "home/lamp/set", b"ON")
    await app.say(f"{session}/up/30", record(), ADTLS)
    await until(lambda: house.commands and home.far.of(Unit, session))
    assert wanted_of(house.commands[0])[1] is True and home.far.of(Unit, session)[0].n == 30
    assert attempts(home.adapter) == before  # the same connections
    status: Any = home.adapter.status()
    if version == 4:
        assert (status["unread"], status["devices"]["unread"]) == (32, 2)
        assert status["unread_last"].startswith(f"atls/app/atls/{session}/up/29: 7")
        assert status["devices"]["unread_last"].startswith("home/lamp/set: 7")
        # Its sender gets an answer.
        await until(lambda: len(app.statuses(session)) == 30 and len(bodies(app, "home/lamp/answer")) == 3)
        assert {(each.event.value, each.reason) for each in app.statuses(session)} == {("dropped", "too-large")}
        assert bodies(app, "home/lamp/answer")[:2] == 2 * [{"status": "failed", "reason": "too-large"}]
        lines = [each.getMessage() for each in caplog.records if "home/lamp/set" in each.getMessage()]
        assert lines and "longer than" in lines[0]
        assert sum("longer than" in each.getMessage() for each in caplog.records) <= 20
    # Nothing of it comes again.
    for part in (home.sessions, home.devices):
        part._client._end("cut")
    await until(lambda: attempts(home.adapter) != before and home.state.ready)
    await put(app, "home/lamp/set", b"OFF")
    await until(lambda: len(house.commands) == 2)
    assert home.adapter.status()["unread"] == status["unread"]
    assert [each["status"] for each in bodies(app, "home/lamp/answer")][-1:] == ["delivered"]


VALID = {
    "home/lamp/set": [b'{"state":"ON","transaction":"7"}', b"OFF", b'{"state":false}'],
    "home/lamp/set/state": [b"true", b'"ON"'],
    "home/lamp/get": [b'{"state":""}'],
    "home/lamp/2/set": [b'{"color":{"rgb":"1,2,3"},"transition":1}', b"TOGGLE"],
    "home/lamp/l1/get": [b'{"color":{"x":""}}'],
    "home/bridge/request/device/reporting/configure": [b'{"id":"a","cluster":6,"attribute":0}'],
    "home/bridge/request/device/ota_update/check": [b'"a"'],
    "home/bridge/request/devices": [b'{"transaction":1}'],
    "home/bridge/request/device/rename": [b'{"from":"a","to":"b"}'],
    "home/bridge/request/device/remove": [b'{"id":"a","force":true}'],
    "home/bridge/request/permit_join": [b'{"time":60}', b'{"value":true}'],
    "homeassistant/status": [b"online"],
    "atls/app/atls/open": [b'{"to":"lamp","kind":"adtls","nonce":"a1b2c3d4e5f60718"}'],
    "atls/app/atls/gone": [b'{"run":"a1b2c3d4e5f60718","back":true}'],
    f"atls/app/atls/{'0f' * 16}/up/0": [record()],
    f"atls/app/atls/{'0f' * 16}/close": [b""],
}


@pytest.mark.parametrize("version", [4, 5])
async def test_whatever_comes_is_at_most_a_complaint(
    start: Start, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand mutated messages: same connections, no exception but the readers' own, and the next one is served."""
    home = await start(policy=SESSIONS, acl=ACL, devices={}, version=version)
    house = House(home.far)
    app = await home.user("app", "home/#", max_queued=4000)
    house.join("lamp", STATE)
    await until(lambda: last(app, "home/lamp") != "nothing")
    before = attempts(home.adapter)
    rng = random.Random(20)
    for _ in range(1000):
        topic = rng.choice(list(VALID))
        app.client.publish(topic, mutate(rng, rng.choice(VALID[topic])), qos=rng.randrange(2))
    await put(app, "home/lamp/set", b"[" * 2000)
    await until(lambda: not app.client.outstanding, 30.0)
    count = len(house.commands)
    session = await app.open("lamp")
    await app.say(f"{session}/up/0", record(), ADTLS)
    await put(app, "home/lamp/set", b"ON")
    await until(lambda: home.far.of(Unit, session) and len(house.commands) > count)
    assert attempts(home.adapter) == before
    status: Any = home.adapter.status()
    assert status["malformed"] > 20 and status["devices"]["malformed"] > 100
    lines = [each.getMessage() for each in caplog.records if "malformed" in each.getMessage()]
    assert lines and not [line for line in lines if "Error at " in line or "handler" in line]
    assert len(lines) <= 60
