"""The subscriber that reads what it took when all is over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench.mqtt_client import LoadClient
from bench.start import running_broker
from bench.subscriber import BlockSubscriber, _bounds

pytestmark = pytest.mark.process


@pytest.mark.parametrize("apart", [0.0, 0.005])
async def test_every_publication_is_there_with_its_topic_in_order(tmp_path: Path, apart: float) -> None:
    sent = [b"%d" % number * (number % 90) for number in range(600)]
    with running_broker(tmp_path) as (port, _):
        client = await LoadClient.connect(port, lambda *_: None)
        subscriber = await BlockSubscriber.connect(port, "home/+", apart)
        for number, payload in enumerate(sent):
            client.publish(f"home/{number}", payload)
        client.publish("elsewhere", b"not asked for")
        octets = -1
        while octets != (octets := subscriber.octets):  # noqa: ASYNC110 - what a broker sends
            await asyncio.sleep(0.2)
        client.close()
    found = subscriber.close()
    assert [(topic, payload) for _, topic, payload in found] == [(f"home/{n}", each) for n, each in enumerate(sent)]
    assert [at for at, _, _ in found] == sorted(at for at, _, _ in found)


def test_a_packet_in_two_blocks_waits_for_its_end() -> None:
    packet = b"\x30\x80\x01" + bytes(128)
    assert _bounds(packet, 0) == (3, 131)
    assert all(_bounds(packet[:end], 0) is None for end in range(len(packet)))
