"""The virtual devices behave as ZCL8 says: transitions, groups, scenes, enrolment, motors, remotes. Octets by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from carriage.zigbee import zcl
from simulator.air import ApsFrame, Reach
from simulator.network.clusters import ids, tuya
from simulator.network.clusters.color import hue_of_xy, xy_of_hue, xy_of_mired
from simulator.network.datatypes import UINT8
from simulator.network.device import Binding
from simulator.network.device_kinds import CLUSTERS, KINDS
from simulator.network.foundation import Attribute, make_cluster, respond
from simulator.network.measures import MEASURES

if TYPE_CHECKING:
    World = Any

COORDINATOR = 0x000D6F0000000000
CIE = "00 00 00 00 00 6f 0d 00"


class House:
    """Devices of some kinds, ``a`` is the first: their commands, values, and what the coordinator got."""

    def __init__(self, make_world: Any, *kinds: str, keys: str = "", **more: Any) -> None:
        rows = "\n".join(
            f'  - {{eui64: "00:0d:6f:00:00:00:00:0{number}", kind: {kind}, name: {chr(96 + number)}{keys}}}'
            for number, kind in enumerate(kinds, 1)
        )
        self.world: World = make_world("devices:\n" + rows, **more).form()
        self.world.run(3)
        self.world.coordinator.take()

    def station(self, name: str = "a") -> Any:
        return self.world.population.find(name)

    def endpoint(self, name: str = "a") -> Any:
        return self.station(name).device.endpoints[1]

    def value(self, what: str, name: str = "a") -> float:
        measure = MEASURES[what]
        return measure.of(self.endpoint(name).clusters[measure.cluster])

    def asked(self, cluster: int, text: str, name: str = "a", *, wait: float = 0.05) -> list[str]:
        """A frame for the device; the answers, without the head's first two octets."""
        self.world.coordinator.take()
        self.world.send(self.station(name).device.eui64, bytes.fromhex(text), cluster=cluster)
        self.world.run(wait)
        return [aps.payload[2:].hex() for aps in self.world.coordinator.take() if aps.cluster == cluster]

    def came(self, cluster: int) -> list[zcl.ZclFrame]:
        return [zcl.decode(aps.payload) for aps in self.world.coordinator.take() if aps.cluster == cluster]

    def bind(self, cluster: int, name: str = "a") -> None:
        self.station(name).device.bindings.append(Binding(1, cluster, COORDINATOR, 1))

    def cast(self, cluster: int, group: int, text: str) -> None:
        self.world.sequence += 1
        frame = ApsFrame(
            profile=0x0104,
            cluster=cluster,
            source_endpoint=1,
            destination_endpoint=255,
            payload=bytes.fromhex(text),
            sequence=self.world.sequence,
            group=group,
        )
        self.world.network.broadcast(0xFFFD, 0, frame, lambda sent: None)
        self.world.run(0.05)


@pytest.fixture
def house(make_world: Any) -> Any:
    return lambda *kinds, **more: House(make_world, *kinds, **more)


def test_every_kind_joins_and_has_servers_for_what_it_lists(house: Any) -> None:
    served = {cluster for kind in KINDS.values() for row in kind.endpoints for cluster in row.clusters}
    assert served == set(CLUSTERS)
    for kind in KINDS.values():
        assert kind.model.startswith("virtual") is not bool(kind.product)
        for row in kind.endpoints:
            endpoint = house(kind.name).station().device.endpoints[row.number]
            assert tuple(endpoint.clusters) == row.clusters == endpoint.descriptor.input_clusters


def test_every_measure_is_one_of_a_kind() -> None:
    for name, measure in MEASURES.items():
        servers = [CLUSTERS[measure.cluster](kind.identity(None, None)) for kind in KINDS.values()]
        found = [server for server in servers if measure.attribute in server.attributes]
        assert found, name
        assert measure.plain(found[0], measure.of(found[0])) == pytest.approx(
            float(found[0].attributes[measure.attribute].value), abs=1
        )


# lamps


