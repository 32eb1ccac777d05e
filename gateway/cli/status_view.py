"""The answers ``status`` and ``sessions`` of the daemon as lines for people. Pure; a missing key is just not shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.screen import Screen, ago, clock, span, table, values

_LINKS = {
    "link": "LINK",
    "state": "STATE",
    "since": "SINCE",
    "starts": "STARTS",
    "in_flight": "IN FLIGHT",
    "trouble": "TROUBLE",
}
_SESSIONS = {
    "session": "SESSION",
    "opener": "OPENER",
    "target": "TARGET",
    "content": "CONTENT",
    "state": "STATE",
    "age": "AGE",
    "units": "UNITS",
    "octets": "OCTETS",
    "queued": "QUEUED",
}
_FAULTS = {"when": "LAST", "times": "TIMES", "link": "WHERE", "what": "FAULT"}
_HEAD = frozenset(
    {
        "name",
        "pid",
        "epoch",
        "healthy",
        "state",
        "why",
        "warnings",
        "uptime",
        "version",
        "build",
        "adapters",
        "sessions",
        "policy",
    }
    | {"reload", "faults", "joining"}
)
"""Tables with their own form; every other table of an answer follows under its name."""


_WHOLE = frozenset({"queues", "store"})
"""Columns in which a 0 is worth showing."""


def lines(answer: Mapping[str, Any], to: Screen) -> Iterator[str]:
    """The whole of ``status``."""
    yield _first(answer, to)
    if answer.get("joining"):
        left = span(answer["joining"])
        yield f"{to.word('open')} for new devices for {left}; atls-gateway permit-join --close ends it"
    for reason in (*answer.get("why", ()), *answer.get("warnings", ())):
        yield to.style(f"  {reason}", fg="yellow")
    adapters: Mapping[str, Any] = answer.get("adapters", {})
    yield ""
    yield from table([_link(scheme, adapter) for scheme, adapter in adapters.items()], _LINKS, to)
    for scheme, adapter in adapters.items():
        if found := _brief(adapter.get("detail") or {}):
            yield ""
            yield to.title(f"{scheme}:")
            yield from values(found, 2, to)
    faults = answer.get("faults")
    if faults:
        yield ""
        yield to.title("last faults:")
        yield from table([_fault(fault) for fault in faults], _FAULTS, to)
    for name, section in answer.items():
        if name == "store" and isinstance(section.get("last_commit"), int | float):
            section = {**section, "last_commit": clock(section["last_commit"])}
        brief = section if name in _WHOLE or not isinstance(section, Mapping) else _counts(section)
        if name not in _HEAD and brief not in (None, {}):
            yield ""
            yield from values({name: brief}, 0, to)


def _state(answer: Mapping[str, Any]) -> str:
    return "healthy" if answer.get("healthy") else "degraded"


def verdict(answer: Mapping[str, Any]) -> str:
    """The one line of ``status --check``."""
    why = "; ".join((*answer.get("why", ()), *answer.get("warnings", ())))
    return f"{answer.get('name', 'gateway')}: {_state(answer)}" + (f": {why}" if why else "")


def _first(answer: Mapping[str, Any], to: Screen) -> str:
    parts = [to.word(_state(answer))]
    if "pid" in answer:
        parts.append(f"pid {answer['pid']}")
    if "uptime" in answer:
        parts.append(f"up {span(answer['uptime'])}")
    live = answer.get("sessions", 0)
    parts.append(f"{live} session{'' if live == 1 else 's'}")
    policy = answer.get("policy")
    if policy:
        mode = to.word(policy["mode"]) if policy["mode"] != "enforce" else ""
        rules = policy["rules"]
        parts.append(
            f"{rules} rule{'' if rules == 1 else 's'}" + (f" in mode {mode}: nothing is enforced" if mode else "")
        )
    if "build" in answer:
        parts.append(answer["build"])
    return f"{to.title(str(answer.get('name', 'gateway')))}: {', '.join(parts)}"


def _brief(detail: Mapping[str, Any]) -> dict[str, Any]:
    """An adapter's figures: its words as they are, its counts together and without those that are 0."""
    words: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for name, value in detail.items():
        if name == "counters" and isinstance(value, Mapping):
            counts |= value
        elif isinstance(value, int) and not isinstance(value, bool):
            counts[name] = value
        elif value not in (None, "", [], {}):
            words[name] = value
    counted = _counts(counts)
    return words | ({"counts": counted} if counted else {})


def _counts(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value != 0 or isinstance(value, bool)}


def _link(scheme: str, adapter: Mapping[str, Any]) -> dict[str, Any]:
    return {**adapter, "link": scheme, "since": ago(adapter.get("since")), "trouble": adapter.get("trouble") or None}


def _fault(fault: Mapping[str, Any]) -> dict[str, Any]:
    when = fault.get("at")
    return {**fault, "when": clock(when) if isinstance(when, int | float) else when}


def session_lines(found: Sequence[Mapping[str, Any]], to: Screen) -> Iterator[str]:
    """The table of ``sessions``."""
    if not found:
        yield "no sessions"
        return
    yield from table([{**one, "age": span(one["age"])} for one in found], _SESSIONS, to)


def reload_lines(answer: Mapping[str, Any], to: Screen) -> Iterator[str]:
    """The changes of a reload that went well."""
    if not answer["changes"]:
        yield "reloaded; nothing has changed"
        if answer.get("copies"):
            yield "Key files are copies that systemd made at the start: a new one takes systemctl restart atls-gateway"
        return
    yield from table(answer["changes"], {"key": "KEY", "effect": "EFFECT"}, to)
    if answer["restart"]:
        yield ""
        yield "For the rest: atls-gateway restart"
