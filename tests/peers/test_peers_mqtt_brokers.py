"""Our MQTT client at brokers of five makes, which all read and write PUBLISH and PUBACK themselves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from demo.node_packages import NODE, installed
from tests.harness.broker_process import BrokerProcess
from tests.harness.free_port import free_port
from tests.harness.mqtt_recorder import running
from tests.harness.rabbitmq_nats import nats, rabbitmq

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
AMQTT = """
import asyncio, sys
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig

async def serve() -> None:
    anybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    bind = f"127.0.0.1:{sys.argv[1]}"
    await Broker(BrokerConfig(listeners={"default": ListenerConfig(bind=bind)}, plugins=anybody)).start()
    await asyncio.get_running_loop().create_future()

asyncio.run(serve())
"""


def _process(command: Callable[[int], list[str]]) -> Callable[[Path], AbstractContextManager[BrokerProcess]]:
    @contextmanager
    def started(folder: Path) -> Iterator[BrokerProcess]:
        port = free_port()
        broker = BrokerProcess(command(port), port, folder / "broker.log")
        try:
            yield broker
        finally:
            broker.stop()

    return started


BROKERS = {
    "mosquitto": _process(lambda port: ["mosquitto", "-p", str(port)]),
    "rabbitmq": rabbitmq,
    "nats-server": nats,
    "amqtt": _process(lambda port: [sys.executable, "-c", AMQTT, str(port)]),
    "aedes": _process(
        lambda port: [str(NODE), str(HERE / "aedes" / "broker.js"), str(installed(HERE / "aedes")), str(port)]
    ),
}


@pytest.fixture(scope="module", params=list(BROKERS))
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with BROKERS[request.param](tmp_path_factory.mktemp("broker")) as found:
        yield found.port


@pytest.mark.parametrize("qos", [0, 1])
async def test_messages_go_there_and_come_back_whole_in_order_and_once(port: int, qos: int) -> None:
    async with running(port, f"all-{qos}", fallback=True, connect_timeout=5.0) as (both, told):
        both.subscribe([f"all-{qos}/#"])
        await told.until(lambda: told.subscriptions, 60)
        payloads = [bytes([n]) * (n * n) for n in range(200)]
        tokens = [both.publish(f"all-{qos}/x", each, qos=qos, expiry=60) for each in payloads]
        await told.until(lambda: len(told.messages) == len(told.ends) == 200, 60)
        assert [each.payload for each in told.messages] == payloads
        assert sorted(token for token, code in told.ends if code < 0x80) == tokens  # RabbitMQ keeps no order there
        assert not told.disconnections[1:] and not both.outstanding


async def test_a_cut_with_messages_in_flight_loses_none_and_keeps_their_order(port: int) -> None:
    """Whether or not the broker has our session still."""
    async with (
        running(port, "reader", fallback=True, connect_timeout=5.0) as (reader, read),
        running(port, "writer", fallback=True, connect_timeout=5.0, max_in_flight=16) as (writer, wrote),
    ):
        reader.subscribe(["cut/#"])
        await read.until(lambda: read.subscriptions, 60)
        await wrote.until(lambda: wrote.connections, 60)
        tokens = [writer.publish("cut/x", b"%d" % n) for n in range(100)]
        writer.flush()
        assert writer._wire is not None
        writer._wire._socket.shutdown(socket.SHUT_RDWR)
        await wrote.until(lambda: len(wrote.ends) == 100, 60)
        assert len(wrote.connections) >= 2 and sorted(token for token, _ in wrote.ends) == tokens
        await read.until(lambda: b"99" in {each.payload for each in read.messages}, 60)
        first_time = list(dict.fromkeys(int(each.payload) for each in read.messages))
        assert first_time == list(range(100))


async def test_what_is_kept_comes_marked_and_is_gone_when_emptied(port: int) -> None:
    async with running(port, "keeper", fallback=True, connect_timeout=5.0) as (keeper, kept):
        await kept.until(lambda: kept.connections, 60)
        keeper.publish("kept/x", b"state", retain=True)
        await kept.until(lambda: kept.ends, 60)
        keeper.subscribe(["kept/x"])  # RabbitMQ brings what it keeps for a filter without wildcards
        # Aedes acknowledges a message before it hands it on: it may come by itself, too.
        await kept.until(lambda: [each for each in kept.messages if each.retained], 60)
        assert {each.payload for each in kept.messages} == {b"state"}
        keeper.publish("kept/x", b"", retain=True)
        await kept.until(lambda: len(kept.ends) == 2, 60)