def test_a_level_moves_step_by_step_and_reports_at_the_minimum_interval(house: Any) -> None:
    home = house("dimmable-lamp")
    home.bind(ids.LEVEL)
    assert home.asked(ids.LEVEL, "00 01 06 00 0000 20 0100 2c01 01") == ["0700"]
    assert home.asked(ids.LEVEL, "01 02 04 0a 0000") == ["0b0400"]  # to 10 at once, which also turns on
    assert (home.value("on_off"), home.value("brightness")) == (1, 10)
    home.world.run(1)
    home.world.coordinator.take()
    home.asked(ids.LEVEL, "01 03 04 6e 2800", wait=0)  # to 110 within 4 s
    seen = []
    for _ in range(4):
        home.world.run(1.0)
        seen.append(home.value("brightness"))
    assert seen == [pytest.approx(level, abs=5) for level in (35, 60, 85, 110)]
    reports = [frame for frame in home.came(ids.LEVEL) if frame.command == 0x0A and not frame.cluster_specific]
    assert 4 <= len(reports) <= 5
    home.world.run(2)
    assert home.came(ids.LEVEL)[-1].payload == bytes.fromhex("0000 20 6e")


def test_move_step_and_stop(house: Any) -> None:
    home = house("dimmable-lamp")
    home.asked(ids.LEVEL, "01 02 04 32 0000")
    home.asked(ids.LEVEL, "01 03 05 00 0a")  # up by 10 a second
    home.world.run(3)
    home.asked(ids.LEVEL, "01 04 07")
    held = home.value("brightness")
    assert held == pytest.approx(80, abs=3)
    home.world.run(3)
    assert home.value("brightness") == held
    home.asked(ids.LEVEL, "01 05 02 01 14 0000")  # down by 20
    assert home.value("brightness") == held - 20
    assert home.asked(ids.LEVEL, "01 06 02 02 14 0000") == ["0b0287"]  # a direction that isn't there


def test_a_level_without_on_off_waits_for_a_lamp_that_is_on(house: Any) -> None:
    home = house("dimmable-lamp")
    home.asked(ids.LEVEL, "01 01 00 20 0000")
    assert home.value("brightness") == 254
    home.asked(ids.LEVEL, "01 02 00 20 0000 01 01")  # the command's own options: execute if off
    assert (home.value("brightness"), home.value("on_off")) == (32, 0)


def test_the_least_level_turns_off_and_on_brings_the_level_back(house: Any) -> None:
    home = house("dimmable-lamp")
    home.asked(ids.LEVEL, "01 01 04 64 0000")
    home.asked(ids.LEVEL, "01 02 04 00 0500", wait=1)
    assert (home.value("on_off"), home.value("brightness")) == (0, 1)
    home.asked(ids.ON_OFF, "01 03 01")
    assert (home.value("on_off"), home.value("brightness")) == (1, 100)


def test_on_with_timed_off_ends(house: Any) -> None:
    home = house("dimmable-lamp")
    home.asked(ids.ON_OFF, "01 01 42 00 1400 0000")
    home.world.run(1.5)
    assert home.value("on_off") == 1
    home.world.run(1)
    assert home.value("on_off") == 0


def test_colors_name_each_other(house: Any) -> None:
    home = house("color-lamp")
    home.asked(ids.ON_OFF, "01 01 01")
    home.asked(ids.COLOR, "01 02 06 54 fe 0000")  # hue 84 of 254: green
    assert (home.value("color_mode"), home.value("hue"), home.value("saturation")) == (0, 84, 254)
    assert (home.value("x"), home.value("y")) == (pytest.approx(0.30, abs=0.01), pytest.approx(0.60, abs=0.01))
    home.asked(ids.COLOR, "01 03 07 d7a3 7a54 0a00", wait=2)  # 0.64, 0.33: red
    assert home.value("color_mode") == 1 and home.value("saturation") > 250
    assert min(home.value("hue"), 254 - home.value("hue")) < 4
    home.asked(ids.COLOR, "01 04 0a fa00 0000")
    assert (home.value("color_mode"), home.value("color_temp")) == (2, 250)
    assert home.value("x") == pytest.approx(0.38, abs=0.01)
    home.asked(ids.COLOR, "01 05 0a 0a00 0000")  # 10 mired: its coolest
    assert home.value("color_temp") == 153
    assert home.asked(ids.COLOR, "01 06 07 ffff 0000 0000") == ["0b0787"]


