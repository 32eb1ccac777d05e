"""The map of the network as zigbee2mqtt's users get it: its own lists, or text for Graphviz or PlantUML. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from common.printable import printable

_COORDINATOR: Final = "Coordinator"


def _address(eui64: str) -> str:
    return "0x" + eui64.replace(":", "")


def _nodes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    nodes = [
        {
            "ieeeAddr": _address(found["coordinator"]),
            "friendlyName": _COORDINATOR,
            "type": _COORDINATOR,
            "networkAddress": 0,
            "failed": [],
            "lastSeen": None,
        }
    ]
    for each in found["nodes"]:
        nodes.append(
            {
                "ieeeAddr": _address(each["eui64"]),
                "friendlyName": each.get("name") or _address(each["eui64"]),
                "type": each["type"],
                "networkAddress": each["nwk"],
                "manufacturerName": each["manufacturer"] or None,
                "modelID": each["model"] or None,
                "failed": ["lqi"] if each["asked"] is False else [],
                "lastSeen": each["last_seen"],
            }
        )
    return nodes


def _links(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those between devices that are on the map."""
    numbers = {each["ieeeAddr"]: each["networkAddress"] for each in _nodes(found)}
    links = []
    for each in found["links"]:
        source, target = _address(each["source"]), _address(each["target"])
        if source in numbers and target in numbers:
            links.append(
                {
                    "source": {"ieeeAddr": source, "networkAddress": numbers[source]},
                    "target": {"ieeeAddr": target, "networkAddress": numbers[target]},
                    "sourceIeeeAddr": source,
                    "targetIeeeAddr": target,
                    "sourceNwkAddr": numbers[source],
                    "linkquality": each["lqi"],
                    "lqi": each["lqi"],
                    "depth": each["depth"],
                    "relationship": each["relationship"],
                    "routes": [],
                }
            )
    return links


def _raw(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"nodes": _nodes(found), "links": _links(found)}


def _label(text: Any) -> str:
    """Fit for text in double quotes."""
    return printable(str(text), 128).replace("\\", "/").replace('"', "'")


def _graphviz(found: Mapping[str, Any]) -> str:
    def lines() -> Iterator[str]:
        yield "digraph G {"
        for each in _nodes(found):
            style = "bold" if each["type"] == _COORDINATOR else "rounded"
            yield f'  "{each["ieeeAddr"]}" [style="{style}", label="{_label(each["friendlyName"])}\\n{each["type"]}"];'
        for each in _links(found):
            yield f'  "{each["sourceIeeeAddr"]}" -> "{each["targetIeeeAddr"]}" [label="{each["lqi"]}"]'
        yield "}"

    return "\n".join(lines())


def _plantuml(found: Mapping[str, Any]) -> str:
    def lines() -> Iterator[str]:
        yield "@startuml"
        for each in _nodes(found):
            yield f"card {each['ieeeAddr']} [\n{_label(each['friendlyName'])}\n---\n{each['type']}\n]"
        for each in _links(found):
            yield f"{each['sourceIeeeAddr']} --> {each['targetIeeeAddr']}: {each['lqi']}"
        yield "@enduml"

    return "\n".join(lines())


MAPS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "raw": _raw,
    "graphviz": _graphviz,
    "plantuml": _plantuml,
}
