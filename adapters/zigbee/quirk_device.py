"""A device by its quirk: what it sends goes through the quirk's clusters, what they make of it comes out as reports.

zigpy's own object of the device stays in zigpy's table as it is, and its database learns nothing of the quirk. The
quirk has an object beside it, that only this file knows.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import zigpy.exceptions
import zigpy.types
from zigpy.zcl import AttributeReportedEvent, AttributeUpdatedEvent, Cluster

from adapters.zigbee import quirk_requests
from adapters.zigbee.device_model import place
from adapters.zigbee.device_table import view
from adapters.zigbee.device_view import Endpoint
from adapters.zigbee.quirk_packages import Registry
from adapters.zigbee.radio_port import IncomingFrame, SendOutcome
from adapters.zigbee.transaction import DEFAULT_RESPONSE, Answer, Content, NoReply, Reply
from carriage.zigbee.foundation import Status

_LOG = logging.getLogger(__name__)

ANSWER: Final = 60.0
"""Seconds within which a quirk has to answer; what it waits for itself, zigpy ends sooner."""
_TYPES: Final[Any] = zigpy.types
"""They are untyped."""
_LOCAL: Final = "LocalDataCluster"
"""zha-quirks' class of clusters that are of the quirk alone."""


class Told(NamedTuple):
    """What comes from a cluster of a quirk: a report, or a command (``command``), and its payload."""

    at: int
    """The cluster on its endpoint, as ``device_model.place``."""
    payload: bytes
    command: int | None = None


class QuirkDevice:
    """One device by its quirk. ``tell`` gets what it tells by itself: by a timer, say. ``close`` it in the end."""

    def __init__(self, node: Any, quirk: Any, tell: Callable[[list[Told]], None], counters: dict[str, int]) -> None:
        self.node = node
        self._quirk = quirk
        self._tell = tell
        self._counters = counters
        self._gathered: list[Told] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._said = False
        """The log has one fault of it."""
        self.described = view(node).endpoints
        """What the device says it has."""
        self.endpoints: tuple[Endpoint, ...] = view(quirk).endpoints
        """What it has by its quirk."""
        self._clusters = {
            (int(endpoint.endpoint_id), int(cluster.cluster_id)): cluster
            for endpoint in quirk.non_zdo_endpoints
            for cluster in endpoint.in_clusters.values()
        }
        self._own = {key for key, cluster in self._clusters.items() if not _is_plain(cluster)}
        self._virtual = {
            (number, cluster)
            for number, cluster in self._own
            if number not in node.endpoints
            or cluster not in node.endpoints[number].in_clusters
            or any(each.__name__ == _LOCAL for each in type(self._clusters[number, cluster]).__mro__)
        }
        send = quirk.request

        async def once(*given: Any, **named: Any) -> Any:
            return await send(*given, **{**named, "retries": 0})  # a command goes on the air once

        quirk.request = once
        for cluster in self._clusters.values():
            cluster.on_event(AttributeReportedEvent.event_type, self._updated)
            cluster.on_event(AttributeUpdatedEvent.event_type, self._updated)
        for key in self._own:
            self._clusters[key].add_listener(_Commands(self._commanded, self._clusters[key]))

    def close(self) -> None:
        """The device left, or the radio is away: what is asked is not answered."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        self._guarded(self._quirk.on_remove)

    # What comes ----------------------------------------------------------------------------------------------------

    def take(self, frame: IncomingFrame) -> list[Told]:
        """A frame of the device; what the quirk makes of it at once."""
        self._counters["quirk_frames"] += 1
        self._gathered = []
        packet = _packet(frame)
        self._guarded(lambda: self._quirk.packet_received(packet))
        told, self._gathered = self._gathered, None
        return told

    def _updated(self, event: Any) -> None:
        cluster = self._clusters[event.endpoint_id, event.cluster_id]
        try:
            record = quirk_requests.record(cluster, event.attribute_id, event.value)
        except (KeyError, ValueError, TypeError, AttributeError):
            return  # an attribute without a type, or a value that it can't have
        at = place(event.endpoint_id, event.cluster_id, event.manufacturer_code or 0)
        self._pass_on(Told(at, event.attribute_id.to_bytes(2, "little") + record))

    def _commanded(self, cluster: Any, command: int, arguments: Any) -> None:
        """A command that a cluster of the quirk got, or pretends to have got."""
        try:
            if not hasattr(arguments, "serialize"):
                schema = cluster.client_commands[command].schema
                rest = len(schema.fields) - len(arguments)  # quirks leave some out
                arguments = schema(*arguments, *(0 for _ in range(rest)))
            payload = bytes(arguments.serialize())
        except (KeyError, ValueError, TypeError, AttributeError):
            return
        self._pass_on(Told(place(cluster.endpoint.endpoint_id, cluster.cluster_id), payload, command))

    def _pass_on(self, told: Told) -> None:
        if self._closed:
            return
        if self._gathered is not None:
            self._gathered.append(told)
        else:
            self._tell([told])

    # What is asked -------------------------------------------------------------------------------------------------

    def carries(self, endpoint: int, cluster: int) -> bool:
        """Whether a cluster is the quirk's: it is asked, and not the device."""
        return (endpoint, cluster) in self._own

    def ask(self, endpoint: int, cluster: int, content: Content, done: Callable[[Answer], None]) -> None:
        """Have the quirk carry out a request to one of its clusters. ``done`` is called once."""
        key = endpoint, cluster
        work = partial(quirk_requests.answer, self._clusters[key], content, virtual=key in self._virtual)
        self._begin_request(work, content.command, done)

    def bind(self, endpoint: int, cluster: int, done: Callable[[Answer], None]) -> None:
        """Have the quirk bind one of its clusters to the gateway, in its own way. ``done`` is called once."""
        self._begin_request(partial(quirk_requests.bound, self._clusters[endpoint, cluster]), 0, done)

    def configure(self) -> None:
        """Have the quirk set the device up as it joined, and what it changes bound even if no row reads it."""
        self._begin(self._configure())

    def _begin_request(
        self, work: Callable[[], Awaitable[Reply]], command: int, done: Callable[[Answer], None]
    ) -> None:
        def over(task: asyncio.Task[Any]) -> None:
            done(NoReply(SendOutcome.FAILED) if task.cancelled() else task.result())

        self._begin(self._answer(work, command)).add_done_callback(over)  # one that is cancelled may never have begun

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(ended)
        return task

    async def _answer(self, work: Callable[[], Awaitable[Reply]], command: int) -> Answer:
        try:
            async with asyncio.timeout(ANSWER):
                return await work()
        except TimeoutError:
            return NoReply(SendOutcome.DELIVERED)
        except zigpy.exceptions.ZigbeeException:
            return NoReply(SendOutcome.FAILED)
        except Exception as exc:  # a quirk may raise anything
            self._fault(exc)
            return Reply(DEFAULT_RESPONSE, bytes((command, Status.FAILURE)))

    async def _configure(self) -> None:
        work = [self._clusters[key].bind for key in sorted(self._own - self._virtual)]
        if hasattr(self._quirk, "apply_custom_configuration"):
            work.append(self._quirk.apply_custom_configuration)
        for each in work:
            try:
                async with asyncio.timeout(ANSWER):
                    await each()
            except (TimeoutError, zigpy.exceptions.ZigbeeException) as exc:
                _LOG.info("%s did not take what its quirk sets: %s", self._quirk.ieee, type(exc).__name__)
            except Exception as exc:
                self._fault(exc)

    # Faults --------------------------------------------------------------------------------------------------------

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as exc:  # a quirk may raise anything, and harms its own device only
            self._fault(exc)

    def _fault(self, exc: Exception) -> None:
        self._counters["quirk_faults"] += 1
        if not self._said:
            self._said = True
            frames = traceback.extract_tb(exc.__traceback__)
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            name = type(self._quirk).__qualname__
            text = "%s: its quirk %s raised %s in %s (further ones are only counted)"
            _LOG.warning(text, self._quirk.ieee, name, type(exc).__name__, where)


