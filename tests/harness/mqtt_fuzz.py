"""Octets that no broker should send, into the stage: ``python -m tests.harness.mqtt_fuzz COUNT [SEED]``.

Each input is a connection: valid packets, some of them changed by ``mutate``, in pieces. Whatever comes, the stage
raises nothing, gives events or says by a ``PeerError`` in ``fault`` why it doesn't, keeps one packet at most, and each
message in flight ends at most once.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from carriage.mqtt.options import Message, Token
from carriage.mqtt.outgoing import Outgoing
from carriage.mqtt.packets import Unread, publish_properties
from carriage.mqtt.stage import FIRST_ID, Stage
from layer.errors import PeerError
from tests.harness.mqtt_mutations import mutate
from tests.harness.paho_end import CONNACK

MOST = 300
_HEAD = 4 + 0xFFFF  # of a PUBLISH that is too long: what names it

_TEXTS = publish_properties("application/adtls", b"\0\xff", "atls/app/r", 60)
_USER = bytes.fromhex("0f 26 0001 6b 0001 76 26 0000 0000 0b 8001")
_BODIES = [b"\0\x01a" + number + rest + b"hi" for number in (b"", b"\0\x07") for rest in (b"\0", _TEXTS, _USER)]
PACKETS = [
    *(bytes((0x30 if n < 3 else 0x32, len(body))) + body for n, body in enumerate(_BODIES)),
    b"\x3a\x91\x03" + _BODIES[4][:5] + bytes(396),  # too long
    *(bytes((0x40, 2, FIRST_ID >> 8, n)) for n in range(3)),
    bytes((0x40, 4, FIRST_ID >> 8, 1, 0x87, 0)),
    bytes((0x40, 3, 0, 1, 0x10)),  # of no message in flight
    bytes.fromhex("d0 00"),
    bytes.fromhex("90 04 00 01 00 01"),
    bytes.fromhex("e0 02 8b 00"),
    bytes.fromhex("62 02 00 01"),
    bytes.fromhex("34 06 00 01 61 00 01 00"),
]
"""What a broker may send after its CONNACK."""


def one_connection(rng: random.Random, found: Counter[str]) -> None:
    """One input; counts what came of it. AssertionError, or whatever the stage raised: it is at fault."""
    version = rng.choice((4, 5))
    in_flight: dict[int, Outgoing] = {}
    stage = Stage(version, MOST, in_flight, {})
    for n in range(3):
        stage.publish(Outgoing(Token(n), "t", b"x", 1, False, None, None, None, 0.0, None), None)
    packets = [rng.choice(PACKETS) for _ in range(rng.randrange(1, 8))]
    octets = b"".join(mutate(rng, packet) if rng.random() < 0.4 else packet for packet in packets)
    if rng.random() < 0.9:
        octets = CONNACK[version] + octets
    landed: list[object] = []
    while octets:
        size = rng.choice((1, 2, 7, 40, len(octets)))
        piece, octets = octets[:size], octets[size:]
        for event in stage.receive(piece):
            kind = type(event)
            assert kind in (Message, Unread, tuple, bytes)
            found[kind.__name__] += 1
            if isinstance(event, tuple):
                landed.append(event[0])
        assert len(stage.buffered) <= max(MOST, _HEAD) + 5
        if stage.fault is not None:
            assert type(stage.fault) is PeerError
            found["PeerError"] += 1
            break
    left = [message.token for message in in_flight.values()]
    assert Counter([*landed, *left]) == Counter([Token(0), Token(1), Token(2)])


def fuzz(count: int, seed: int) -> Counter[str]:
    """So many inputs; how often which event came of them."""
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    for n in range(count):
        try:
            one_connection(rng, found)
        except Exception as failure:
            failure.add_note(f"input {n} of seed {seed}")
            raise
    return found


if __name__ == "__main__":
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began = time.monotonic()
    print(f"{count} inputs, seed {seed}: {dict(fuzz(count, seed))}, {time.monotonic() - began:.0f} s")
