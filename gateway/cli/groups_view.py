"""The daemon's answers about cast groups, scenes and bindings as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.screen import Screen, shown, table

_GROUPS = {"name": "NAME", "id": "NUMBER", "members": "MEMBERS", "scenes": "SCENES", "rest": "TO DO"}
_MEMBERS = {"name": "DEVICE", "address": "ADDRESS", "endpoint": "ENDPOINT", "state": "STATE"}
_SCENES = {"group": "GROUP", "name": "SCENE", "id": "NUMBER"}
_BINDINGS = {"from": "FROM", "from_endpoint": "ENDPOINT", "cluster": "CLUSTER", "to": "TO", "state": "STATE"}
_LATER = "when it is heard: wake it, by its button say, or switch it on"


def group_table(groups: Sequence[Mapping[str, Any]], to: Screen) -> Iterator[str]:
    """One line a group."""
    if not groups:
        yield "no groups; make one: atls-gateway groups add NAME"
        return
    rows = [
        {
            **group,
            "members": len(group["members"]),
            "scenes": ", ".join(_scene(each) for each in group["scenes"]) or None,
            "rest": _rest(group),
        }
        for group in groups
    ]
    yield from table(rows, _GROUPS, to)
    if any(not group["name"] for group in groups):
        yield ""
        yield "A group without a NAME is invisible to all. To give one: atls-gateway groups rename NUMBER NAME"


def group_lines(group: Mapping[str, Any], to: Screen) -> Iterator[str]:
    """All that is known of one group."""
    yield to.title(f"{shown(group['name'])}, group {group['id']}")
    rows = [{**each, "state": "waits for it" if each["pending"] else "in"} for each in group["members"]]
    rows += [{**each, "state": "to be taken out"} for each in group["leaving"]]
    if rows:
        yield from table(rows, _MEMBERS, to)
    else:
        yield "no members; put one in: atls-gateway groups members add GROUP DEVICE"
    if group["scenes"]:
        yield ""
        yield from table([{**each, "name": each["name"] or None} for each in group["scenes"]], _SCENES, to)


def made_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    name = shown(answer["name"])
    yield f"{name} is group {answer['id']}"
    yield f"Put devices in it: atls-gateway groups members add {name} DEVICE"


def member_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    who = f"{shown(answer['device'])} (endpoint {answer['endpoint']})"
    if answer["pending"]:
        yield f"{who} did not answer yet: it comes into {shown(answer['group'])} {_LATER}"
    else:
        yield f"{who} is in {shown(answer['group'])}"


def removed_lines(answer: Mapping[str, Any], what: str, *, out: bool = False) -> Iterator[str]:
    """A group is removed, or (``out``) devices are taken out of one."""
    yield f"taken out: {shown(what)}" if out else f"{shown(answer.get('name') or what)} is removed"
    for each in answer.get("pending", ()):
        yield f"{_who(each)} did not answer yet: it is asked {_LATER}"
    if answer.get("policy"):
        yield f"The policy file still names it: {answer['policy']}"


def scene_table(groups: Sequence[Mapping[str, Any]], to: Screen) -> Iterator[str]:
    rows = [
        {"group": group["name"] or group["id"], "name": each["name"] or None, "id": each["id"]}
        for group in groups
        for each in group["scenes"]
    ]
    if rows:
        yield from table(rows, _SCENES, to)
    else:
        yield "no scenes; store one: atls-gateway scenes store GROUP NAME"


def scene_lines(answer: Mapping[str, Any], done: str) -> Iterator[str]:
    yield f"{shown(answer['group'])}: {done}"
    for each in answer["failed"]:
        yield f"not at {_who(each)}: {shown(each['why'])}"


def bound_lines(answer: Mapping[str, Any], command: str) -> Iterator[str]:
    rows = [{**each, "state": "waits for it" if each.get("pending") else None} for each in answer["bindings"]]
    if command == "list" and not rows:
        yield "no bindings; make one: atls-gateway devices bind FROM TO"
    elif command == "list":
        yield from table(rows, _BINDINGS, Screen())
    for each in rows if command != "list" else ():
        word = "bound to" if command == "bind" else "no longer bound to"
        yield f"{shown(each['from'])}: {shown(each['cluster'])} is {word} {shown(each['to'])}"
    for each in answer.get("failed", ()):
        yield f"{shown(each['from'])}: {shown(each['cluster'])}: {shown(each['why'])}"
    if answer.get("pending"):
        yield f"{shown(answer['pending'][0]['from'])} did not answer yet: it is asked {_LATER}"


def _rest(group: Mapping[str, Any]) -> str | None:
    waiting, leaving = sum(each["pending"] for each in group["members"]), len(group["leaving"])
    words = [f"{waiting} to come in" if waiting else "", f"{leaving} to be taken out" if leaving else ""]
    return ", ".join(filter(None, words)) or None


def _scene(scene: Mapping[str, Any]) -> str:
    return scene["name"] or f"{scene['id']}"


def _who(found: Mapping[str, Any]) -> str:
    return shown(found.get("name") or found.get("address"))
