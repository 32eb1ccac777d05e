"""How clients reach a device by the broker's topics: forms of its Thing Description.

A topic has the state of the whole device, so no form reads or observes one property; that of the device does all. What
has no form here (an event, whose message has more than its data; an action with an input or a transaction) is only in
docs/mqtt.md.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from adapters.mqtt.devices.topics import HomeSpace
from carriage.mqtt.messages import JSON_TYPE
from carriage.mqtt.options import MqttOptions
from gateway.api.model import DeviceView, Form, Forms
from gateway.kit.thing_description import NEEDS

NAME: Final = "mqtt"
_PREFIXES: Final = {"mqv": "http://www.example.org/mqtt-binding#"}
"""As the W3C's MQTT binding template has it (WoT Binding Templates, MQTT, 2023)."""
_PUBLISH: Final = {"mqv:controlPacket": "publish", "mqv:qos": "1"}
_ALL: Final = ("readallproperties", "observeallproperties", "unobserveallproperties")


def forms(shown: DeviceView, topics: HomeSpace, origin: str, options: MqttOptions) -> Forms | None:
    """``shown``: as the broker's clients may use it. ``origin``: the broker's address for them, such as
    ``mqtts://broker.example``; empty: the config has none. They are taken to log in as the gateway does."""
    if not origin:
        return None
    may = shown.may

    def form(topic: str, *operations: str, **more: str) -> tuple[Form, ...]:
        granted = [each for each in operations if NEEDS[each] in may]
        href = f"{origin}/{quote(topic)}"
        return ({"href": href, "contentType": JSON_TYPE, "op": list(granted), **more},) if granted else ()

    return Forms(
        name=NAME,
        security={"scheme": "basic" if options.username is not None else "auto"},
        prefixes=_PREFIXES,
        properties={
            each.name: form(topics.command(shown.name, each.name), "writeproperty", **_PUBLISH)
            for each in shown.properties
            if each.writable and each.readable
        },
        actions={
            each.name: form(topics.action(shown.name, each.name), "invokeaction", **_PUBLISH)
            for each in shown.actions
            if each.idempotent and each.input is None
        },
        thing=form(topics.state(shown.name), *_ALL, **{"mqv:controlPacket": "subscribe"}),
    )