def test_a_hue_goes_round_the_shorter_way(house: Any) -> None:
    home = house("color-lamp")
    home.asked(ids.ON_OFF, "01 01 01")
    home.asked(ids.COLOR, "01 02 06 f0 fe 0000")
    home.asked(ids.COLOR, "01 03 00 10 00 0a00", wait=0.5)  # from 240 to 16 within a second
    assert home.value("hue") > 245 or home.value("hue") < 10
    home.world.run(1)
    assert home.value("hue") == 16


def test_conversions_of_colors() -> None:
    for turn in (0.0, 0.1, 0.33, 0.5, 0.75, 0.9):
        hue, saturation = hue_of_xy(*xy_of_hue(turn, 0.8))
        assert hue == pytest.approx(turn, abs=0.01) and saturation == pytest.approx(0.8, abs=0.02)
    assert xy_of_mired(370) == (pytest.approx(0.46, abs=0.01), pytest.approx(0.41, abs=0.01))
    assert hue_of_xy(0.3, 0.0) == (0.0, 0.0)


def test_a_ct_lamp_has_no_color(house: Any) -> None:
    home = house("ct-lamp")
    assert home.asked(ids.COLOR, "00 01 00 0a40 0300") == ["010a4000191000030086"]
    assert home.asked(ids.COLOR, "01 02 07 0000 0000 0000") == ["0b0781"]


def test_identify_counts_down(house: Any) -> None:
    home = house("dimmable-lamp")
    assert home.asked(ids.IDENTIFY, "01 01 01") == ["0b0100"]  # not identifying: no response of the cluster
    home.asked(ids.IDENTIFY, "01 02 00 0500")
    home.world.run(2.1)
    assert home.asked(ids.IDENTIFY, "01 03 01") == ["000300"]
    home.world.run(4)
    assert home.asked(ids.IDENTIFY, "01 04 01") == ["0b0100"]


# groups and scenes


def test_a_group_cast_reaches_members_and_none_else(house: Any) -> None:
    home = house("dimmable-lamp", "dimmable-lamp", "dimmable-lamp")
    for name in "ab":
        assert home.asked(ids.GROUPS, "01 01 00 0500 03 616263", name) == ["00000500"]
    home.cast(ids.ON_OFF, 5, "01 02 01")
    assert [home.value("on_off", name) for name in "abc"] == [1, 1, 0]
    assert home.world.coordinator.take() == []  # a cast gets no answers
    assert home.asked(ids.GROUPS, "01 03 01 0500") == ["0100050003616263"]
    assert home.asked(ids.GROUPS, "01 04 01 0600") == ["018b060000"]
    assert home.asked(ids.GROUPS, "01 05 02 00") == ["020f010500"]
    assert home.asked(ids.GROUPS, "01 06 02 01 0900") == ["0b0200"]  # in none of these
    assert home.asked(ids.GROUPS, "01 07 03 0500") == ["03000500"]
    assert home.asked(ids.GROUPS, "01 08 03 0500") == ["038b0500"]
    home.cast(ids.ON_OFF, 5, "01 09 00")
    assert [home.value("on_off", name) for name in "abc"] == [1, 0, 0]


def test_a_full_group_table_refuses(house: Any) -> None:
    home = house("dimmable-lamp")
    answers = [home.asked(ids.GROUPS, f"01 01 00 {number:02x}00 00")[0] for number in range(1, 18)]
    assert answers[:16] == [f"0000{number:02x}00" for number in range(1, 17)] and answers[16] == "00891100"
    home.asked(ids.GROUPS, "01 02 04")
    assert home.asked(ids.GROUPS, "01 03 02 00") == ["021000"]


def test_a_lamp_that_identifies_is_added(house: Any) -> None:
    home = house("dimmable-lamp", "dimmable-lamp")
    home.asked(ids.IDENTIFY, "01 01 00 0a00", "b")
    for name in "ab":
        home.asked(ids.GROUPS, "01 02 05 0700 00", name)
    home.cast(ids.ON_OFF, 7, "01 03 01")
    assert [home.value("on_off", name) for name in "ab"] == [0, 1]


