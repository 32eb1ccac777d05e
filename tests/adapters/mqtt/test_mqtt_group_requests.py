"""Requests and set keys for groups in zigbee2mqtt's words: what they ask of the gateway, and which can't be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.mqtt.devices.group_requests import REQUESTS, GroupTopics
from adapters.mqtt.devices.topics import Get, HomeSpace, Set
from carriage.mqtt.options import Message
from gateway.api.errors import PeerError
from gateway.api.model import LinkSecurity, Peer

BROKER = Peer(scheme="mqtt", claims=("broker:localhost",), link=LinkSecurity(protocol="none"))
ANSWER = {"name": "living", "id": 7, "group": "living", "device": "desk", "pending": False,
          "bindings": [{"cluster": "on_off"}], "failed": [], "groups": []}  # fmt: skip


class Gateway:
    """The gateway's side: what it was asked, and the sets that came through."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.sets: list[tuple[Set | Get, Any]] = []
        self.said: list[tuple[str, Any]] = []
        self.acknowledged = 0
        self.refuses = ""
        self.administers = False
        self.stands: list[tuple[str, bytes]] = []

    async def administer(self, peer: Peer, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((command, dict(arguments)))
        if self.refuses:
            raise PeerError(self.refuses)
        return ANSWER

    def may_administer(self, peer: Peer) -> bool:
        return self.administers

    def stand(self, topic: str, payload: bytes, expiry: int | None = None) -> None:
        self.stands.append((topic, payload))

    def take(self, topic: Set | Get, message: Message, source: Peer, lost: bool) -> None:
        self.sets.append((topic, json.loads(message.payload)))

    def answer(self, topic: str, body: bytes, correlation: bytes | None) -> None:
        self.said.append((topic, json.loads(body)))

    def acknowledge(self, message: Message) -> None:
        self.acknowledged += 1


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def request(gateway: Gateway, command: str, **values: Any) -> Mapping[str, Any]:
    context: Any = gateway
    return await REQUESTS[command](values, context, BROKER)


@pytest.mark.parametrize(
    ("command", "values", "asked", "given"),
    [
        ("group/add", {"friendly_name": "living"}, "group-add", {"name": "living"}),
        ("group/add", {"friendly_name": "living", "id": 7}, "group-add", {"name": "living", "id": 7}),
        ("group/remove", {"id": 7, "force": True}, "group-remove", {"group": 7}),
        ("group/rename", {"from": 7, "to": "hall", "homeassistant_rename": True}, "group-rename",
         {"from": 7, "to": "hall"}),
        ("group/members/add", {"group": "living", "device": "desk", "endpoint": "default"}, "group-members-add",
         {"group": "living", "device": "desk"}),
        ("group/members/remove", {"group": 7, "device": "desk", "endpoint": "2", "skip_disable_reporting": True},
         "group-members-remove", {"group": 7, "device": "desk", "endpoint": 2}),
        ("group/members/remove_all", {"device": "desk"}, "group-members-clear", {"device": "desk"}),
        ("group/members/remove_all", {"group": "living"}, "group-members-clear", {"group": "living"}),
        ("device/bind", {"from": "remote", "to": "living", "clusters": ["genOnOff"]}, "bind",
         {"from": "remote", "to": "living", "clusters": ["genOnOff"]}),
        ("device/unbind", {"from": "remote", "from_endpoint": 1, "to": "desk", "to_endpoint": "default"}, "unbind",
         {"from": "remote", "from_endpoint": 1, "to": "desk"}),
        ("groups", {}, "groups", {}),
    ],
)  # fmt: skip
async def test_requests(gateway: Gateway, command: str, values: Any, asked: str, given: Any) -> None:
    await request(gateway, command, **values)
    assert gateway.asked == [(asked, given)]


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("group/add", {}),
        ("group/add", {"friendly_name": True}),
        ("group/add", {"friendly_name": "a", "members": []}),
        ("group/remove", {"id": None}),
        ("group/members/add", {"group": "living"}),
        ("group/members/add", {"group": "living", "device": "desk", "endpoint": "left"}),
        ("group/members/add", {"group": "living", "device": "desk", "endpoint": "1" * 5000}),
        ("group/members/remove_all", {}),
        ("device/bind", {"from": "remote"}),
    ],
)
async def test_requests_that_lack_something_ask_for_nothing(gateway: Gateway, command: str, values: Any) -> None:
    with pytest.raises(PeerError):
        await request(gateway, command, **values)
    assert gateway.asked == []


def said(payload: bytes) -> Message:
    return Message("home/living/set", payload, False, 1, None, None, None, None, (1, 1))


async def settled(gateway: Gateway, payload: Any, topic: Set | Get | None = None, lost: bool = False) -> bool:
    """Whether a set was taken for one about scenes, and all that follows is done."""
    context: Any = gateway
    topics = GroupTopics(context, HomeSpace("home"), context, gateway.answer, gateway, gateway.acknowledge)
    octets = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    took = topics.took(topic or Set("living"), said(octets), BROKER, lost)
    await asyncio.gather(*topics._tasks)
    return took


