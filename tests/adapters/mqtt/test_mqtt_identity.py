"""Home Assistant's ids are not names: renamed devices, devices of version 0.1.0, the gateway itself. A real Mosquitto.

What Home Assistant makes of these messages was tried by hand; here counts what stands at the broker, and in what order
it got there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.devices.devices import DeviceTopics
from adapters.mqtt.times import MqttTimes
from gateway.runtime import policy_file
from tests.adapters.mqtt.mqtt_home import MqttHome, Start, User, started_again, state_file
from tests.adapters.mqtt.semantic_home import (
    ACL,
    CONTACT,
    LEVEL,
    POLICY,
    STATE,
    TEMPERATURE,
    House,
    bodies,
    config_topic,
    last,
    object_id,
    put,
    settled,
)
from tests.harness.gateway_in_loop import until

Old = Callable[..., Awaitable[tuple[MqttHome, User]]]
LAMP = config_topic("lamp")
OLD_LAMP = "homeassistant/device/home_lamp/config"
OLD_SENSOR = "homeassistant/device/home_sensor/config"
GATEWAY = "homeassistant/device/atls_0123456789ab/config"
RENAMED = POLICY.replace("  lamp: {", "  kitchen: {").replace("[lamp, ", "[kitchen, ")
ADMINISTERED = POLICY + "  - {id: admin, effect: permit, subject: broker, resource: gateway, action: admin}\n"
PAUSE = 0.2


@pytest.fixture
async def home(start: Start) -> MqttHome:
    return await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)


def put_in_force(home: MqttHome, policy: str) -> None:
    path = home.write("policy.yaml", policy.encode())
    home.hub.engine.replace_policy(policy_file.load(path, ("mqtt", "far")), now=home.hub.now())
    home.hub.touch()
    home.hub.gateway_changed()


async def retained(home: MqttHome) -> dict[str, Any]:
    """All that a newcomer finds at the broker."""
    user = await home.user("app", "#", subscribe=False)
    await put(user, "the/end", b"x")
    await until(lambda: any(message.topic == "the/end" for message in user.messages))
    return {
        message.topic: json.loads(message.payload) for message in user.messages if message.retained and message.payload
    }


def moved(home: MqttHome) -> bool:
    """Whether nothing of version 0.1.0 is left to move."""
    found = state_file(home)
    return isinstance(found, dict) and found["first"] == []


async def test_a_renamed_device_keeps_its_entities(home: MqttHome) -> None:
    house = House(home.far)
    house.join("lamp", STATE)
    house.presence("lamp", True)
    house.tell("lamp", state=True)
    await settled(home)
    app = await home.user("app", "home/#", "homeassistant/device/#", subscribe=False)
    await until(lambda: last(app, LAMP) != "nothing" and last(app, "home/lamp") != "nothing")
    before = last(app, LAMP)
    app.messages.clear()
    put_in_force(home, RENAMED)
    await until(lambda: last(app, "home/lamp") is None and last(app, "home/lamp/availability") is None)
    (after,) = bodies(app, LAMP)  # again, and never empty: Home Assistant would remove the device
    assert after["dev"] == before["dev"] | {"name": "kitchen"}
    assert after["cmps"]["state"]["uniq_id"] == before["cmps"]["state"]["uniq_id"]
    assert after["stat_t"] == "home/kitchen" and after["cmps"]["state"]["cmd_t"] == "home/kitchen/set/state"
    order = [(each.topic, bool(each.payload)) for each in app.messages]
    order.remove(("home/kitchen", True))  # with QoS 0: past the queue
    assert order == [
        (LAMP, True),
        ("home/kitchen/availability", True),
        ("home/lamp/availability", False),
        ("home/lamp", False),
    ]
    found = await retained(home)
    assert found["home/kitchen"]["state"] == "ON" and found["home/kitchen/availability"] == {"state": "online"}
    assert not [topic for topic in found if topic.startswith("home/lamp")]
    assert state_file(home)["devices"] == {"kitchen": object_id("lamp")}
    house.leave("lamp")
    await until(lambda: last(app, LAMP) is None)
    left = {"home/bridge/state", "home/bridge/info", "home/bridge/health", GATEWAY}
    assert set(await retained(home)) - {"home/bridge/devices"} == left


async def test_two_devices_that_change_names(home: MqttHome) -> None:
    house = House(home.far)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await settled(home)
    swapped = (
        POLICY.replace("user: lamp", "user: x").replace("user: sensor", "user: lamp").replace("user: x", "user: sensor")
    )
    app = await home.user("app", "homeassistant/device/#", subscribe=False)
    await until(lambda: last(app, LAMP) != "nothing")
    app.messages.clear()
    put_in_force(home, swapped)
    await until(lambda: last(app, LAMP) != "nothing" and last(app, config_topic("sensor")) != "nothing")
    await settled(home)
    found = await retained(home)
    assert found[LAMP]["dev"]["name"] == "sensor" and found[config_topic("sensor")]["dev"]["name"] == "lamp"
    assert None not in bodies(app, LAMP) + bodies(app, config_topic("sensor"))
    assert (found["home/sensor"], found["home/lamp"]) == ({"state": None}, {"contact": None})


async def test_a_broker_that_has_another_name_in_the_policy_loses_nothing(home: MqttHome) -> None:
    """Its watch ends with its name; the next one begins at once."""
    house = House(home.far)
    house.join("lamp", STATE)
    await settled(home)
    app = await home.user("app", "home/lamp", LAMP, subscribe=False)
    await until(lambda: len(app.messages) == 2)
    put_in_force(home, POLICY.replace("  broker: {", "  hub: {").replace("subject: broker", "subject: hub"))
    house.tell("lamp", state=True)
    await until(lambda: (last(app, "home/lamp") or {}).get("state") == "ON")
    assert None not in bodies(app, LAMP) + bodies(app, "home/lamp")
    put_in_force(home, POLICY.replace("  broker: {", "  hub: {").split("rules:")[0] + "rules: []\n")
    await until(lambda: last(app, LAMP) is None and last(app, "home/lamp") is None)


async def test_a_device_renamed_while_the_gateway_was_away(home: MqttHome) -> None:
    house = House(home.far)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await settled(home)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    put_in_force(home, RENAMED)
    app = await home.user("app", LAMP, subscribe=False)
    async with started_again(home):
        await until(lambda: home.adapter.status()["devices"]["devices"] == 2)
        await settled(home)
        found = await retained(home)
        assert found[LAMP]["dev"]["name"] == "kitchen" and None not in bodies(app, LAMP)
        assert not [topic for topic in found if topic.startswith("home/lamp")] and "home/sensor" in found


@pytest.mark.parametrize("times", [MqttTimes(forget_after=0.5)])
@pytest.mark.parametrize("swapped", [False, True])
async def test_a_device_replaced_under_its_name_while_the_gateway_was_away(home: MqttHome, swapped: bool) -> None:
    """As a sensor that broke: nothing of the old one stays in Home Assistant, and of the new one nothing goes."""
    house = House(home.far)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await settled(home)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    put_in_force(
        home,
        POLICY.replace("user: lamp", "user: spare").replace(
            "user: sensor", "user: lamp" if swapped else "user: sensor"
        ),
    )
    house.join("spare", STATE)
    app = await home.user("app", "homeassistant/device/#", subscribe=False)
    async with started_again(home):
        await until(lambda: home.adapter.status()["devices"]["devices"] == 2)
        await until(lambda: state_file(home)["devices"].keys() == {"lamp", "sensor"})
        await settled(home)
        found = await retained(home)
        assert (None in bodies(app, LAMP)) != swapped
        assert found[config_topic("spare")]["dev"]["name"] == "lamp"
        assert (LAMP in found, config_topic("sensor") in found) == (swapped, not swapped)
        assert {"home/lamp", "home/sensor"} < set(found)


async def test_a_device_that_left_while_the_broker_was_away(old: Old) -> None:
    """It is taken away though the gateway restarts before the broker is back."""
    home, app = await old()
    house = House(home.far)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    async with started_again(home):
        await until(lambda: last(app, LAMP) != "nothing")
        await settled(home)
        home.broker.stop()
        await until(lambda: not home.state.ready)
        house.leave("lamp")
        await until(lambda: home.adapter.status()["devices"]["devices"] == 1)
    async with started_again(home):
        home.broker.start()
        await until(lambda: home.state.ready and "lamp" not in state_file(home)["devices"])
        found = await retained(home)
    assert LAMP not in found and not [topic for topic in found if topic.startswith("home/lamp")]
    assert config_topic("sensor") in found


async def test_a_device_without_properties_is_none_of_home_assistants(home: MqttHome) -> None:
    house = House(home.far)
    house.join("lamp")
    house.join("sensor", CONTACT)
    await settled(home)
    found = await retained(home)
    assert LAMP not in found and config_topic("sensor") in found and found["home/lamp"] == {}
    house.join("lamp", STATE)
    house.join("sensor")  # it is being interviewed again: its entities stay
    await settled(home)
    found = await retained(home)
    assert set(found[LAMP]["cmps"]) == {"state", "last_seen"}
    assert set(found[config_topic("sensor")]["cmps"]) == {"contact", "last_seen"}


@pytest.mark.parametrize("times", [MqttTimes(settled=0.2)])
async def test_a_switch_that_is_a_sensor_now_is_taken_away_first(home: MqttHome) -> None:
    """A platform is part of an entity: the old one is taken away by name before the new one comes."""
    house = House(home.far)
    house.join("lamp", STATE, TEMPERATURE)
    await settled(home)
    app = await home.user("app", LAMP, subscribe=False)
    await until(lambda: app.messages)
    put_in_force(home, POLICY.replace("[read, observe, write]", "[read, observe]"))
    await until(lambda: len(app.messages) == 3)
    _, between, after = bodies(app, LAMP)
    assert between["cmps"] == {"state": {"p": "light"}} and after["cmps"]["state"]["p"] == "binary_sensor"


DIMMED = tuple(replace(each, entity="light") for each in (STATE, replace(LEVEL, name="brightness")))


@pytest.mark.parametrize("times", [MqttTimes(settled=0.2)])
async def test_a_lamp_of_version_0_4_is_one_entity_now(home: MqttHome) -> None:
    """It was a light that is switched, and a number: Home Assistant has to take both away. Its light comes back."""
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    house = House(home.far)
    house.join("lamp", *DIMMED)
    house.join("sensor", STATE, TEMPERATURE)
    devices = {"lamp": object_id("lamp"), "sensor": object_id("sensor")}
    kept = {"version": 2, "devices": devices, "first": [], "unseen": [], "former": {}}
    (home.folder / "mqtt" / "devices.json").write_text(json.dumps(kept))
    app = await home.user("app", LAMP, config_topic("sensor"), subscribe=False)
    async with started_again(home):
        await until(lambda: len(bodies(app, LAMP)) == 2)
        before, after = bodies(app, LAMP)
        assert before["cmps"] == {
            "state": {"p": "light"},
            "brightness": {"p": "number"},
            "alarm": {"p": "binary_sensor"},
        }
        assert after["cmps"]["state"]["schema"] == "json" and after["cmps"]["brightness"] == {"p": "number"}
        assert after["cmps"]["state"]["uniq_id"] == f"{object_id('lamp')}_state"
        await settled(home)
        (sensor,) = bodies(app, config_topic("sensor"))  # nothing but an alarm, which it may have had, goes
        assert [key for key, each in sensor["cmps"].items() if len(each) == 1] == ["alarm"]
    app.messages.clear()
    async with started_again(home):  # a second start has nothing to take away first
        await until(lambda: bodies(app, LAMP))
        await settled(home)
        assert [set(body["cmps"]) for body in bodies(app, LAMP)] == [{"state", "brightness", "alarm", "last_seen"}]


async def test_a_component_that_went_while_the_gateway_was_away(home: MqttHome) -> None:
    house = House(home.far)
    house.join("lamp", STATE, TEMPERATURE)
    await settled(home)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    house.join("lamp", STATE)
    app = await home.user("app", LAMP, subscribe=False)
    await until(lambda: app.messages)
    async with started_again(home):
        await until(lambda: last(app, LAMP)["cmps"]["temperature"] == {"p": "sensor"})


def left_behind(home: MqttHome, *names: str) -> None:
    """The state of version 0.1.0."""
    folder = home.folder / "mqtt"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "devices.json").write_text(json.dumps(list(names)))


@pytest.fixture
def old(start: Start, tmp_path: Path) -> Old:
    """A home that version 0.1.0 left: what it published for these devices stands at the broker, and in the file."""

    async def one(*names: str) -> tuple[MqttHome, User]:
        home = await start(
            policy=POLICY,
            acl=ACL,
            devices={},
            broker_acl=False,
            lines=("persistence true", f"persistence_location {tmp_path}/"),
            times=MqttTimes(migration_pause=PAUSE, forget_after=1.0),
        )
        home.tasks["mqtt"].cancel()
        await until(lambda: home.tasks["mqtt"].done())
        app = await home.user("app", subscribe=False)
        for name in names:
            config = {"dev": {"ids": [f"home_{name}"], "name": name}, "o": {"name": "atls-gateway"}, "cmps": {}}
            await put(app, f"homeassistant/device/home_{name}/config", json.dumps(config), retain=True)
            await put(app, f"home/{name}", b"{}", retain=True)
            await put(app, f"home/{name}/availability", b'{"state":"online"}', retain=True)
        left_behind(home, *names)
        app.client.subscribe(("homeassistant/device/#",))
        await until(lambda: len(app.messages) >= len(names))
        app.messages.clear()
        return home, app

    return one


async def test_devices_of_version_0_1_move_once(old: Old) -> None:
    home, app = await old("lamp", "sensor", "attic")
    house = House(home.far)
    house.join("lamp", STATE, TEMPERATURE)
    house.join("sensor", CONTACT)
    async with started_again(home):
        await until(lambda: moved(home))
        said = [(each.topic, json.loads(each.payload or b"null")) for each in app.messages]
        of_lamp = [body for topic, body in said if topic in (LAMP, OLD_LAMP)]
        # Its entities are let go of, and taken up under the same unique ids.
        assert of_lamp[0] == {"migrate_discovery": True}
        assert of_lamp[1]["dev"]["ids"] == [object_id("lamp"), "home_lamp"]
        assert {name: (each["p"], each["uniq_id"]) for name, each in of_lamp[1]["cmps"].items()} == {
            "state": ("light", "home_lamp_state"),
            "state_as_switch": ("switch", "home_lamp_state"),  # which it was
            "temperature": ("sensor", "home_lamp_temperature"),
            "last_seen": ("sensor", "home_lamp_last_seen"),
        }
        assert of_lamp[2:] == [None]
        assert [topic for topic, _ in said if topic in (LAMP, OLD_LAMP)] == [OLD_LAMP, LAMP, OLD_LAMP]
        found = await retained(home)
        assert {topic for topic in found if "home_" in topic or "attic" in topic} == set()
        assert {LAMP, config_topic("sensor"), "home/lamp", "home/sensor"} < set(found)
        assert state_file(home)["former"] == {"user:lamp": "home_lamp", "user:sensor": "home_sensor"}
        app.messages.clear()
    async with started_again(home):  # a second start says what it says, and has nothing to move
        await until(lambda: home.adapter.status()["devices"]["devices"] == 2)
        await settled(home)
        assert not [each for each in app.messages if "home_" in each.topic]
        assert last(app, LAMP)["cmps"]["temperature"]["uniq_id"] == "home_lamp_temperature"
    put_in_force(home, RENAMED)
    async with started_again(home):  # the ids stay those of the device
        await until(lambda: home.adapter.status()["devices"]["devices"] == 2)
        await settled(home)
        assert last(app, LAMP)["dev"] == {
            "ids": [object_id("lamp"), "home_lamp"], "name": "kitchen", "via_device": "atls_0123456789ab",
        }  # fmt: skip


async def test_the_old_discovery_is_emptied_after_the_new_one_is_acknowledged(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks with the new discovery unacknowledged: the old one stays until the next connection."""
    home, app = await old("lamp")
    house = House(home.far)
    house.join("lamp", STATE)
    lost: list[Any] = []
    real = DeviceTopics.published

    def published(devices: DeviceTopics, token: Any, code: int) -> None:
        if devices._publisher._announced.get(token) == "lamp" and not lost:
            lost.append(token)
            devices._client._end("cut")
            return
        real(devices, token, code)

    monkeypatch.setattr(DeviceTopics, "published", published)
    async with started_again(home):
        await until(lambda: lost)
        assert last(app, OLD_LAMP) is not None and state_file(home)["first"] == ["lamp"]
        await until(lambda: moved(home))
        assert [each.payload for each in app.messages if each.topic == OLD_LAMP][-1] == b""
        assert len(bodies(app, LAMP)) == 2 and None not in bodies(app, LAMP)