def test_a_scene_is_stored_and_recalled_with_all_that_it_had(house: Any) -> None:
    home = house("color-lamp")
    assert home.asked(ids.SCENES, "01 01 04 0500 01") == ["0485050001"]  # not in the group
    home.asked(ids.GROUPS, "01 02 00 0500 00")
    home.asked(ids.LEVEL, "01 03 04 64 0000")
    home.asked(ids.COLOR, "01 04 07 d7a3 7a54 0000")
    assert home.asked(ids.SCENES, "01 05 04 0500 01") == ["0400050001"]
    red = (home.value("x"), home.value("y"))
    home.asked(ids.COLOR, "01 06 0a fa00 0000")
    home.asked(ids.ON_OFF, "01 07 00")
    home.cast(ids.SCENES, 5, "01 08 05 0500 01")
    assert (home.value("on_off"), home.value("brightness"), home.value("x"), home.value("y")) == (1, 100, *red)
    assert home.asked(ids.SCENES, "01 09 05 0500 02") == ["0b058b"]
    assert home.asked(ids.SCENES, "01 0a 06 0500") == ["06000f05000101"]
    # one that is added with a time: on, level 20, in 2 s
    assert home.asked(ids.SCENES, "01 0b 00 0500 02 0200 00 0600 01 01 0800 01 14") == ["0000050002"]
    assert home.asked(ids.SCENES, "01 0c 01 0500 02") == ["010005000202000006000101" + "08000114"]
    home.asked(ids.SCENES, "01 0d 05 0500 02")
    home.world.run(1)
    assert 50 < home.value("brightness") < 70
    home.world.run(1.2)
    assert home.value("brightness") == 20
    assert home.asked(ids.SCENES, "01 0e 02 0500 02") == ["0200050002"]
    assert home.asked(ids.SCENES, "01 0f 03 0500") == ["03000500"]
    assert home.asked(ids.SCENES, "01 10 05 0500 01") == ["0b058b"]


def test_a_scene_of_a_temperature_comes_back_as_one(house: Any) -> None:
    home = house("color-lamp")
    home.asked(ids.ON_OFF, "01 01 01")
    home.asked(ids.COLOR, "01 02 0a fa00 0000")
    home.asked(ids.SCENES, "01 03 04 0000 01")
    home.asked(ids.COLOR, "01 04 07 d7a3 7a54 0000")
    home.asked(ids.SCENES, "01 05 05 0000 01")
    assert (home.value("color_mode"), home.value("color_temp")) == (2, 250)


# zones


def zone(home: House, name: str = "a") -> Any:
    return home.endpoint(name).clusters[ids.IAS_ZONE]


def write_cie(home: House) -> None:
    assert home.asked(ids.IAS_ZONE, f"00 01 02 1000 f0 {CIE}", wait=0) == []
    home.world.run(3)


def test_a_zone_that_requests_by_itself(house: Any) -> None:
    home = house("contact-sensor", keys=", enrol: auto-enroll-request")
    home.endpoint().set(ids.IAS_ZONE, 2, 1)
    home.world.run(3)
    assert home.came(ids.IAS_ZONE) == []  # not enrolled: nothing is said
    write_cie(home)
    (answer, request) = home.came(ids.IAS_ZONE)
    assert answer.command == 0x04 and request.encode()[0] == 0x09
    assert (request.command, request.payload.hex(" ")) == (1, "15 00 00 00")
    home.asked(ids.IAS_ZONE, "11 02 00 00 17", wait=3)
    assert home.value("enrolled") == 1 and zone(home).whole(0x11) == 0x17
    home.endpoint().set(ids.IAS_ZONE, 2, 4)
    home.world.run(3)
    (told,) = home.came(ids.IAS_ZONE)
    assert (told.command, told.payload.hex(" ")) == (0, "04 00 00 17 00 00")


