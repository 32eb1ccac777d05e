"""A home with more devices than the broker may have messages of that it has not acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

from adapters.mqtt.devices.state_publisher import MAX_OUTSTANDING
from tests.adapters.mqtt.mqtt_home import MqttHome
from tests.adapters.mqtt.semantic_home import ACL, STATE, House, last, settled
from tests.harness.gateway_in_loop import until

Start = Callable[..., Awaitable[MqttHome]]

NAMES = [f"plug{number}" for number in range(MAX_OUTSTANDING // 2 + 30)]
POLICY = """\
layer: 1
policy-version: 1
subjects:
  broker: {link: mqtt, broker: localhost}
%s
rules:
  - {id: home, effect: permit, subject: broker, resource: "*", action: [read, observe, write]}
"""


async def test_each_is_announced_once(start: Start) -> None:
    """Discovery, availability and state of all at once; the broker has room for the half of it."""
    subjects = "\n".join(f"  {name}: {{link: far, user: {name}}}" for name in NAMES)
    home = await start(policy=POLICY % subjects, acl=ACL, devices={}, broker_acl=False)
    app = await home.user("app", "home/#", "homeassistant/#", subscribe=False)
    house = House(home.far)
    for name in NAMES:
        house.join(name, STATE)
        house.tell(name, state=True)
        house.presence(name, True)
    await until(lambda: all(last(app, f"home/{name}/availability") == {"state": "online"} for name in NAMES), 30.0)
    await settled(home)
    announced = Counter(each.topic for each in app.messages if each.topic.endswith("/config"))
    assert len(announced) == len(NAMES) + 1  # and the gateway itself
    assert max(announced.values()) <= 2  # once more at most, if its device was announced in two turns
