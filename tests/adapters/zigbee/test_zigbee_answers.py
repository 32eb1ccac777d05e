"""Whatever a device answers to what it is asked: nothing is raised, each question ends, and each command once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.zigbee import reports
from adapters.zigbee.radio_port import Frame, SendOutcome
from adapters.zigbee.reporting_memory import MEMORY
from adapters.zigbee.times import TIMES
from carriage.zigbee import zcl
from carriage.zigbee.foundation import General
from gateway.api.model import (
    Address,
    EnvelopeId,
    Join,
    Leave,
    LinkSecurity,
    Peer,
    Scalar,
    Transmit,
)
from gateway.api.model import (
    Outcome as Fate,
)
from simulator.network import device_kinds
from simulator.network.foundation import ClusterServer, respond
from tests.adapters.zigbee.quiet_network import EUI64, House
from tests.adapters.zigbee.zigbee_world import came
from tests.harness.interactions import read_or_write

IDENTITY = device_kinds.Identity("ACME", "Z1", mains=True)
ANSWERS = {General.READ: 0x01, General.WRITE: 0x04, General.CONFIGURE_REPORTING: 0x07, General.READ_REPORTING: 0x09}
APP = Peer(scheme="mqtt", claims=("user:app",), link=LinkSecurity(protocol="tls1.3"))
ASKED = [("state", True), ("state", False), ("state", None), ("temperature", None), ("battery", None)]

Change = Callable[[bytes], bytes]
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.integers(0, 12).map(lambda end: lambda octets: octets[:end]),
    st.tuples(st.integers(0, 12), st.binary(min_size=1, max_size=3)).map(
        lambda at: lambda octets: octets[: at[0]] + at[1] + octets[at[0] + len(at[1]) :]
    ),
    st.binary(max_size=20).map(lambda other: lambda octets: other),
    st.just(lambda octets: octets),
)
"""What becomes of the payload of a proper answer."""


class Talk:
    """A device behind a ``House``: answers as the simulator's servers do, or something else."""

    def __init__(self, folder: Path, *, set_up: bool) -> None:
        self.house = House(folder, set_up=set_up)
        made: tuple[ClusterServer, ...] = tuple(
            device_kinds.CLUSTERS[cluster](IDENTITY) for cluster in (0, 1, 0x0006, 0x0402, 0x0405)
        )
        self.servers = {server.id: server for server in made}
        self.counter = 0

    def answer(self, frame: Frame, change: Change, *, default: bool) -> None:
        """``default``: by a default response in the place of the answer."""
        frame.done(SendOutcome.DELIVERED)
        if not frame.profile:
            octets = frame.payload[:1] + change(b"\x00")
            self.hear(0, frame.cluster | 0x8000, octets)
            return
        request = zcl.decode(frame.payload)
        if request.command == General.DEFAULT_RESPONSE and not request.cluster_specific:
            return
        proper = respond(self.servers[frame.cluster], request, self.house.time)
        assert proper is not None
        if default or proper.command == General.DEFAULT_RESPONSE:
            command, payload = int(General.DEFAULT_RESPONSE), bytes((request.command,)) + change(b"\x00")
        else:
            command, payload = proper.command, change(proper.payload)
        self.hear(frame.endpoint, frame.cluster, bytes((0x18, request.sequence, command)) + payload)

    def hear(self, endpoint: int, cluster: int, octets: bytes) -> None:
        self.counter = (self.counter + 1) & 0xFF
        semantics = self.house.semantics
        semantics.heard(self.house.record, self.house.time)
        self.house.takes(came(endpoint, cluster, self.counter, octets))
        semantics.turn(self.house.time)

    def later(self, seconds: float) -> None:
        self.house.time += seconds
        self.house.semantics.turn(self.house.time)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CHANGES, st.booleans()), max_size=20))
def test_its_setting_up_ends_once_it_answers_as_it_should(changes: list[tuple[Change, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        talk = Talk(Path(folder), set_up=False)
        frames = talk.house.air.frames
        for change, default in changes:
            if not frames:
                talk.later(TIMES.answer + 1)
                talk.later(7200.0)
                talk.hear(1, 0x0402, b"\x18\x00\x0a\x00\x00\x29\x00\x00")
            if frames:
                talk.answer(frames.pop(0), change, default=default)
        for _ in range(100):
            while frames:
                talk.answer(frames.pop(0), lambda octets: octets, default=False)
            if not talk.house.semantics.shown(EUI64)["setup_steps_left"]:
                break
            talk.later(TIMES.answer + 1)
            talk.later(7200.0)
            talk.hear(1, 0x0402, b"\x18\x00\x0a\x00\x00\x29\x00\x00")
        assert talk.house.semantics.shown(EUI64)["setup_steps_left"] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ASKED), CHANGES, st.booleans()), min_size=1, max_size=6))
def test_each_command_ends_once(asked: list[tuple[tuple[str, Scalar | None], Change, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        talk = Talk(Path(folder), set_up=True)
        house = talk.house
        for number, ((name, value), change, default) in enumerate(asked, 1000):
            command = read_or_write(
                id=EnvelopeId(number), source=APP, to="lamp", name=name, value=value, received_at=house.time
            )
            house.semantics.carry_out(command, Transmit(command, Address(scheme="zigbee", claim=f"eui64:{EUI64}")))
            while house.air.frames:
                talk.answer(house.air.frames.pop(0), change, default=default)
        talk.later(TIMES.answer + 1)
        final: list[Any] = [each.id for each in house.context.receipts if each.outcome is not Fate.HELD]
        assert sorted(final) == [EnvelopeId(1000 + number) for number in range(len(asked))]


def test_a_late_word_on_what_it_lacks_brings_no_device_back(tmp_path: Path) -> None:
    house = House(tmp_path)
    semantics, model = house.semantics, house.record.model
    semantics.left(house.record, house.time)
    reports.missing(model, model.slots["battery"])
    assert [type(each) for each in house.context.submitted] == [Join, Leave]
    assert not (tmp_path / MEMORY).exists()