def test_a_zone_that_waits_for_a_response(house: Any) -> None:
    home = house("contact-sensor", keys=", enrol: auto-enroll-response")
    home.asked(ids.IAS_ZONE, "11 01 00 00 17", wait=3)
    assert home.value("enrolled") == 0  # no address yet
    write_cie(home)
    assert len(home.came(ids.IAS_ZONE)) == 1  # asks for nothing
    home.asked(ids.IAS_ZONE, "11 02 00 00 17", wait=3)
    assert home.value("enrolled") == 1


def test_a_zone_that_pairs_when_it_is_tripped(house: Any) -> None:
    home = house("contact-sensor", keys=", enrol: trip-to-pair")
    write_cie(home)
    home.asked(ids.IAS_ZONE, "11 02 00 00 17", wait=3)
    assert home.value("enrolled") == 0  # it asked for nothing
    home.endpoint().set(ids.IAS_ZONE, 2, 1)
    home.world.run(3)
    assert [frame.command for frame in home.came(ids.IAS_ZONE)] == [1]
    home.asked(ids.IAS_ZONE, "11 03 00 04 17", wait=3)  # too many zones
    assert home.value("enrolled") == 0
    home.endpoint().set(ids.IAS_ZONE, 2, 0)
    home.endpoint().set(ids.IAS_ZONE, 2, 1)
    home.world.run(1)
    home.asked(ids.IAS_ZONE, "11 03 00 00 17", wait=3)
    assert home.value("enrolled") == 1


def test_a_reset_zone_is_no_longer_enrolled(house: Any) -> None:
    home = house("contact-sensor", keys=", enrol: auto-enroll-response")
    write_cie(home)
    home.asked(ids.IAS_ZONE, "11 02 00 00 17", wait=3)
    home.world.network.reset(home.station())
    assert home.value("enrolled") == 0 and zone(home).whole(0x10) == 0


def test_motion_ends_by_itself(house: Any) -> None:
    home = house("motion-sensor")
    home.endpoint().set(ids.IAS_ZONE, 2, 1)
    home.world.run(59)
    assert home.value("alarm") == 1
    home.world.run(2)
    assert home.value("alarm") == 0


def test_a_siren_ends_after_its_duration(house: Any) -> None:
    home = house("siren")
    home.asked(ids.IAS_WARNING, "01 01 00 16 0500 32 01")  # burglar, flashes, high; 5 s
    assert (home.value("warning"), home.value("strobe")) == (1, 1)
    home.world.run(4)
    assert home.value("warning") == 1
    home.world.run(2)
    assert (home.value("warning"), home.value("strobe")) == (0, 0)
    home.asked(ids.IAS_WARNING, "01 02 00 30 ffff 00 00")
    home.asked(ids.IAS_WARNING, "01 03 00 00 0000 00 00")  # stop
    assert home.value("warning") == 0
    home.asked(ids.IAS_WARNING, "01 04 01 00")
    assert home.value("squawks") == 1


# heating, covers, locks


def test_the_running_state_follows(house: Any) -> None:
    home = house("thermostat")
    home.asked(ids.THERMOSTAT, "00 01 02 1200 29 6009")  # 24 degrees
    assert (home.value("running_state"), home.value("demand")) == (1, 100)
    home.endpoint().set(ids.THERMOSTAT, 0, 2350)
    assert (home.value("running_state"), home.value("demand")) == (1, 25)
    home.endpoint().set(ids.THERMOSTAT, 0, 2430)
    assert (home.value("running_state"), home.value("demand")) == (0, 0)
    assert home.asked(ids.THERMOSTAT, "00 02 02 1200 29 a00f") == ["04871200"]  # 40 degrees
    home.asked(ids.THERMOSTAT, "00 03 02 1c00 30 03")
    home.endpoint().set(ids.THERMOSTAT, 0, 2700)
    assert home.value("running_state") == 2
    home.asked(ids.THERMOSTAT, "00 04 02 1c00 30 00")
    assert home.value("running_state") == 0
    home.asked(ids.THERMOSTAT, "00 05 02 1000 28 f6")  # one degree less
    assert home.value("local_temperature") == 26
    home.asked(ids.THERMOSTAT, "01 06 00 00 0a")  # a degree up
    assert home.value("heating_setpoint") == 25