def quirk_of(
    registry: Registry, node: Any, tell: Callable[[list[Told]], None], counters: dict[str, int]
) -> QuirkDevice | None:
    """The device by its quirk; None: it has none, or one that can't be made."""
    try:
        quirk = registry.resolve(node)
        return None if quirk is node else QuirkDevice(node, quirk, tell, counters)
    except Exception as exc:
        counters["quirk_faults"] += 1
        _LOG.warning("%s: its quirk can't be made: %s", node.ieee, type(exc).__name__)
        return None


def ended(task: asyncio.Task[None]) -> None:
    """A task of the lane is over; what it raised is the gateway's own fault."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("a task for a quirk failed", exc_info=error)


def _packet(frame: IncomingFrame) -> Any:
    """A frame in zigpy's own types."""
    number, own = _TYPES.uint8_t, _TYPES.NWK(0)
    return _TYPES.ZigbeePacket(
        src=_TYPES.AddrModeAddress(addr_mode=_TYPES.AddrMode.NWK, address=_TYPES.NWK(frame.nwk)),
        src_ep=number(frame.endpoint),
        dst=_TYPES.AddrModeAddress(addr_mode=_TYPES.AddrMode.NWK, address=own),
        dst_ep=number(frame.own_endpoint),
        tsn=number(frame.counter),
        profile_id=_TYPES.uint16_t(frame.profile),
        cluster_id=_TYPES.uint16_t(frame.cluster),
        data=_TYPES.SerializableBytes(frame.payload),
        lqi=number(frame.lqi),
        rssi=_TYPES.int8s(frame.rssi),
    )


def _is_plain(cluster: Any) -> bool:
    """Whether a cluster is zigpy's own, so that the quirk changes nothing of it."""
    return type(cluster) is Cluster or not getattr(type(cluster), "_skip_registry", False)


class _Commands:
    """Listens to the commands of one cluster, by the names of zigpy's listeners."""

    def __init__(self, told: Callable[[Any, int, Any], None], cluster: Any) -> None:
        self._told = told
        self._cluster = cluster

    def cluster_command(self, number: int, command: int, arguments: Any) -> None:
        self._told(self._cluster, command, arguments)
