"""A broker from PyPI for machines without Mosquitto: amqtt (MQTT 3.1.1) with logins and an ACL like the one we ship.

``python -m demo.embedded_broker PORT DIRECTORY``: users are the files ``USER.mqtt-password`` of the directory. Prints
``ready`` when it listens. For the demo only.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

GATEWAY = "gateway"
PREFIX = "atls"
HOUSE = "home-assistant"
"""The login that may read and set ordinary devices."""
ORDERS = re.compile(r"home/[^/]+/(set|get)(/[^/]+)?|home/bridge/request/(device/)?[^/]+")
USER = re.compile(r"[a-z0-9-]{1,64}")


class Login(BaseAuthPlugin):
    """User name and password against the password files."""

    @dataclass
    class Config:
        directory: str = ""

    async def authenticate(self, *, session: Session) -> bool:
        user, password = session.username or "", session.password or ""
        path = Path(self.config.directory) / f"{user}.mqtt-password"
        if not USER.fullmatch(user) or not path.is_file():
            return False
        return hmac.compare_digest(path.read_text().strip().encode(), password.encode())


class Acl(BaseTopicPlugin):
    """The gateway may use all its topics. A user may use what is below its own level, and read the gateway's state;
    one reads devices and sets them."""

    @dataclass
    class Config:
        pass

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        if session is None or topic is None or not session.username:
            return False
        if session.username == GATEWAY:
            return topic.startswith((f"{PREFIX}/", "home/", "homeassistant/"))
        if session.username == HOUSE:
            return bool(ORDERS.fullmatch(topic)) if action == Action.PUBLISH else topic.startswith("home/")
        if topic == f"{PREFIX}/bridge/state":
            return bool(action != Action.PUBLISH)
        return bool(topic.startswith(f"{PREFIX}/{session.username}/"))


async def main(port: int, directory: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = BrokerConfig(
        listeners={"default": ListenerConfig(type="tcp", bind=f"127.0.0.1:{port}")},
        plugins={"demo.embedded_broker.Login": {"directory": directory}, "demo.embedded_broker.Acl": {}},
    )
    broker = Broker(config)
    await broker.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
