"""Administration of a running simulation: JSON lines over the simulator's socket.

A connection that starts with ``{"type":"control", ...}`` is an administrator's. Each line is one request::

    {"type": "control", "id": 7, "do": "report", "device": "kitchen", "name": "temperature", "value": 21.5}

``id`` is any number of the client's; ``do`` names a row of ``COMMANDS``, whose arguments are the other keys. The
answers, in the order in which they are ready::

    {"type": "result", "id": 7, "value": {"delivered": true}}
    {"type": "failed", "id": 7, "text": "no such device"}

``device`` is a name of the network file or an EUI64. What can be done (optional arguments in brackets):

``devices``                       [device]; all devices, or one, with address, state, values, frames that wait for it;
                                  ``reporting`` counts the attributes whose reports are configured, ``commands`` the
                                  commands of clusters that came, ``commanded`` is when the last one did, on the
                                  monotonic clock
``join``, ``rejoin``, ``leave``,  device; membership as the device itself would change it, ``reset`` is to factory
``reset``                         state
``restart``                       device, [forget]; it was without power and announces itself, under its old address;
                                  with forget it has lost its bindings and reporting
``poll``                          device; a sleeper fetches its frames now
``set``                           device, name, value, [endpoint]; ``name`` is a row of ``measures.MEASURES``, value in
                                  its own units
``report``                        device, name, [value], [endpoint]; sends a report now; answers when its fate is known
``press``                         device, [button], [how], [group], [endpoint]; a button: of a remote it sends a command
                                  to all that it is bound to, or to a group; see ``gestures.BUTTONS``
``act``                           device, what, [endpoint]; what a person does, a row of ``gestures.ACTS``
``populate``                      kind, count, [members], [poll_interval]; see ``population.Population.populate``
``fragmented``                    device, cluster, payload (hexadecimal ZCL frame), [size], [endpoint]; sends it in APS
                                  fragments of so many octets
``load``                          [name], seconds, [rate], [devices], [ack], [stamp]; see ``load.Plan``; answers at its
                                  end; without name each device reports what is usual for it, see ``load.USUAL``;
                                  [stop] ends the running one
``seed``                          number; every link draws from it from now on, as if the run had begun with it
``radio``                         [device], [loss], [delay_min], [delay_max], [duplicate], [reorder], [hold]; shows the
                                  conditions after changing those that are named
``counters``                      [device]; of each link, ``radio.Counters``
``dongle``                        action: unplug, replug, restart, fail (with [code]) or counters
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from pydantic import ValidationError

from carriage.zigbee.attach import encode_object, format_eui64
from layer.errors import PeerError
from simulator.network import gestures
from simulator.network.arguments import Arguments
from simulator.network.config import RadioRow
from simulator.network.hosted import HostedEndpoint
from simulator.network.load import Load, Plan, targets
from simulator.network.measures import MEASURES, Measure, find, measured
from simulator.network.population import Population, hosted
from simulator.network.server import Connection
from simulator.network.station import Station

#: of a load: seconds, and reports a second
MAX_LOAD: Final = 3600
MAX_RATE: Final = 100_000

#: answers a request; called once, at once or later
Answer = Callable[[object], None]


class Dongle(Protocol):
    """What the administrator can do to the dongle."""

    def unplug(self) -> None:
        """Pull it out: the host's line ends."""

    def replug(self) -> None:
        """Put it back in."""

    def fail(self, code: int) -> None:
        """Let the NCP report an error (ASH ERROR frame with this code) and stop."""

    def restart(self) -> None:
        """Let the NCP reset itself, as its watchdog does."""

    def counters(self) -> Mapping[str, int]: ...


@dataclass(slots=True)
class Simulation:
    """All that a command may need."""

    population: Population
    dongle: Dongle | None = None
    load: Load | None = None


ControlCommand = Callable[[Simulation, Arguments, Answer], None]


def _station(simulation: Simulation, arguments: Arguments) -> Station:
    return simulation.population.find(arguments.text("device"))


def describe(simulation: Simulation, station: Station) -> dict[str, object]:
    """A device as the administrator sees it."""
    device = station.device
    found: dict[str, object] = {
        "name": simulation.population.name_of(device.eui64),
        "eui64": format_eui64(device.eui64),
        "kind": device.kind,
        "state": device.membership.value,
        "nwk": device.nwk,
        "on_air": simulation.population.network.on_air(device),
        "sleepy": device.sleepy,
        "waiting": len(station.hop.mailbox),
        "endpoints": sorted(device.endpoints),
        "bindings": len(device.bindings),
    }
    servers = [server for server in device.endpoints.values() if isinstance(server, HostedEndpoint)]
    found["commanded"] = max((each.commanded for each in servers if each.commanded is not None), default=None)
    found["commands"] = sum(each.commands for each in servers)
    found["reporting"] = sum(len(cluster.reporting) for each in servers for cluster in each.clusters.values())
    values: dict[str, float] = {}
    for number, server in device.endpoints.items():
        for name, row in MEASURES.items():
            cluster = server.clusters.get(row.cluster) if isinstance(server, HostedEndpoint) else None
            if cluster is not None and row.attribute in cluster.attributes:
                values[name if name not in values else f"{name}.{number}"] = row.of(cluster)
    if values:
        found["values"] = values
    return found