@pytest.mark.parametrize(
    ("values", "asked", "given"),
    [
        ({"scene_store": 1}, "scene-store", {"scene": 1}),
        ({"scene_store": "evening"}, "scene-store", {"name": "evening"}),
        ({"scene_store": {"ID": 1, "name": "evening"}}, "scene-store", {"scene": 1, "name": "evening"}),
        ({"scene_add": {"ID": 2, "name": "a", "group_id": 7, "transition": 1, "state": "ON", "brightness": 9}},
         "scene-add", {"scene": 2, "name": "a", "transition": 1, "values": {"state": "ON", "brightness": 9}}),
        ({"scene_remove": 1}, "scene-remove", {"scene": 1}),
        ({"scene_remove_all": ""}, "scene-remove", {}),
        ({"scene_rename": {"ID": 1, "name": "night"}}, "scene-rename", {"scene": 1, "name": "night"}),
    ],
)  # fmt: skip
async def test_scenes_are_changed_by_an_administrator(gateway: Gateway, values: Any, asked: str, given: Any) -> None:
    assert await settled(gateway, values | {"transaction": "t"})
    assert gateway.asked == [(asked, {"group": "living", **given})]
    answer = {"property": next(iter(values)), "status": "delivered", "transaction": "t"}
    assert gateway.said == [("home/living/answer", answer)]
    assert gateway.acknowledged == 1


async def test_a_scene_that_an_earlier_run_may_have_stored_is_not_stored_as_the_lamps_are_now(gateway: Gateway) -> None:
    assert await settled(gateway, {"scene_store": 1}, lost=True)
    assert gateway.asked == [] and gateway.acknowledged == 1
    assert gateway.said[0][1] == {"property": "scene_store", "status": "failed", "detail": "restarted"}


async def test_a_refusal_is_the_answer(gateway: Gateway) -> None:
    gateway.refuses = "denied"
    assert await settled(gateway, {"scene_store": 1})
    assert gateway.said[0][1] == {"property": "scene_store", "status": "failed", "detail": "denied"}
    assert await settled(gateway, {"scene_add": "evening"})
    assert gateway.said[1][1]["detail"].startswith("expected ID")


@pytest.mark.parametrize(
    ("value", "recalled"),
    [
        ("evening", {"scene": "evening"}),
        (1, {"scene": "1"}),
        ({"ID": 1, "transition": 2}, {"scene": "1", "transition": 2}),
    ],
)
async def test_a_scene_is_recalled_as_an_action_whatever_word_it_has(
    gateway: Gateway, value: Any, recalled: Any
) -> None:
    assert await settled(gateway, {"scene_recall": value, "transaction": 5})
    assert await settled(gateway, json.dumps(value).encode(), Set("living", "scene_recall"))
    assert gateway.sets == [
        (Set("living"), {"scene_recall": recalled, "transaction": 5}),
        (Set("living"), {"scene_recall": recalled}),
    ]
    assert gateway.asked == []


async def test_other_sets_and_gets_are_left_to_others(gateway: Gateway) -> None:
    assert not await settled(gateway, {"state": "ON"})
    assert not await settled(gateway, b"ON")
    assert not await settled(gateway, {"scene_recall": ""}, Get("living"))
    assert not await settled(gateway, {"effect": "scene_1"})  # a word of another key
    with pytest.raises(PeerError, match="without other keys"):
        await settled(gateway, {"scene_store": 1, "state": "ON"})
    for topic, octets in ((None, b'{"scene_store": '), (Set("living", "scene_add"), b'{"ID": 1, "transition": NaN}')):
        with pytest.raises(PeerError):
            await settled(gateway, octets, topic)


async def test_the_list_of_groups_goes_from_the_broker_with_the_right_to_administer(gateway: Gateway) -> None:
    context: Any = gateway
    topics = GroupTopics(context, HomeSpace("home"), context, gateway.answer, gateway, gateway.acknowledge)

    async def told(**how: bool) -> list[bytes]:
        gateway.stands.clear()
        topics.tell(BROKER, **how)
        if topics._asking is not None:
            await topics._asking
        assert {topic for topic, _ in gateway.stands} <= {"home/bridge/groups"}
        return [payload for _, payload in gateway.stands]

    assert await told(again=True) == [b""]  # an earlier run may have had the right
    gateway.administers = True
    assert await told() == [b"[]"]
    assert await told() == []
    gateway.administers = False
    assert await told() == [b""]
    assert await told() == []
    gateway.administers = True
    gateway.stands.clear()
    topics.tell(BROKER)
    await asyncio.sleep(0)
    gateway.administers = False  # while the list is on its way
    topics.tell(BROKER)
    assert topics._asking is not None
    await topics._asking
    assert [payload for _, payload in gateway.stands][-1:] in ([], [b""])
