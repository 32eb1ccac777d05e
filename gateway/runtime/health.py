"""The health of the gateway: whether it does all that its files ask, else why not; for ``status`` and systemd."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from gateway.runtime.hub import Hub
from gateway.runtime.reloading import Reloads


def judged(hub: Hub, reloads: Reloads) -> dict[str, Any]:
    """As ``status`` has it: ``healthy``, ``state`` (``healthy`` or ``degraded``), ``why``, a line for each fault, the
    worst first, and ``warnings``: what the files name and can't work, which makes nothing worse than it was written."""
    why = list(_faults(hub, reloads))
    state = "degraded" if why else "healthy"
    return {"healthy": not why, "state": state, "why": why, "warnings": list(map(str, reloads.doubts()))}


def healthy(hub: Hub, reloads: Reloads) -> bool:
    return next(_faults(hub, reloads), None) is None


def brief(hub: Hub, reloads: Reloads) -> str:
    """The same in one line, with the number of warnings only; empty: all is well."""
    count = len(reloads.doubts())
    warnings = [f"{count} warning{'' if count == 1 else 's'}: see atls-gateway status"] if count else []
    return "; ".join([*_faults(hub, reloads), *warnings])


def _faults(hub: Hub, reloads: Reloads) -> Iterator[str]:
    overdue = hub.overdue()
    if overdue > 0.0:
        yield f"{overdue:.1f} s behind its deadlines"
    for scheme, state in hub.states.items():
        if not state.ready:
            yield f"{scheme}: {state.trouble or 'starting'}"
    store = hub.store().get("state", "ok")
    if store != "ok":
        yield f"store: {store}"
    last = reloads.last
    if last is not None and not last["ok"]:
        at = time.strftime("%H:%M:%S", time.localtime(last["at"]))
        mistakes = "; ".join(last["mistakes"])
        yield f"the last reload failed, the old config is in force: {mistakes} (at {at})"
    if last is not None and last["restart"]:
        yield f"waiting for a restart: {', '.join(last['restart'])}"
