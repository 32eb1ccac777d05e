"""How clients reach a device by the broker's topics: forms of its Thing Description. Values that are read or observed
are those of ``value_topics``.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from adapters.mqtt.devices.topics import HomeSpace
from carriage.mqtt.messages import JSON_TYPE
from carriage.mqtt.options import MqttOptions
from gateway.api.model import ActionAffordance, DeviceView, Form, Forms
from gateway.kit.thing_description import NEEDS

NAME: Final = "mqtt"
_PREFIXES: Final = {"mqv": "http://www.example.org/mqtt-binding#"}
"""As the W3C's MQTT binding template has it (WoT Binding Templates, MQTT, 2023)."""
_PUBLISH: Final = {"mqv:controlPacket": "publish", "mqv:qos": "1"}
_READ: Final = ("readproperty",)
_OBSERVE: Final = ("observeproperty", "unobserveproperty")
_ONCE: Final = {"mqv:controlPacket": "publish", "mqv:qos": "0"}
"""Of an action that is not idempotent: a message of QoS 1 may come twice."""
_SUBSCRIBE: Final = {"mqv:controlPacket": "subscribe"}


def forms(shown: DeviceView, topics: HomeSpace, origin: str, options: MqttOptions, retain: bool) -> Forms | None:
    """``shown``: as the broker's clients may use it. ``origin``: the broker's address for them, such as
    ``mqtts://broker.example``; empty: the config has none. They are taken to log in as the gateway does.
    ``retain``: the broker keeps values, so that they can be read."""
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
            each.name: (
                *form(topics.value(shown.name, each.name), *(_READ if retain else ()), *_OBSERVE, **_SUBSCRIBE),
                *(form(topics.command(shown.name, each.name), "writeproperty", **_PUBLISH) if each.writable else ()),
            )
            for each in shown.properties
            if each.readable
        },
        events={
            each.name: form(topics.value(shown.name, each.name), "subscribeevent", "unsubscribeevent", **_SUBSCRIBE)
            for each in shown.events
            if all(other.name != each.name for other in shown.properties)
        },
        actions={
            each.name: form(_topic(each, shown, topics), "invokeaction", **(_PUBLISH if each.idempotent else _ONCE))
            for each in shown.actions
        },
    )


def _topic(action: ActionAffordance, shown: DeviceView, topics: HomeSpace) -> str:
    """The one whose message is the input and nothing else."""
    takes = topics.action if action.input is None else topics.command
    return takes(shown.name, action.name)