def test_a_cover_moves_and_stops(house: Any) -> None:
    home = house("cover")
    home.asked(ids.COVERING, "01 01 05 32", wait=2)
    assert home.value("lift") == pytest.approx(20, abs=2)
    home.asked(ids.COVERING, "01 02 02")
    held = home.value("lift")
    home.world.run(3)
    assert home.value("lift") == held
    home.asked(ids.COVERING, "01 03 01", wait=13)
    assert (home.value("lift"), home.value("tilt")) == (100, 100)
    home.asked(ids.COVERING, "01 04 08 19", wait=3)
    assert home.value("tilt") == 25
    assert home.asked(ids.COVERING, "01 05 05 65") == ["0b0587"]


def test_a_lock_turns_and_may_need_a_pin(house: Any) -> None:
    home = house("lock")
    assert home.asked(ids.DOOR_LOCK, "01 01 00", wait=2.3) == ["0000"]
    home.world.run(1)
    assert home.value("lock_state") == 1
    assert [frame.payload.hex() for frame in home.came(ids.DOOR_LOCK)] == ["0101ffff000000000000"]
    home.asked(ids.DOOR_LOCK, "00 02 02 3300 10 01", wait=3)
    assert home.asked(ids.DOOR_LOCK, "01 03 01", wait=3) == ["0101"]
    assert home.value("lock_state") == 1
    assert home.asked(ids.DOOR_LOCK, "01 04 05 0000 01 00 04 31323334", wait=3) == ["0500"]
    answers = home.asked(ids.DOOR_LOCK, "01 05 01 04 31323334", wait=3)
    assert answers[0] == "0100" and home.value("lock_state") == 2


# energy, air, inputs


def test_current_and_demand_follow_the_power(house: Any) -> None:
    home = house("metering-plug")
    home.asked(ids.ON_OFF, "01 01 01")
    home.endpoint().set(ids.ELECTRICAL, 0x050B, 11500)
    assert (home.value("power"), home.value("current")) == (1150, 5)
    assert home.endpoint().clusters[ids.METERING].whole(0x0400) == 1150
    home.asked(ids.ON_OFF, "01 02 00")
    assert (home.value("power"), home.value("current")) == (0, 0)


def test_values_that_are_floating_points(house: Any) -> None:
    home = house("air-sensor")
    home.endpoint().set(ids.CARBON_DIOXIDE, 0, 0.001)
    assert home.asked(ids.CARBON_DIOXIDE, "00 01 00 0000") == ["0100000039" + "6f12833a"]
    assert home.asked(ids.CARBON_DIOXIDE, "00 02 06 00 0000 39 0000 3c00 17b7d138") == ["0700"]
    assert home.value("co2") == pytest.approx(1000)


def test_a_sleeper_checks_in_and_stays_awake(house: Any) -> None:
    home = house("poll-sensor", awake=0.1)
    home.bind(ids.POLL_CONTROL)
    home.asked(ids.POLL_CONTROL, "00 01 02 0000 23 28000000", wait=3)  # each 10 s
    home.world.run(10)
    (check_in,) = home.came(ids.POLL_CONTROL)
    assert check_in.command == 0 and check_in.encode()[0] == 0x09
    home.world.send(home.station().device.eui64, bytes.fromhex("11 02 00 01 1400"), cluster=ids.POLL_CONTROL)
    home.world.run(2)
    assert home.asked(0, "00 03 00 0400", wait=0.1)  # awake: an answer at once
    home.world.run(5)
    assert not home.asked(0, "00 04 00 0400", wait=0.05)


# remotes


def test_a_remote_sends_to_all_that_are_bound(house: Any) -> None:
    home = house("dimmer-remote", "dimmable-lamp", "dimmable-lamp")
    remote, own = home.endpoint(), home.station().device
    assert remote.command(ids.ON_OFF, 1, b"") == 0  # bound to nothing
    home.asked(ids.GROUPS, "01 01 00 0500 00", "c")
    own.bindings += [
        Binding(1, ids.ON_OFF, COORDINATOR, 1),
        Binding(1, ids.ON_OFF, home.station("b").device.eui64, 1),
        Binding(1, ids.ON_OFF, 0, 0, 5),
    ]
    home.world.coordinator.received.clear()
    assert remote.command(ids.ON_OFF, 1, b"") == 3
    home.world.run(0.2)
    assert [home.value("on_off", name) for name in "bc"] == [1, 1]
    found = [(aps.payload, reach) for _, aps, reach in home.world.coordinator.received]
    assert sorted(reach.value for _, reach in found) == ["multicast", "unicast"]
    assert len({octets for octets, _ in found}) == 1 and found[0][0][0] == 0x01 and found[0][0][2] == 1
    assert Reach.UNICAST in [reach for _, reach in found]