async def test_a_broker_that_is_away_at_the_first_start_loses_nothing(
    old: Old,
) -> None:
    home, _ = await old("lamp", "sensor")
    house = House(home.far)
    house.join("lamp", STATE)
    home.broker.stop()
    async with started_again(home):
        await until(lambda: not home.state.ready and home.state.trouble)
        await asyncio.sleep(1.5)  # the sensor counts as gone by now
        assert not moved(home)
        home.broker.start()
        await until(lambda: moved(home))
    found = await retained(home)
    assert LAMP in found and not [topic for topic in found if "home_" in topic]


async def test_a_network_that_is_away_at_the_first_start_loses_nothing(old: Old) -> None:
    """No device at all shows itself for longer than one may stay away: that is a dongle, not a house that was left."""
    home, app = await old("lamp", "sensor")
    house = House(home.far)
    async with started_again(home):
        await until(lambda: home.state.ready)
        await asyncio.sleep(1.3)
        assert not app.messages or None not in [json.loads(each.payload or b"null") for each in app.messages]
        house.join("lamp", STATE)
        await until(lambda: moved(home))  # and the sensor is gone, now that the broker is there
        assert last(app, LAMP)["cmps"]["state"]["uniq_id"] == "home_lamp_state"
        house.join("sensor", CONTACT)
        await until(lambda: last(app, config_topic("sensor")) not in ("nothing", None))
        assert last(app, config_topic("sensor"))["cmps"]["contact"]["uniq_id"] == "home_sensor_contact"