def _devices(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    named = [_station(simulation, arguments)] if arguments.has("device") else None
    arguments.end()
    stations = simulation.population.network.stations.values() if named is None else named
    answer([describe(simulation, station) for station in stations])


def _on_station(does: Callable[[Simulation, Station], None]) -> ControlCommand:
    """A command whose one argument is the device; it answers what the device is like then."""

    def command(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
        station = _station(simulation, arguments)
        arguments.end()
        does(simulation, station)
        answer(describe(simulation, station))

    return command


def _rejoin(simulation: Simulation, station: Station) -> None:
    if not simulation.population.network.rejoin(station):
        raise PeerError("the device is no member of a running network, or dark")


def _restart(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    station, forget = _station(simulation, arguments), arguments.flag("forget", False)
    arguments.end()
    if not simulation.population.network.restart(station, forget=forget):
        raise PeerError("the device is no member of a running network, or dark")
    answer(describe(simulation, station))


def _set_value(station: Station, measure: Measure, value: float, number: int | None) -> None:
    endpoint = hosted(station, measure.cluster, number)
    endpoint.set(measure.cluster, measure.attribute, measured(endpoint.clusters[measure.cluster], measure, value))


def _set(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    station = _station(simulation, arguments)
    name, value, number = arguments.text("name"), arguments.number("value"), arguments.whole("endpoint", 1, 254)
    arguments.end()
    if value is None:
        raise PeerError("value is needed")
    _set_value(station, find(name), value, number)
    answer(describe(simulation, station))


def _report(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    station = _station(simulation, arguments)
    name, value, number = arguments.text("name"), arguments.number("value"), arguments.whole("endpoint", 1, 254)
    arguments.end()
    measure = find(name)
    endpoint = hosted(station, measure.cluster, number)
    if value is not None:
        _set_value(station, measure, value, number)
    waiting = [answer]  # several bindings give several fates: the first is the answer

    def on_sent(delivered: bool) -> None:
        if waiting:
            waiting.pop()({"delivered": delivered})

    endpoint.report_now(measure.cluster, measure.attribute, on_sent)


def _endpoint(station: Station, number: int | None) -> HostedEndpoint:
    """The endpoint of this number, or the first. Raises PeerError if the simulator doesn't host it."""
    for each, server in sorted(station.device.endpoints.items()):
        if isinstance(server, HostedEndpoint) and number in (None, each):
            return server
    raise PeerError("the simulator hosts no such endpoint")


def _press(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    station, number = _station(simulation, arguments), arguments.whole("endpoint", 1, 254)
    button = arguments.text("button") if arguments.has("button") else None
    how = arguments.text("how") if arguments.has("how") else gestures.SINGLE
    group = arguments.whole("group", 0, 0xFFFF)
    arguments.end()
    if how not in gestures.PRESSES:
        raise PeerError(f"how is one of {', '.join(gestures.PRESSES)}")
    sent = gestures.press(station.device.kind, _endpoint(station, number), button, how, group)
    answer({**describe(simulation, station), "sent_to": sent})


def _act(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    station, what = _station(simulation, arguments), arguments.text("what")
    number = arguments.whole("endpoint", 1, 254)
    arguments.end()
    gestures.act(_endpoint(station, number), what)
    answer(describe(simulation, station))


def _seed(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    number = arguments.whole("number", 0, 2**32 - 1)
    arguments.end()
    if number is None:
        raise PeerError("number is needed")
    simulation.population.network.reseed(number)
    answer(number)


def _radio(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    network = simulation.population.network
    station = _station(simulation, arguments) if arguments.has("device") else None
    try:
        row = RadioRow.model_validate(arguments.rest())
    except ValidationError as error:
        first = error.errors()[0]
        raise PeerError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    if row.model_fields_set:
        network.set_conditions(row.over(network.conditions(station)), station)
    answer(asdict(network.conditions(station)))


def _counters(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    population = simulation.population
    stations = [_station(simulation, arguments)] if arguments.has("device") else population.network.stations.values()
    arguments.end()
    found: dict[str, Any] = {
        population.name_of(station.device.eui64): {
            "down": station.hop.down_link.counters.as_dict(),
            "up": station.hop.up_link.counters.as_dict(),
        }
        for station in stations
    }
    answer(found)


def _dongle(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    dongle = simulation.dongle
    action, code = arguments.text("action"), arguments.whole("code", 0, 255)
    arguments.end()
    if dongle is None:
        raise PeerError("this simulation has no dongle")
    if action == "unplug":
        dongle.unplug()
    elif action == "replug":
        dongle.replug()
    elif action == "restart":
        dongle.restart()
    elif action == "fail":
        dongle.fail(0x51 if code is None else code)
    elif action != "counters":
        raise PeerError("action is unplug, replug, restart, fail or counters")
    answer(dict(dongle.counters()))


def _fragmented(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    station, cluster = _station(simulation, arguments), arguments.whole("cluster", 0, 0xFFFF)
    size, endpoint = arguments.whole("size", 1, 82) or 50, arguments.whole("endpoint", 1, 240) or 1
    text = arguments.text("payload")
    arguments.end()
    try:
        payload = bytes.fromhex(text)
    except ValueError:
        raise PeerError("payload is hexadecimal") from None
    if cluster is None or not 0 < len(payload) <= 255 * size:
        raise PeerError("cluster is needed, and a payload of at most 255 fragments")
    profile = station.device.endpoints[endpoint].descriptor.profile if endpoint in station.device.endpoints else None
    if profile is None:
        raise PeerError("no such endpoint")
    if not simulation.population.network.on_air(station.device):
        raise PeerError("the device is not on the air")
    answer(station.send_fragmented(profile=profile, cluster=cluster, endpoint=endpoint, payload=payload, size=size))


def _populate(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    kind, count = arguments.text("kind"), arguments.whole("count", 1, 1000)
    members, poll_interval = arguments.flag("members", False), arguments.number("poll_interval")
    arguments.end()
    if count is None:
        raise PeerError("count is needed")
    if poll_interval is not None and not 0 < poll_interval <= 86_400:
        raise PeerError("poll_interval is above 0 and at most 86400")
    made = simulation.population.populate(kind, count, members=members, poll_interval=poll_interval)
    answer([simulation.population.name_of(station.device.eui64) for station in made])


def _load(simulation: Simulation, arguments: Arguments, answer: Answer) -> None:
    running = simulation.load is not None and simulation.load.running
    if arguments.flag("stop", False):
        arguments.end()
        if simulation.load is not None:
            simulation.load.stop()
        answer(running)
        return
    name = arguments.text("name") if arguments.has("name") else None
    rate, seconds = arguments.number("rate") or 0.0, arguments.number("seconds")
    count = arguments.whole("devices", 1, 1000)
    ack, stamp = arguments.flag("ack", True), arguments.flag("stamp", False)
    arguments.end()
    if running:
        raise PeerError("a load is running")
    if seconds is None or not 0 < seconds <= MAX_LOAD or not 0 <= rate <= MAX_RATE:
        raise PeerError(f"seconds is above 0 and at most {MAX_LOAD}, rate at most {MAX_RATE}")
    if stamp and name is None:
        raise PeerError("stamp goes with a name")
    network = simulation.population.network
    found = targets((each for each in network.stations.values() if network.on_air(each.device)), name)
    if not found or (count is not None and len(found) < count):
        raise PeerError(f"{len(found)} devices on the air measure this")
    plan = Plan(rate=rate, seconds=seconds, ack=ack, stamp=stamp, mixed=name is None)
    simulation.load = Load(plan, found[:count], network.agenda, network.room, answer)


COMMANDS: Final[Mapping[str, ControlCommand]] = {
    "devices": _devices,
    "join": _on_station(lambda simulation, station: simulation.population.network.seek(station)),
    "rejoin": _on_station(_rejoin),
    "restart": _restart,
    "leave": _on_station(lambda simulation, station: simulation.population.network.leave(station)),
    "reset": _on_station(lambda simulation, station: simulation.population.network.reset(station)),
    "poll": _on_station(lambda _simulation, station: station.hop.poll()),
    "set": _set,
    "report": _report,
    "press": _press,
    "act": _act,
    "seed": _seed,
    "radio": _radio,
    "counters": _counters,
    "dongle": _dongle,
    "fragmented": _fragmented,
    "populate": _populate,
    "load": _load,
}


class ControlSession:
    """Implements ``server.Handler`` for an administrator."""

    def __init__(self, connection: Connection, simulation: Simulation) -> None:
        self._connection = connection
        self._simulation = simulation

    def line(self, value: dict[str, object]) -> None:
        """One request. Raises PeerError when it isn't one; one that fails is answered."""
        number, do = value.pop("id", None), value.pop("do", None)
        if value.pop("type", None) != "control" or type(number) is not int or not isinstance(do, str):
            raise PeerError("a request has type control, an id and do")

        def answer(found: object) -> None:
            self._connection.write(encode_object({"type": "result", "id": number, "value": found}))

        try:
            command = COMMANDS.get(do)
            if command is None:
                raise PeerError(f"do is one of {', '.join(COMMANDS)}")
            command(self._simulation, Arguments(value), answer)
        except PeerError as error:
            self._connection.write(encode_object({"type": "failed", "id": number, "text": str(error)}))

    def lost(self) -> None:
        """Answers that come later have nowhere to go."""