def test_makers_have_attributes_behind_their_code() -> None:
    server = make_cluster(0xFC00, [Attribute(0, UINT8, 1)], makers={0x115F: [Attribute(0, UINT8, 9, writable=True)]})

    def ask(text: str) -> str:
        found = respond(server, zcl.decode(bytes.fromhex(text)), 0.0)
        assert found is not None
        return found.encode().hex(" ")

    assert ask("00 01 00 0000") == "18 01 01 00 00 00 20 01"
    assert ask("04 5f11 01 00 0000") == "1c 5f 11 01 01 00 00 00 20 09"
    assert ask("04 5f11 02 02 0000 20 07") == "1c 5f 11 02 04 00"
    assert ask("04 5f11 01 00 0000").endswith("20 07")
    assert ask("04 3412 01 00 0000") == "1c 34 12 01 0b 00 84"


def test_what_is_set_up_survives_a_restart(make_world: Any, tmp_path: Any) -> None:
    file = 'devices:\n  - {eui64: "00:0d:6f:00:00:00:00:01", kind: color-lamp, name: a}\n'
    file += '  - {eui64: "00:0d:6f:00:00:00:00:02", kind: contact-sensor, name: b, enrol: auto-enroll-response}\n'
    path = tmp_path / "devices.json"
    first = House.__new__(House)
    first.world = make_world(file, path=path).form()
    first.world.run(3)
    first.asked(ids.GROUPS, "01 01 00 0500 00")
    first.asked(ids.SCENES, "01 02 04 0500 01")
    first.station().device.bindings.append(Binding(1, ids.ON_OFF, 0, 0, 5))
    first.asked(ids.IAS_ZONE, f"00 01 02 1000 f0 {CIE}", "b", wait=3)
    first.asked(ids.IAS_ZONE, "11 02 00 00 17", "b", wait=3)
    first.world.population.save()
    second = House.__new__(House)
    second.world = make_world(file, path=path).form()
    assert second.station().in_group(5) and second.endpoint().clusters[ids.SCENES].memory
    assert second.station().device.bindings == first.station().device.bindings
    assert second.value("enrolled", "b") == 1


# Tuya


def test_datapoints_are_set_asked_for_and_reported(house: Any) -> None:
    home = house("tuya-valve")
    home.world.run(2)
    assert [frame.command for frame in home.came(ids.TUYA)] == []  # it asked for the time when it joined
    setpoint = bytes.fromhex("0001 04 02 0004 000000e1")
    home.world.send(home.station().device.eui64, b"\x11\x01\x00" + setpoint, cluster=ids.TUYA)
    home.world.run(6)
    (said,) = home.came(ids.TUYA)
    assert (said.command, said.payload[2:]) == (0x01, setpoint[2:])
    assert home.value("tuya_setpoint") == 22.5
    home.world.send(home.station().device.eui64, b"\x11\x02\x03", cluster=ids.TUYA)
    home.world.run(6)
    assert [frame.payload[2] for frame in home.came(ids.TUYA)] == [2, 3, 4, 5, 7, 36, 39]
    home.station().device.endpoints[1].clusters[ids.TUYA].set(tuya.LOCAL, 201)
    home.world.run(6)
    (reported,) = home.came(ids.TUYA)
    assert (reported.command, reported.payload[2:].hex()) == (0x02, "05020004000000c9")
    home.world.send(
        home.station().device.eui64, b"\x11\x03\x24" + bytes.fromhex("0800 2f000000 2f000e10"), cluster=ids.TUYA
    )
    home.world.run(6)
    assert home.value("tuya_clock") == 0x2F000000
