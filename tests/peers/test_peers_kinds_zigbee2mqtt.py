"""zigbee2mqtt, with zigbee-herdsman's ``ember`` driver, pairs a virtual device of each kind, shows what it reports and
sets it. It knows those that are like products; of the others it generates definitions from what they say of themselves.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.hubs import Device, MeasuredHub, Zigbee2mqtt, devices
from bench.mqtt_client import LoadClient
from bench.peers import Contender, opened
from bench.peers_report import THEIRS
from bench.start import running_broker
from simulator.network.device_kinds import KINDS
from tests.peers.hub_kinds import AT_ONCE, HOSTED, ROWS, TRIPPED, gets, holds, trip, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


class Heard:
    """What the hub has published so far."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        """By topic, all that was ever said of a device: an action is said once and taken back."""
        self.interviews: dict[str, str] = {}
        self.known: list[dict[str, Any]] = []

    def message(self, topic: str, payload: bytes) -> None:
        value = json.loads(payload or b"{}")
        base, *rest = topic.split("/")
        if rest == ["bridge", "event"] and value["type"] == "device_interview":
            self.interviews[value["data"]["ieee_address"]] = value["data"]["status"]
        elif rest == ["bridge", "devices"]:
            self.known = value
        elif len(rest) == 1:
            said = {name: shown for name, shown in value.items() if shown not in (None, "")}
            self.states.setdefault(f"{base}/{rest[0]}", {}).update(said)


async def pair(hub: MeasuredHub, client: LoadClient, heard: Heard, group: list[Device]) -> None:
    """They join, and a person trips those that wait for it. What fails, as it does if the dongle has no room for one
    more message to a sleeper, the person lets the hub interview again."""
    for each in group:
        await hub.ask("join", device=each.name)

    async def done() -> bool:
        for each in group:
            if each.kind in TRIPPED:
                await trip(hub, each)
            if heard.interviews.get(hub.label(each)) == "failed":
                heard.interviews[hub.label(each)] = "again"
                order = json.dumps({"id": hub.label(each)}).encode()
                client.publish(f"{hub.base}/bridge/request/device/interview", order)
        return all(heard.interviews.get(hub.label(each)) == "successful" for each in group)

    await until(f"{', '.join(each.kind for each in group)} are interviewed", done, 60)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[MeasuredHub]:
    home = devices(**dict.fromkeys(HOSTED, 1))
    with running_broker(tmp_path) as (port, pid):
        async with opened(Contender(THEIRS, Zigbee2mqtt), tmp_path, "home", port, pid, home) as hub:
            await hub.start_dongle("manual")
            await hub.start()
            yield hub


async def test_it_pairs_each_kind_shows_its_reports_and_sets_it(hub: MeasuredHub) -> None:
    assert set(ROWS) == set(HOSTED)
    heard = Heard()
    client = await LoadClient.connect(hub.broker, heard.message, f"{hub.base}/#")
    await hub.permit(client)
    for first in range(0, len(hub.home), AT_ONCE):
        await pair(hub, client, heard, hub.home[first : first + AT_ONCE])
    known = {each["ieee_address"]: each for each in heard.known}
    for device in hub.home:
        shown = known[hub.label(device)]
        kind = KINDS[device.kind]
        assert (shown["model_id"], shown["manufacturer"]) == (kind.model, kind.manufacturer)
        assert shown["definition"]["source"] == ("native" if kind.product else "generated"), device.kind
        assert shown["definition"]["exposes"], device.kind
    for device in hub.home:
        await report_and_set(hub, client, heard, device)
    client.close()


async def report_and_set(hub: MeasuredHub, client: LoadClient, heard: Heard, device: Device) -> None:
    row, topic = ROWS[device.kind], f"{hub.base}/{hub.label(device)}"
    heard.states.pop(topic, None)
    await hub.ask(**row.happens, device=device.name)

    async def shown() -> bool:
        return holds(heard.states.get(topic, {}), row.states)

    await until(f"{device.kind}: {row.states}", shown)
    if row.set is None:
        return

    async def send() -> None:
        client.publish(f"{topic}/set", json.dumps(row.set).encode())

    await gets(hub, device, send)
