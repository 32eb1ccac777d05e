"""The audit trail: one log line for each decision that the engine reports, bounded, so that a flood can't fill the log.

Each kind of line has its own share in every interval, and of that no subject may have more than is left for the others;
one summary line counts what goes beyond. Lines hold ids, reasons and names, never a payload; text that
a peer chose is stripped of control characters.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from common.printable import printable
from gateway.api.model import Reason
from gateway.engine.limits import has_room
from gateway.engine.outputs import Audit, AuditKind

_LOG = logging.getLogger("gateway.audit")

_LEVELS: Mapping[AuditKind, int] = {
    "opened": logging.INFO,
    "closed": logging.INFO,
    "joined": logging.INFO,
    "left": logging.INFO,
    "reset": logging.INFO,
    "administered": logging.INFO,
    "refused": logging.WARNING,
    "dropped": logging.WARNING,
    "expired": logging.WARNING,
    "shadow": logging.WARNING,
    "error": logging.ERROR,
}

_ORDERLY = frozenset({("dropped", Reason.CLOSED), ("refused", Reason.CLOSED), ("refused", Reason.UNKNOWN)})
"""The losses with which every session ends: units on their way then, and units that came for it later."""


class AuditLog:
    """At most ``lines`` lines of each kind every ``interval`` seconds, each of a few hundred characters."""

    def __init__(self, *, lines: int = 60, interval: float = 60.0) -> None:
        self.lines = lines
        self._interval = interval
        self._until = float("-inf")
        self._written: Counter[str] = Counter()
        self._by_subject: Counter[tuple[str, str]] = Counter()
        self._held_back: Counter[str] = Counter()
        self.total: Counter[str] = Counter()
        """All that was ever recorded, as ``kind`` or ``kind: reason``."""

    def record(self, entry: Audit, *, now: float) -> None:
        """Count one decision and log it if its kind has lines left. Works per message in a flood: stays cheap."""
        kind = entry.kind
        label = f"{kind}: {entry.reason.value}" if entry.reason is not None else kind
        self.total[label] += 1
        if now >= self._until:
            self.flush()
            self._until = now + self._interval
        if not has_room(self._by_subject[kind, entry.subject], self.lines - self._written[kind]):
            self._held_back[label] += 1
            return
        self._written[kind] += 1
        self._by_subject[kind, entry.subject] += 1
        level = logging.INFO if (kind, entry.reason) in _ORDERLY else _LEVELS[kind]
        if _LOG.isEnabledFor(level):
            _LOG.log(level, "%s%s", label, _facts(entry))

    def tick(self, *, now: float) -> None:
        """Called now and then, so that a summary also comes when nothing more happens."""
        if now >= self._until:
            self.flush()

    def flush(self) -> None:
        """Begin a new interval; log how many lines the last one held back."""
        if self._held_back:
            counts = ", ".join(f"{label} x {count}" for label, count in sorted(self._held_back.items()))
            _LOG.warning("held back %d more lines: %s", self._held_back.total(), counts)
            self._held_back.clear()
        self._written.clear()
        self._by_subject.clear()


def _facts(entry: Audit) -> str:
    facts = {
        "envelope": entry.envelope,
        "session": entry.session,
        "subject": printable(entry.subject, 120) if entry.subject else None,
        "action": entry.action or None,
        "resource": printable(entry.resource, 64) if entry.resource else None,
        "rule": entry.rule or None,
        "command": entry.command or None,
    }
    return "".join(f" {name}={value}" for name, value in facts.items() if value is not None)
