"""The demo's second part: devices as shops sell them, which the gateway reads and sets itself: lamps, a thermometer, a
contact, a button, a thermostat.

Home automation is played by our own MQTT client and a phone by our own CoAP client, so that nothing else need be
installed. Each step waits for what it promises, and fails the demo if that does not come.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Request, Response
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token
from demo.process import ProcessFailedError
from demo.stack import Stack
from layer.credentials import Credentials, Psk
from layer.errors import TransportError
from simulator.ctl import ask

USER: Final = "home-assistant"
"""The login of home automation at the broker."""
KINDS: Final = {
    "desk": "lamp",
    "hall": "thermometer",
    "shelf": "color-lamp",
    "door": "contact-sensor",
    "button": "panic-button",
    "heating": "thermostat",
}
"""The devices, by name."""
_EUI64: Final = {name: f"00:0d:6f:00:0e:00:00:{number:02x}" for number, name in enumerate(KINDS, 1)}
_ENROL: Final = "enrol: auto-enroll-request"
NETWORK: Final = "devices:\n" + "".join(
    f'  - {{eui64: "{eui64}", kind: {KINDS[name]}, name: {name}, poll_interval: 0.2, {_ENROL}}}\n'
    for name, eui64 in _EUI64.items()
)
SUBJECTS: Final = (
    "".join(f'  {name}: {{link: zigbee, eui64: "{eui64}"}}\n' for name, eui64 in _EUI64.items())
    + "  broker: {link: mqtt, broker: 127.0.0.1}\n"
)
RULES: Final = (
    f"  - {{id: home, effect: permit, subject: [phone, broker], resource: [{', '.join(KINDS)}], "
    "action: [read, observe, write]}\n"
)
_RED: Final = {"x": 0.64, "y": 0.33}
REPORTED: Final = 19.25
WAIT: Final = 30.0
"""Seconds for each step."""

Say = Callable[[str], None]


class Automation:
    """What home automation heard from the broker: topic to its last message. An ``MqttHandler``."""

    def __init__(self) -> None:
        self.heard: dict[str, Any] = {}
        self.news = asyncio.Event()

    def message(self, message: Message) -> None:
        self.heard[message.topic] = json.loads(message.payload) if message.payload else None
        self.news.set()

    async def until(self, what: str, holds: Callable[[dict[str, Any]], object]) -> None:
        try:
            async with asyncio.timeout(WAIT):
                while not holds(self.heard):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise ProcessFailedError(f"MQTT: no {what} within {WAIT:.0f} s; heard: {self.heard}") from None

    def connected(self, session_present: bool) -> None: ...

    def refused(self, code: int, reason: str) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def subscribed(self, topic_filter: str, code: int) -> None: ...

    def published(self, token: Token, code: int) -> None: ...

    def dropped(self, token: Token, reason: DropReason) -> None: ...


async def show_devices(stack: Stack, say: Say) -> list[str]:
    """Do the steps, one line said for each. The table of what the gateway read. ProcessFailedError: a step failed."""
    home = Automation()
    async with automation(stack, home) as mqtt, _client(stack, "phone") as phone, _client(stack, "tablet") as tablet:
        await home.until("devices", lambda heard: {f"home/{name}" for name in KINDS} <= set(heard))
        await _until(phone, "hall/temperature", lambda answer: answer.code == codes.CONTENT)
        say("a lamp (desk) and a thermometer (hall) have joined")

        await _simulator(stack, "report", device="hall", name="temperature", value=REPORTED)
        await home.until("report", lambda heard: heard["home/hall"].get("temperature") == REPORTED)
        say(f"hall reports {REPORTED} degrees over ZigBee; on MQTT it is in the state of home/hall")
        answer = await _until(phone, "hall/temperature", lambda answer: answer.payload == str(REPORTED).encode())
        say(f"phone, over CoAP: GET /d/hall/temperature is answered {codes.dotted(answer.code)} {REPORTED}")
        refused = _expect(await _request(tablet, _get("hall/temperature")), codes.NOT_FOUND)
        say(f"tablet, whom no rule permits that: {refused}, as for a device that there is not")

        mqtt.publish("home/desk/set", b'{"state": "ON"}')
        await home.until("answer", lambda heard: heard.get("home/desk/answer", {}).get("status") == "delivered")
        await home.until("state", lambda heard: heard["home/desk"]["state"] == "ON")
        await _lamp_is(stack, 1)
        say('home automation, over MQTT: home/desk/set {"state": "ON"} is answered delivered; the lamp is on')
        put = Request(codes.PUT, opt.uri(["d", "desk", "state"]), b"off")
        changed = _expect(await _request(phone, put), codes.CHANGED)
        await home.until("state", lambda heard: heard["home/desk"]["state"] == "OFF")
        await _lamp_is(stack, 0)
        say(f"phone, over CoAP: PUT /d/desk/state off is answered {changed}; the lamp is off, and MQTT has it so")
        await _show_more(stack, home, mqtt, say)
        return _table([await stack.ask("devices", "show", name) for name in ("hall", "desk")])


async def _show_more(stack: Stack, home: Automation, mqtt: MqttClient, say: Say) -> None:
    """A lamp with color, a contact, a button and a thermostat."""
    wanted = {"state": "ON", "brightness": 100, "color": _RED, "transition": 1}
    mqtt.publish("home/shelf/set", json.dumps(wanted).encode())
    await home.until("dimmed lamp", lambda heard: heard["home/shelf"].get("brightness") == 100)
    await home.until("red lamp", lambda heard: abs(heard["home/shelf"]["color"]["x"] - _RED["x"]) < 0.01)
    say("home automation: one set has shelf fade to red and to 100 of 254, over a second")

    await home.until("closed door", lambda heard: heard["home/door"].get("contact") is True)
    await _simulator(stack, "act", device="door", what="open")
    await home.until("open door", lambda heard: heard["home/door"]["contact"] is False)
    say("the door is opened: its sensor has enrolled with the gateway, and MQTT has contact false")

    await home.until("button", lambda heard: heard["home/button"].get("sos") is False)
    await _simulator(stack, "press", device="button")
    await home.until("press", lambda heard: heard["home/button"]["sos"] is True)
    say("the panic button is pressed: MQTT has sos true")

    mqtt.publish("home/heating/set/occupied_heating_setpoint", b"22.5")
    await home.until("heating", lambda heard: heard["home/heating"].get("running_state") == "heat")
    say("home automation: 22.5 degrees for heating, whose running state is heat now")


def _table(devices: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {device['name']:6} {each['name']:12} {json.dumps(each['value'])} {each['unit'] or ''}".rstrip()
        for device in devices
        for each in device["properties"]
        if "value" in each
    ]


@asynccontextmanager
async def automation(stack: Stack, home: Automation) -> AsyncIterator[MqttClient]:
    """Home automation's client at the broker, as long as the block lasts."""
    assert stack.broker is not None
    options = MqttOptions(
        host="127.0.0.1",
        port=stack.broker.port,
        client_id=USER,
        username=USER,
        password=stack.broker.passwords[USER].read_text().strip(),
        version=4 if stack.broker.version == "3.1.1" else 5,
    )
    client = MqttClient(options, home)
    client.subscribe(["home/+", "home/+/answer", "home/+/event/+"])
    running = asyncio.get_running_loop().create_task(client.run())
    try:
        yield client
    finally:
        await client.stop(1.0)
        await running