async def test_killed_in_the_middle_of_the_move(old: Old) -> None:
    """What the file says between the two publishes is enough to do it again, to the same end."""
    home, app = await old("lamp")
    house = House(home.far)
    house.join("lamp", STATE)
    async with started_again(home):
        await until(lambda: last(app, LAMP) not in ("nothing", None))
        middle = {"version": 2, "devices": {"lamp": object_id("lamp")}, "first": ["lamp"]}
        await until(lambda: moved(home))
    (home.folder / "mqtt" / "devices.json").write_text(
        json.dumps(middle | {"former": {"user:lamp": "home_lamp"}})  # as it was before the acknowledgement
    )
    app.messages.clear()
    async with started_again(home):
        await until(lambda: moved(home))
        assert last(app, LAMP)["cmps"]["state"]["uniq_id"] == "home_lamp_state"
        assert None not in bodies(app, LAMP)


async def test_the_gateway_is_a_device(start: Start) -> None:
    home = await start(policy=POLICY, acl=ACL, devices={}, broker_acl=False)
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def command(name: str) -> Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]:
        async def do(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append((name, dict(arguments)))
            if name == "permit-join":
                home.hub.joining(arguments["seconds"])
            return {}

        return do

    home.hub.remote = {name: command(name) for name in ("permit-join", "restart")}
    app = await home.user("app", "home/bridge/#", GATEWAY, subscribe=False)
    await until(lambda: last(app, GATEWAY) != "nothing" and last(app, "home/bridge/info") != "nothing")
    # The policy doesn't let the broker's side do it yet.
    assert last(app, GATEWAY)["cmps"]["permit_join"] == {"p": "switch"}
    config = {
        "mqtt": {"base_topic": "home"},
        "homeassistant": {
            "enabled": True,
            "discovery_topic": "homeassistant",
            "status_topic": "homeassistant/status",
        },
    }
    info = {
        "version": "9.9",
        "permit_join": False,
        "permit_join_end": None,
        "restart_required": False,
        "config": config,
    }
    assert last(app, "home/bridge/info") == info
    await put(app, "home/bridge/request/restart", "")
    await until(lambda: last(app, "home/bridge/response/restart") != "nothing")
    assert last(app, "home/bridge/response/restart")["error"] == "denied" and not asked

    put_in_force(home, ADMINISTERED)
    await until(lambda: "cmd_t" in last(app, GATEWAY)["cmps"]["permit_join"])
    components = last(app, GATEWAY)["cmps"]
    await put(app, components["permit_join"]["cmd_t"], components["permit_join"]["pl_on"])
    await until(lambda: last(app, "home/bridge/info")["permit_join"])
    left = last(app, "home/bridge/info")["permit_join_end"] / 1000
    assert asked == [("permit-join", {"seconds": 254})] and left > 1_700_000_000
    await put(app, components["permit_join"]["cmd_t"], components["permit_join"]["pl_off"])
    await until(lambda: last(app, "home/bridge/info") == info)
    await put(app, components["restart"]["cmd_t"], components["restart"]["pl_prs"])
    await until(lambda: last(app, "home/bridge/response/restart") == {"data": {}, "status": "ok"})
    assert asked[-1] == ("restart", {})


async def test_retained_messages_at_the_broker_can_be_taken_away(home: MqttHome) -> None:
    """The commands of docs/home-assistant.md, word for word, once the gateway no longer has devices on topics."""
    house = House(home.far)
    house.join("lamp", STATE)
    house.join("sensor", CONTACT)
    await settled(home)
    app = await home.user("app", subscribe=False)
    await put(app, "homeassistant/device/of_another_program/config", b'{"x":1}', retain=True)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    page = (Path(__file__).parents[3] / "docs" / "home-assistant.md").read_text()
    script = page.split("```sh mqtt-cleanup\n")[1].split("```")[0]
    arguments = f"-h localhost -p {home.broker.port} --cafile {home.folder / 'ca.pem'} -u gateway -P gateway-secret"
    script = script.replace("-h localhost -u gateway -P PASSWORD", arguments)
    assert arguments in script
    done = await asyncio.to_thread(subprocess.run, ["sh", "-eu", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(await retained(home)) == {"homeassistant/device/of_another_program/config"}


async def test_a_refused_discovery_message_is_a_fault_that_names_its_topics(start: Start) -> None:
    acl = "user gateway\ntopic readwrite home/#\ntopic readwrite atls/#\ntopic read homeassistant/status\n"
    home = await start(policy=POLICY, acl=acl, devices={}, broker_acl=False)
    House(home.far).join("lamp", STATE)
    await until(lambda: not home.state.ready and home.state.trouble)
    assert "the broker lets us not publish below home/ or homeassistant/ (135); check its ACL" in home.state.trouble
