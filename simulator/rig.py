"""A whole simulated installation: dongle, network, devices and the socket for others, running on one loop.

Assembly only; the behaviour is in the parts.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from layer.errors import PeerError, TransportError
from simulator.ncp.dongle import Ncp
from simulator.ncp.options import NcpOptions
from simulator.network import attach_session
from simulator.network.aps import AirOptions
from simulator.network.config import NetworkFile
from simulator.network.control import ControlSession, Simulation
from simulator.network.loop import LoopDriver
from simulator.network.population import Population
from simulator.network.radio import Conditions
from simulator.network.server import Connection, Handler, SocketServer
from simulator.network.virtual import VirtualNetwork
from simulator.serial_port import serve_pty, serve_tcp

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RigOptions:
    """What a run is made of. Exactly one of ``tcp`` and ``pty`` says where the dongle is.

    ``state`` is the directory that the dongle and the devices keep their state in (None: nothing is kept).
    """

    tcp: tuple[str, int] | None = None
    pty: Path | None = None
    state: Path | None = None
    attach_socket: Path | None = None
    file: NetworkFile = field(default_factory=NetworkFile)
    seed: int = 0
    conditions: Conditions = field(default_factory=Conditions)
    air: AirOptions = field(default_factory=AirOptions)
    ncp: NcpOptions = field(default_factory=NcpOptions)


class Plug:
    """The dongle in its socket: pulled out and put back in. Implements ``control.Dongle``."""

    def __init__(self, options: RigOptions, network: VirtualNetwork) -> None:
        self._options = options
        self._network = network
        self._tcp = options.tcp
        self._wanted = True
        self._changed = asyncio.Event()
        self._ncp = self._new_ncp()
        self._unplugged = 0
        #: the address for a host: ``tcp=host:port`` or ``pty=path``
        self.where = ""

    def _new_ncp(self) -> Ncp:
        state = self._options.state
        path = None if state is None else state / "dongle.json"
        clock = asyncio.get_running_loop().time
        try:
            return Ncp(self._network, self._options.ncp, path, clock=clock)
        except OSError as error:
            raise PeerError(f"{path}: {error.strerror}") from None

    async def run(self, on_plugged: Callable[[], None]) -> None:
        """Serve the dongle whenever it is plugged in, for ever. Raises TransportError when it can't be served."""
        while True:
            try:
                async with self._serve() as where:
                    self.where = where
                    on_plugged()
                    await self._until(wanted=False)
            except OSError as error:
                raise TransportError(
                    f"the dongle can't be served: {error.strerror or error}", transient=False
                ) from None
            finally:
                self._ncp.close()
            _LOG.info("dongle unplugged")
            await self._until(wanted=True)
            # it comes back with power on, from what its tokens hold
            self._ncp = self._new_ncp()

    def _serve(self) -> AbstractAsyncContextManager[str]:
        return _tcp(self) if self._tcp is not None else _pty(self._ncp, self._options.pty)

    async def _until(self, *, wanted: bool) -> None:
        while self._wanted is not wanted:
            self._changed.clear()
            await self._changed.wait()

    def unplug(self) -> None:
        if self._wanted:
            self._unplugged += 1
        self._wanted = False
        self._changed.set()

    def replug(self) -> None:
        self._wanted = True
        self._changed.set()

    def fail(self, code: int) -> None:
        if not self._wanted:
            raise PeerError("the dongle is unplugged")
        self._ncp.fail(code)

    def restart(self) -> None:
        if not self._wanted:
            raise PeerError("the dongle is unplugged")
        self._ncp.restart()

    def counters(self) -> Mapping[str, int]:
        return {
            "plugged": int(self._wanted),
            "unplugged": self._unplugged,
            "network_up": int(self._ncp.network_up),
            "lost_callbacks": self._ncp.lost_callbacks,
        }


@asynccontextmanager
async def _tcp(plug: Plug) -> AsyncIterator[str]:
    assert plug._tcp is not None
    async with serve_tcp(plug._ncp, *plug._tcp) as port:
        # a port that was picked is kept when the dongle comes back
        plug._tcp = port.address
        yield f"tcp={port.address[0]}:{port.address[1]}"


@asynccontextmanager
async def _pty(ncp: Ncp, link: Path | None) -> AsyncIterator[str]:
    async with serve_pty(ncp, link) as port:
        yield f"pty={port.path}"


async def run(options: RigOptions, on_ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Run until ``stop`` is set. ``on_ready`` is called once with the place of everything, as ``key=value`` words.

    Raises PeerError for unreadable state, TransportError for a place that can't be served.
    """
    _prepare(options.state)
    driver = LoopDriver(asyncio.get_running_loop())
    network = VirtualNetwork(driver.agenda, seed=options.seed, conditions=options.conditions, options=options.air)
    try:
        population = Population(
            network, options.file, None if options.state is None else options.state / "devices.json"
        )
        plug = Plug(options, network)
        simulation = Simulation(population, plug)
        try:
            await _serve(options, simulation, plug, on_ready, stop)
        finally:
            population.save()
    finally:
        driver.close()


async def _serve(
    options: RigOptions, simulation: Simulation, plug: Plug, on_ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    def greet(connection: Connection, value: dict[str, object]) -> Handler:
        if value.get("type") == "control":
            session = ControlSession(connection, simulation)
            session.line(value)
            return session
        return attach_session.greet(connection, simulation.population.network, value)

    words = [f"seed={options.seed}"]
    server: SocketServer | None = None
    if options.attach_socket is not None:
        server = SocketServer(options.attach_socket, greet)
        await server.start()
        words.insert(0, f"attach={options.attach_socket}")
    failure: Exception | None = None
    announced = False

    def plugged() -> None:
        nonlocal announced
        if not announced:
            announced = True
            on_ready(" ".join((plug.where, *words)))

    try:
        async with asyncio.TaskGroup() as group:
            dongle = group.create_task(plug.run(plugged))
            await stop.wait()
            dongle.cancel()
    except* (TransportError, PeerError) as errors:
        # raised below: from here it would come out in a group
        failure = errors.exceptions[0]
    finally:
        if server is not None:
            await server.close()
    if failure is not None:
        raise failure


def _prepare(state: Path | None) -> None:
    if state is None:
        return
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PeerError(f"{state}: {error.strerror}") from None
    if not os.access(state, os.W_OK | os.X_OK):
        raise PeerError(f"{state}: not writable")
