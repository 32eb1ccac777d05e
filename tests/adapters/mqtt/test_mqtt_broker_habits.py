"""Mosquitto's habits: a stop in good order, a crash with an old snapshot, a list without a right to read."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from adapters.mqtt.hearing import probe_topic
from adapters.mqtt.payloads import epoch_number
from adapters.mqtt.times import MqttTimes
from carriage.mqtt import messages as bodies
from gateway.api.model import Close, Unit
from tests.adapters.mqtt.mqtt_home import ADTLS, MqttHome, Start, User
from tests.adapters.mqtt.semantic_home import ACL, LEVEL, POLICY, STATE, House, config_topic, last, put, settled
from tests.adapters.mqtt.semantic_home import bodies as came
from tests.harness.gateway_in_loop import record, until
from tests.harness.interactions import wanted_of

OLD, NEW = "a0" * 8, "b0" * 8


def kept(folder: Path) -> tuple[str, ...]:
    """A broker that writes down what it keeps."""
    return ("persistence true", f"persistence_location {folder}/", "autosave_interval 0")


def cut(client: object) -> None:
    """The connection breaks without a farewell: the broker publishes the will."""
    wire = client._wire  # type: ignore[attr-defined]
    wire._socket.shutdown(socket.SHUT_RDWR)


async def goes_on(home: MqttHome, app: User, opened: str, taken: str, n: int) -> None:
    await app.say(f"{opened}/up/{n}", record(), ADTLS)
    receipt = home.far.unit(taken, n, record())  # type: ignore[arg-type]
    await until(lambda: [unit.n for unit in home.far.of(Unit, opened)][-1:] == [n])  # type: ignore[arg-type]
    await until(lambda: home.far.outcome(receipt) and [unit for unit, _ in app.units(taken)][-1:] == [n])
    assert not home.far.of(Close) and not app.statuses(opened) and not app.statuses(taken)


@pytest.mark.parametrize("version", [4, 5])
async def test_a_broker_that_is_stopped_in_good_order_ends_no_session(
    start: Start, tmp_path: Path, version: int
) -> None:
    """It publishes the will of every client first. Twice: what it could not deliver comes at its next start."""
    home = await start(return_within=2, lines=kept(tmp_path), version=version)
    app = await home.user("app", run=OLD, version=version)
    opened, taken = await app.open("lamp"), home.far.open("app")
    await until(app.incoming)
    for n in range(2):
        await goes_on(home, app, opened, taken, n)
        seen = app.connections
        home.broker.stop()
        await until(lambda: not home.state.ready)
        home.broker.start()
        await until(lambda seen=seen: home.state.ready and app.connections > seen)
    await goes_on(home, app, opened, taken, 2)
    await until(lambda: not home.adapter.status()["leaving"])
    assert not home.far.of(Close)


async def test_a_will_that_is_held_is_dropped_when_the_user_is_heard(start: Start) -> None:
    home = await start(return_within=60)
    app = await home.user("app")
    session = await app.open("lamp")
    for place, payload in ((f"{session}/up/0", record()), ("gone", bodies.encode(bodies.Gone(OLD, back=True)))):
        await app.say("gone", bodies.encode(bodies.Gone(OLD)))
        await until(lambda: home.adapter.status()["leaving"] == 1)
        await app.say(place, payload, ADTLS)
        await until(lambda: home.adapter.status()["leaving"] == 0)
    assert not home.far.of(Close)


async def test_a_will_counts_for_its_own_run_only(start: Start) -> None:
    """An old one comes late and ends nothing; once the next run is there, the one before is certainly gone."""
    home = await start(return_within=60)
    app = await home.user("app", run=OLD)
    await app.open("lamp")
    await app.say("gone", bodies.encode(bodies.Gone(OLD)))
    await until(lambda: home.adapter.status()["leaving"] == 1)
    await app.say("gone", bodies.encode(bodies.Gone(NEW, back=True)))
    await until(lambda: len(home.far.of(Close)) == 1)
    session = await app.open("lamp")
    await app.say("gone", bodies.encode(bodies.Gone(OLD)))
    await until(lambda: home.adapter.status()["stale_wills"] == 1)
    await app.say(f"{session}/up/0", record(), ADTLS)
    await until(lambda: home.far.of(Unit, session))
    assert len(home.far.of(Close)) == 1 and home.adapter.status()["leaving"] == 0


@pytest.mark.parametrize("times", [MqttTimes(grace=1.5)])
async def test_our_last_messages_have_the_epoch_of_their_sessions(start: Start) -> None:
    """Sessions were given up while the broker was away: neither our will nor our farewell may speak of those."""
    home = await start()
    home.broker.kill()
    await until(lambda: home.sessions._lost)
    home.broker.start()
    await until(lambda: home.state.ready)
    now = epoch_number(home.hub.epoch, 1)
    app = await home.user("app")
    await until(lambda: app.states() == [bodies.BridgeState(now, bodies.State.ONLINE)])
    cut(home.sessions._client)
    await until(lambda: len(app.states()) >= 3)
    assert [state.state.value for state in app.states()] == ["online", "offline", "online"]
    home.tasks["mqtt"].cancel()
    await until(lambda: len(app.states()) == 4)
    assert {state.epoch for state in app.states()} == {now} and app.states()[3].state is bodies.State.OFFLINE


async def test_a_crash_with_an_old_snapshot_carries_out_nothing_twice(start: Start, tmp_path: Path) -> None:
    """Both sets are in it, one of them still to be sent: that comes again as if it were new, without DUP."""
    lines = (*kept(tmp_path), "max_inflight_messages 1")
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False, lines=lines, version=4)
    house = House(home.far)
    app = await home.user("app", "home/#", subscribe=False)
    house.join("lamp", STATE)
    await until(lambda: last(app, "home/lamp") != "nothing")
    await settled(home)
    home.far.takes = False  # the lamp takes its time: so long the broker has no acknowledgement
    await put(app, "home/lamp/set", "ON")
    await put(app, "home/lamp/set", "OFF")
    await until(lambda: house.commands)
    assert home.broker.process is not None
    home.broker.process.send_signal(signal.SIGUSR1)
    snapshot = tmp_path / "mosquitto.db"
    sets = (b"home/lamp/setON", b"home/lamp/setOFF")
    await until(lambda: snapshot.exists() and all(each in snapshot.read_bytes() for each in sets))
    for n in range(2):
        await until(lambda n=n: len(house.commands) == n + 1)
        house.settle(house.commands[n].id)
    await until(lambda: len(came(app, "home/lamp/answer")) == 2)
    client = home.devices._client
    await until(lambda: not client.receiver.unacknowledged)
    home.broker.kill()
    await until(lambda: not home.state.ready)
    home.broker.start()
    await until(lambda: home.state.ready and home.adapter.status()["devices"]["repeated"] == 2)
    home.far.takes = True
    await put(app, "home/lamp/set", "ON")  # and what is new is carried out
    await until(lambda: len(house.commands) == 3)
    assert [wanted_of(command)[1] for command in house.commands] == [True, False, True]


def list_for(gateway: str) -> str:
    return f"user gateway\n{gateway}\nuser app\ntopic readwrite #\n"


@pytest.mark.parametrize("version", [4, 5])
async def test_an_acl_without_the_right_to_read_is_a_fault_in_status(start: Start, version: int) -> None:
    """Mosquitto grants the subscription all the same, and brings nothing."""
    deaf = list_for("topic write atls/#\ntopic write home/#\ntopic write homeassistant/#")
    home = await start(policy=POLICY, acl=deaf, devices={}, version=version)
    app = await home.user("app", "home/bridge/state", "atls/bridge/state", subscribe=False)
    await until(lambda: "atls/" in home.state.trouble and "home/" in home.state.trouble)
    assert not home.state.ready and "right to read" in home.state.trouble
    await until(lambda: last(app, "home/bridge/state") == {"state": "offline"})
    assert [each.payload for each in app.messages if b"online" in each.payload] == []
    (home.folder / "acl").write_text(list_for("topic readwrite #"))
    assert home.broker.process is not None
    home.broker.process.send_signal(signal.SIGHUP)
    while not home.state.ready:  # any message proves that we may read, once the broker has read its list again
        await put(app, "home/lamp/set", "ON")
        await app.say("gone", b"")
    await until(lambda: last(app, "home/bridge/state") == {"state": "online"})
    assert last(app, "atls/bridge/state")["state"] == "online"


async def test_a_list_that_lets_us_not_probe_is_no_fault(start: Start) -> None:
    """An access list with just the rights that the gateway needs."""
    exact = "topic read atls/+/atls/#\ntopic write atls/bridge/state\ntopic write atls/app/atls/#"
    home = await start(acl=list_for(exact))
    app = await home.user("app")
    await app.open("lamp")
    assert home.state.ready and app.states()[-1].state is bodies.State.ONLINE


@pytest.mark.parametrize("version", [4, 5])
async def test_a_broker_with_a_small_maximum_packet_size_is_named_in_status(start: Start, version: int) -> None:
    """In MQTT 5 it says so itself; in 3.1.1 it ends the connection over a long one, which is given up then."""
    home = await start(
        policy=POLICY, acl=ACL, devices={}, broker_acl=False, version=version, lines=("max_packet_size 512",)
    )
    house = House(home.far)
    app = await home.user("app", "home/#", subscribe=False)
    house.join("lamp", STATE, LEVEL)
    configs = (f"{config_topic('lamp')}: ", "homeassistant/device/atls_0123456789ab/config: ")
    await until(lambda: home.adapter.status()["devices"]["unsent"], 30.0)
    unsent = home.adapter.status()["devices"]["unsent_last"]
    assert unsent.startswith(configs) and ("takes 512" in unsent if version == 5 else "ends the connection" in unsent)
    await until(lambda: last(app, "home/lamp") != "nothing" and home.state.ready)
    await put(app, "home/lamp/set/state", "ON")
    await until(lambda: house.commands)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("atls/+/atls/open", "atls/bridge/atls/open"),
        ("atls/+/atls/+/up/+", "atls/bridge/atls/probe/up/probe"),
        ("home/+/set", "home/bridge/set"),
        ("mybridge/+/set/+", "mybridge/bridge/set/probe"),
        ("home/bridge/request/+", "home/bridge/request/bridge"),
    ],
)
def test_the_topic_of_a_probe_is_under_its_filter_and_unused(topic_filter: str, topic: str) -> None:
    assert probe_topic(topic_filter) == topic
