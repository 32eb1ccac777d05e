"""RabbitMQ and nats-server, for real: sessions and devices, a stop in good order, topic names that they don't bear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.api.model import Close, Unit
from tests.adapters.mqtt.other_brokers import POLICY, OldUser, PlainHome
from tests.adapters.mqtt.semantic_home import STATE, House
from tests.harness.broker_process import BrokerProcess
from tests.harness.gateway_in_loop import tls_record, until
from tests.harness.interactions import wanted_of
from tests.harness.rabbitmq_nats import nats, rabbitmq

DOTTED = (
    POLICY.replace("  app:", "  hall.lamp: {link: far, user: hall.lamp}\n  j.doe: {link: mqtt, user: j.doe}\n  app:")
    .replace("resource: lamp,", "resource: [lamp, hall.lamp],")
    .rstrip()
    + "\n  - {id: doe, effect: permit, subject: lamp, resource: j.doe, content: [adtls]}\n"
)
SLOW = 15.0


@pytest.fixture(scope="module", params=[rabbitmq, nats])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with request.param(tmp_path_factory.mktemp("broker")) as found:
        yield found


@dataclass
class Scene:
    home: PlainHome
    house: House
    app: OldUser

    def attempts(self) -> list[int]:
        status = self.home.adapter.status()
        return [status["attempts"], status["devices"]["attempts"]]

    async def lamp_goes(self, word: str) -> None:
        count = len(self.house.commands)
        self.app.client.publish("home/lamp/set", word.encode())
        await until(lambda: len(self.house.commands) == count + 1, SLOW)
        assert wanted_of(self.house.commands[-1])[1] is (word == "ON")

    async def unit_goes(self, session: str, n: int) -> None:
        self.app.client.publish(f"atls/app/atls/{session}/up/{n}", tls_record(seed=n))
        await until(lambda: [unit.n for unit in self.home.far.of(Unit, session)][-1:] == [n], SLOW)  # type: ignore[arg-type]


@asynccontextmanager
async def scene(folder: Path, broker: BrokerProcess) -> AsyncIterator[Scene]:
    home = PlainHome(folder, broker.port, DOTTED, grace=120.0)  # such a broker takes its time to start
    app = OldUser(broker.port)
    app.client.subscribe(["home/#", "atls/app/#"])
    async with home.running(home.adapter), asyncio.TaskGroup() as tasks:
        app.client.start(tasks)
        await until(lambda: home.state.ready and app.granted, SLOW)
        house = House(home.far)
        house.join("lamp", STATE)
        house.tell("lamp", state=True)
        yield Scene(home, house, app)
        await app.client.stop(drain=0.0)
    home.check_books()


async def test_sessions_and_devices_outlive_a_cut_and_a_stop_in_good_order(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with scene(tmp_path, broker) as at:
        await until(lambda: at.app.at("home/lamp") and json.loads(at.app.at("home/lamp")[-1])["state"] == "ON", SLOW)
        session = await at.app.open("lamp")
        await at.lamp_goes("OFF")
        await at.unit_goes(session, 0)
        before = at.attempts()
        for part in (at.home.sessions, at.home.devices):
            part._client._end("cut")
        await until(lambda: at.attempts() != before and at.home.state.ready, SLOW)
        await at.lamp_goes("ON")
        await at.unit_goes(session, 1)
        # One that hangs up at MQTT 5 without a word costs one more attempt each time, and no pause.
        assert all(now - then <= 2 for now, then in zip(at.attempts(), before, strict=True))
        await asyncio.to_thread(broker.stop)
        await until(lambda: not at.home.state.ready, SLOW)
        await asyncio.to_thread(broker.start)
        await until(lambda: at.home.state.ready and at.app.client.is_connected, SLOW)
        await at.lamp_goes("OFF")
        await at.unit_goes(session, 2)
        assert not at.home.far.of(Close)


async def test_a_name_that_the_broker_does_not_bear_costs_that_device_only(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    """nats-server 2.9 ends the connection over a dot in a topic, RabbitMQ makes a slash of it."""
    async with scene(tmp_path, broker) as at:
        at.house.join("hall.lamp", STATE)
        at.house.tell("hall.lamp", state=True)
        at.house.presence("hall.lamp", True)

        def given_up() -> list[str]:
            found: list[str] = at.home.adapter.status()["devices"].get("given_up", [])
            return found

        # It has its topics, under whatever name, or they are given up: that of the state too, which goes with QoS 0.
        await until(
            lambda: at.app.at("home/hall.lamp") or at.app.at("home/hall/lamp") or "home/hall.lamp" in given_up(), SLOW
        )
        at.house.presence("lamp", True)
        await until(lambda: at.app.at("home/lamp/availability"), SLOW)
        await at.lamp_goes("OFF")
        assert {topic.removesuffix("/availability") for topic in given_up()} <= {"home/hall.lamp"}
        assert "given_up" not in at.home.adapter.status()  # the sessions know nothing of it


async def test_a_user_whose_name_the_broker_does_not_bear_costs_its_own_sessions_only(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with scene(tmp_path, broker) as at:
        session = await at.app.open("lamp")
        await at.unit_goes(session, 0)
        before = at.home.adapter.status()["published"]
        doomed = at.home.far.open("j.doe")
        await until(lambda: at.home.adapter.status()["published"] > before, SLOW)
        await until(lambda: not at.home.adapter.status()["in_flight"] and at.home.state.ready, SLOW)
        await at.unit_goes(session, 1)
        given_up = at.home.adapter.status().get("given_up", [])
        assert {topic.rsplit("/", 1)[0] for topic in given_up} <= {"atls/j.doe/atls"}
        assert {close.session for close in at.home.far.of(Close)} <= {doomed}
