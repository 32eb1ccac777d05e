"""The administrator's commands to the running daemon, behind the admin socket, as plain functions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from gateway.api.errors import NoCommandError, PeerError
from gateway.api.model import SessionView
from gateway.api.ports import Adapter
from gateway.runtime import device_names, health
from gateway.runtime.adapter_state import AdapterState
from gateway.runtime.admin import AdminCommand
from gateway.runtime.build import build
from gateway.runtime.cast_group_commands import CastGroupCommands
from gateway.runtime.device_listing import listed
from gateway.runtime.hub import Hub
from gateway.runtime.naming import Naming, resolve
from gateway.runtime.reloading import Reloads

MAX_JOIN = 254
"""Seconds; 255 would mean for ever (Zigbee specification 2.4.3.3.7)."""
COORDINATOR = "coordinator"
"""In the place of a device: the dongle itself."""
_ADAPTER_TIME = 10.0
_MAP_TIME = 60.0
"""Seconds: all routers of a network are asked."""
_NO_RESTART = (
    "Not restarted: with these mistakes it would not start again.",
    "If the service manager has to mend them, such as a credential: systemctl restart atls-gateway",
)
REMOTE = frozenset(
    {
        "bind",
        "configure-device",
        "configure-reporting",
        "device-options",
        "devices",
        "group-add",
        "group-members-add",
        "group-members-clear",
        "group-members-remove",
        "group-remove",
        "group-rename",
        "groups",
        "name-device",
        "network-map",
        "permit-join",
        "read-reporting",
        "remove-device",
        "rename-device",
        "restart",
        "scene-add",
        "scene-remove",
        "scene-rename",
        "scene-store",
        "sessions",
        "status",
        "unbind",
    }
)
"""The commands that a peer may give too, by way of its adapter, if the policy permits ``admin``."""


def commands(hub: Hub, name: str, reloads: Reloads, restart: Callable[[], str]) -> Mapping[str, AdminCommand]:
    """The commands of one gateway by the names that the admin protocol knows them by.

    ``restart`` has the daemon end and start again soon, and says who starts it: ``itself``, or ``service manager``.
    """

    async def status(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        judged = health.judged(hub, reloads)
        return _status(hub, name) | judged | ({} if reloads.last is None else {"reload": reloads.last})

    async def reload(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return await reloads.reload()

    async def sessions(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        now = hub.now()
        return {"sessions": [_session(view, now) for view in hub.engine.all_sessions()]}

    async def devices(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        known = [view for view in hub.engine.all_devices(now=hub.now()) if view.members is None]
        try:
            answers = await _ask_adapters(hub, "devices", arguments)
        except PeerError:
            if not known:
                raise
            answers = {}
        policy = hub.engine.policy
        device_networks = policy.vocabulary.device_networks
        notes = [f"{scheme}: {answer['note']}" for scheme, answer in answers.items() if answer.get("note")]
        return {
            "devices": list(listed(answers, policy, known, hub.now())),
            "assignable": sorted(policy.assignable),
            "users": {s.name: s.claim.partition(":")[0] for s in policy.subjects if s.link not in device_networks},
            **({"notes": notes} if notes else {}),
        }

    async def network(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"adapters": await _ask_adapters(hub, "network", arguments)}

    async def permit_join(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        seconds = arguments.get("seconds")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_JOIN:
            raise PeerError(f"seconds: expected a whole number from 0 (close) to {MAX_JOIN}")
        if seconds and (device := arguments.get("device")) is not None:
            return await permit_at(seconds, device)
        answers = await _ask_adapters(hub, "permit-join", {"seconds": seconds})
        hub.joining(seconds, answers)
        return {"adapters": answers}

    async def restart_(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if mistakes := await reloads.mistakes():
            raise PeerError("\n".join((*mistakes, *_NO_RESTART)))
        return {"pid": os.getpid(), "by": restart()}

    async def clients(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"adapters": await _ask_adapters(hub, "clients", arguments)}

    async def ask_network(
        command: str, arguments: Mapping[str, Any], within: float = _ADAPTER_TIME
    ) -> Mapping[str, Any]:
        scheme = hub.engine.policy.vocabulary.network_of(device_names.CLAIM)
        state = hub.states.get(scheme)
        if state is None or state.adapter is None:
            raise PeerError(f"the adapter {scheme} isn't running now" if scheme else "there is no network of devices")
        return await _ask_adapter(state.adapter, command, arguments, within)

    async def network_map(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The adapter's map, and the names of its devices in the policy."""
        found = dict(await ask_network("network-map", arguments, _MAP_TIME))
        names = {subject.claim: subject.name for subject in hub.engine.policy.subjects}
        found["nodes"] = [each | {"name": names.get(f"eui64:{each['eui64']}")} for each in found["nodes"]]
        return found

    async def permit_at(seconds: int, device: Any) -> Mapping[str, Any]:
        """Only by way of one device: ``coordinator``, or a name or address."""
        if not isinstance(device, str):
            raise PeerError("device: expected a name or an address, or coordinator")
        eui64 = device if device == COORDINATOR else resolve(device, hub.engine.policy)
        answer = await ask_network("permit-join", {"seconds": seconds, "eui64": eui64})
        scheme = hub.engine.policy.vocabulary.network_of(device_names.CLAIM)
        hub.joining(seconds, (scheme,))
        return {"adapters": {scheme: answer}}

    def of_device(command: str) -> AdminCommand:
        """A command of the network's adapter to ``device``, which gets it by its address."""

        async def ask(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            rest = dict(arguments)
            device = rest.pop("device", None)
            if not isinstance(device, str):
                raise PeerError("device: expected a name or an address")
            return await ask_network(command, {"eui64": resolve(device, hub.engine.policy), **rest})

        return ask

    async def leave(eui64: str, force: bool) -> Mapping[str, Any]:
        return await ask_network("remove", {"eui64": eui64, "force": force})

    def present(device: str) -> bool:
        return any(view.name == device for view in hub.engine.all_devices(now=hub.now()))

    naming = Naming(reloads, leave, present)
    groups = CastGroupCommands(reloads, ask_network).commands()
    return {
        **{name: to_its_end(command) for name, command in groups.items()},
        "name-device": to_its_end(naming.name),
        "rename-device": to_its_end(naming.rename),
        "remove-device": to_its_end(naming.remove),
        "status": status,
        "clients": clients,
        "sessions": sessions,
        "devices": devices,
        "network": network,
        "network-map": network_map,
        "permit-join": permit_join,
        "configure-device": of_device("configure"),
        "device-options": to_its_end(of_device("device-options")),
        "configure-reporting": of_device("configure-reporting"),
        "read-reporting": of_device("read-reporting"),
        "sniff-device": of_device("sniff"),
        "reload": reload,
        "restart": restart_,
    }


def remote(all_commands: Mapping[str, AdminCommand]) -> Mapping[str, AdminCommand]:
    """Those of ``commands`` that are fit for peers."""
    return {name: command for name, command in all_commands.items() if name in REMOTE}


def to_its_end(command: AdminCommand) -> AdminCommand:
    """The same, to its end even if the client stops waiting: half of it would leave file and policy in force apart."""
    running: set[asyncio.Task[Mapping[str, Any]]] = set()

    async def whole(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return await command(arguments)

    async def do(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        task = asyncio.get_running_loop().create_task(whole(arguments))
        running.add(task)
        task.add_done_callback(running.discard)
        return await asyncio.shield(task)

    return do


async def _ask_adapters(hub: Hub, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of all adapters that know this command; PeerError with their reasons where none can do it."""
    answers: dict[str, Any] = {}
    refusals: list[str] = []
    unknown: list[str] = []
    for scheme, state in hub.states.items():
        if state.adapter is None:
            refusals.append(f"{scheme}: not running")
            continue
        try:
            answers[scheme] = await _ask_adapter(state.adapter, command, arguments)
        except NoCommandError as error:
            unknown.append(f"{scheme}: {error}")
        except PeerError as error:
            refusals.append(f"{scheme}: {error}")
    if not answers:
        raise PeerError(f"no adapter can do {command} now ({'; '.join(refusals or unknown)})")
    return answers


async def _ask_adapter(
    adapter: Adapter, command: str, arguments: Mapping[str, Any], within: float = _ADAPTER_TIME
) -> dict[str, Any]:
    """The answer of one adapter; PeerError: its reason, or that it gives none."""
    try:
        async with asyncio.timeout(within):
            return dict(await adapter.command(command, arguments))
    except TimeoutError:
        raise PeerError(f"no answer in {within:.0f} s") from None


def _status(hub: Hub, name: str) -> dict[str, Any]:
    now, policy = hub.now(), hub.engine.policy
    return {
        "name": name,
        "id": hub.gateway.id,
        "version": hub.gateway.version,
        "build": build(),
        "pid": os.getpid(),
        "epoch": hub.epoch,
        "uptime": round(now - hub.started_at, 1),
        "policy": {"rules": len(policy.rules), "mode": policy.mode.value},
        "adapters": {
            scheme: _adapter(state, now) | {"in_flight": hub.engine.in_flight(scheme)}
            for scheme, state in hub.states.items()
        },
        "joining": max(0.0, round(hub.gateway.joining_until - now, 1)),
        "sessions": len(hub.engine.all_sessions()),
        "queues": hub.engine.queues(),
        "store": hub.store(),
        "faults": hub.faults.listed(),
        "traffic": dict(hub.counters),
        "engine": dict(hub.engine.counters),
        "refused": dict(hub.audit.total),
    }


def _adapter(state: AdapterState, now: float) -> dict[str, Any]:
    word = "ready" if state.ready else "faulty" if state.trouble else "starting"
    return {
        "state": word,
        "since": round(now - state.since, 1),
        "trouble": state.trouble,
        "starts": state.starts,
        "detail": dict(state.adapter.status()) if state.adapter is not None else {},
    }


def _session(view: SessionView, now: float) -> dict[str, Any]:
    return {
        "session": view.session,
        "content": view.content.value,
        "opener": view.opener,
        "target": view.target,
        "state": view.state,
        "age": round(now - view.opened_at, 1),
        "units": view.units,
        "octets": view.octets,
        "queued": view.queued,
    }