@asynccontextmanager
async def _client(stack: Stack, identity: str) -> AsyncIterator[CoapsClient]:
    assert stack.link_psks is not None
    credentials = Credentials(psk=Psk(identity, stack.link_psks.keys[identity]))
    client = CoapsClient("127.0.0.1", stack.coaps_port, credentials, keepalive=None)
    try:
        await client.connect()
    except TransportError as error:
        raise ProcessFailedError(f"CoAP: {error}") from None
    try:
        yield client
    finally:
        client.close()


def _get(path: str) -> Request:
    return Request(codes.GET, (*opt.uri(["d", *path.split("/")]), (opt.ACCEPT, opt.encode_uint(0))))  # as text


async def _request(client: CoapsClient, request: Request) -> Response:
    try:
        async with asyncio.timeout(WAIT):
            return await client.request(request)
    except (TransportError, TimeoutError) as error:
        raise ProcessFailedError(f"CoAP: {str(error) or 'no answer'}") from None


def _expect(answer: Response, code: int) -> str:
    """Its code as people write it."""
    if answer.code != code:
        words = answer.payload.decode("utf-8", "replace")
        raise ProcessFailedError(f"CoAP: {codes.dotted(answer.code)} {words}, expected {codes.dotted(code)}")
    return codes.dotted(code)


async def _until(client: CoapsClient, path: str, holds: Callable[[Response], bool]) -> Response:
    """Ask until the answer is right."""
    for _ in range(100):
        answer = await _request(client, _get(path))
        if holds(answer):
            return answer
        await asyncio.sleep(0.2)
    raise ProcessFailedError(f"CoAP: /d/{path} is not what it should be")


async def _simulator(stack: Stack, do: str, **arguments: object) -> Any:
    return await asyncio.to_thread(ask, stack.attach_socket, {"do": do, **arguments})


async def _lamp_is(stack: Stack, expected: int) -> None:
    """What the lamp itself holds."""
    lamp = next(each for each in await _simulator(stack, "devices") if each["name"] == "desk")
    if lamp["values"]["on_off"] != expected:
        raise ProcessFailedError(f"the lamp has on_off {lamp['values']['on_off']}, not {expected}")
