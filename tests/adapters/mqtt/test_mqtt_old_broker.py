"""A broker that speaks MQTT 3.1.1 only, for real: amqtt. Sessions and devices work over it as well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from amqtt.broker import Broker

from carriage.mqtt import messages as bodies
from gateway.api.model import Unit
from tests.adapters.mqtt.other_brokers import OldUser, PlainHome
from tests.adapters.mqtt.semantic_home import STATE, House
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import tls_record, until
from tests.harness.interactions import wanted_of


@pytest.fixture
async def port() -> AsyncIterator[int]:
    number = free_port()
    anybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{number}"}}, "plugins": anybody})
    await broker.start()
    yield number
    await broker.shutdown()


async def test_sessions_and_devices_over_mqtt_3_1_1(
    port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = PlainHome(tmp_path, port)
    adapter = home.adapter
    house = House(home.far)
    app = OldUser(port)
    app.client.subscribe(["home/#", "atls/app/#"])
    async with home.running(adapter), asyncio.TaskGroup() as tasks:
        app.client.start(tasks)
        await until(lambda: home.state.ready and app.granted, 30.0)
        status = adapter.status()
        assert status["version"] == status["devices"]["version"] == "3.1.1"
        house.join("lamp", STATE)
        house.tell("lamp", state=True)
        await until(lambda: app.at("home/lamp") and json.loads(app.at("home/lamp")[-1])["state"] == "ON")
        app.client.publish("home/lamp/set", b'{"state": "OFF", "transaction": 5}')
        await until(lambda: app.at("home/lamp/answer"))
        answer = {"property": "state", "status": "delivered", "transaction": 5}
        assert json.loads(app.at("home/lamp/answer")[0]) == answer and wanted_of(house.commands[0])[1] is False
        app.client.publish("atls/app/atls/open", bodies.encode(bodies.OpenRequest("lamp", "atls", "ab" * 8)))
        await until(lambda: app.at("atls/app/atls/status"))
        opened = bodies.decode_answer(app.at("atls/app/atls/status")[0])
        assert isinstance(opened, bodies.Opened)
        app.client.publish(f"atls/app/atls/{opened.session}/up/0", tls_record())
        await until(lambda: home.far.of(Unit))
        assert home.far.of(Unit)[0].payload.octets == tls_record()
        await app.client.stop(drain=0.0)
    assert sum("trying MQTT 3.1.1" in each.message for each in caplog.records) == 2  # one line a connection
