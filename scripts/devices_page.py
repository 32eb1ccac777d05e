"""Writes docs/devices.md from the tables of ``adapters.zigbee.clusters``: what each cluster gives a device.

``python scripts/devices_page.py`` prints the page, ``--write`` puts it in its place.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "devices.md"
sys.path.insert(0, str(PAGE.parents[1]))

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping  # noqa: E402
from adapters.zigbee.clusters import FAMILIES, MAKERS, OPTIONS, ROWS  # noqa: E402
from adapters.zigbee.device_options import BY_PERCENT, expected, possible  # noqa: E402
from adapters.zigbee.maker_devices import MakerDevices  # noqa: E402
from gateway.api.model import DataSchema, DataType, PropertyAffordance  # noqa: E402

HEAD = """\
# Devices: what their clusters give

This page lists the properties, actions and events that a ZigBee device has by the clusters of its interview.

Names are those that zigbee2mqtt's users know. A property is a key of the device's state over [MQTT](mqtt.md),
and a resource over [CoAP](coap-devices.md) and [HTTP](http.md). [zigbee.md](zigbee.md) says how devices join,
how their reports are configured, and what counts as no value.

`make devices-page` writes this page from the tables in `adapters/zigbee/families` and
`adapters/zigbee/makers`; [add-a-cluster.md](add-a-cluster.md) says how a row is added.

What an action may do without is in parentheses; the event of a group cast has its `group` beside what the table
has.
"""

MAKERS_HEAD = """\
These devices have what no standard says, or the standard's otherwise, by the manufacturer and model of their
Basic cluster. They have the properties and events of their other clusters too.
[odd-devices.md](odd-devices.md) says how to find out what another device sends, and how it becomes a row.

A property that can be set is marked *; a model of several manufacturers is shown with them.
"""

OPTIONS_HEAD = f"""\
`atls-gateway devices options DEVICE KEY=VALUE` sets what is particular about one device; without `KEY=VALUE` it
shows what there is. NAME is a property of the device that can't be set. The calibration of some is a number of
percent, as zigbee2mqtt has it, and is not added:
{fill(", ".join(f"`{each}`" for each in sorted(BY_PERCENT)), 112)}.
"""


def values(schema: DataSchema) -> str:
    """What a value is, in a few words."""
    if schema.enum:
        return ", ".join(f"`{word}`" for word in schema.enum)
    if schema.type is DataType.BOOLEAN:
        return "true, false"
    if schema.type is DataType.OBJECT:
        return ", ".join(f"`{name}`" for name, _ in schema.fields)
    if schema.type is DataType.STRING:
        return "text"
    low, high = schema.minimum, schema.maximum
    bounds = (
        "" if low is None and high is None else f", {low:g} to {high:g}" if low is not None and high is not None else ""
    )
    step = "" if schema.multiple_of is None else f", in steps of {schema.multiple_of:g}"
    return f"{schema.unit or 'number'}{bounds}{step}"


def inputs(schema: DataSchema) -> str:
    """What an action is given: each field with its values, in parentheses what may be left out."""
    if schema.type is not DataType.OBJECT:
        return values(schema)
    found = ((name in schema.required, f"`{name}`: {values(each)}") for name, each in schema.fields)
    return "; ".join(text if required else f"({text})" for required, text in found)


def place(row: AttributeMapping | ActionMapping | EventMapping, number: int) -> str:
    code = f" of manufacturer 0x{row.manufacturer:04x}" if row.manufacturer else ""
    return f"0x{row.cluster:04x}, 0x{number:0{4 if isinstance(row, AttributeMapping) else 2}x}{code}"


def attributes(rows: Iterable[AttributeMapping], set_by_commands: set[tuple[int, str]]) -> Iterator[str]:
    yield "| cluster, attribute | property | value | set | reported |"
    yield "|---|---|---|---|---|"
    for row in rows:
        one = row.property
        by_command = row.commands or (row.cluster, one.name) in set_by_commands
        how = "" if not one.writable else "by command" if by_command else "as attribute"
        polled = f"read every {row.poll:g} s" if row.poll else ""
        interval = polled if row.reporting is None else f"{row.reporting.minimum} to {row.reporting.maximum} s"
        name = f"`{one.name}`.`{row.field}`" if row.field else f"`{one.name}`"
        what = values(row.schema or one)
        yield f"| {place(row, row.attribute)} | {name} | {what} | {how} | {interval} |"


def doings(head: str, rows: Iterable[tuple[Any, Any, DataSchema | None]]) -> Iterator[str]:
    yield f"| cluster, command | {head} | with |"
    yield "|---|---|---|"
    merged: dict[str, tuple[list[str], str]] = {}
    for row, one, schema in rows:
        places, what = merged.get(one.name, ([], ""))
        given = "" if schema is None else inputs(schema) if head == "action" else values(schema)
        merged[one.name] = [*places, place(row, row.command)], max(what, given, key=len)
    for name, (places, what) in merged.items():
        yield f"| {'; '.join(dict.fromkeys(places))} | `{name}` | {what} |"


def makers() -> Iterator[str]:
    """A table for each maker."""
    for maker in dict.fromkeys(devices.maker for devices in MAKERS):
        theirs = [devices for devices in MAKERS if devices.maker == maker]
        models = Counter(model for devices in theirs for model in devices.models)
        yield from (f"### {maker}", "", "| devices | properties | events | otherwise |", "|---|---|---|---|")
        for devices in theirs:
            several = not devices.models or any(models[model] > 1 for model in devices.models)
            named = (*devices.models, *(devices.manufacturers if several else ()))
            cells = (named, _of_rows(devices), _happenings(devices))
            yield (
                "| "
                + " | ".join((*(", ".join(f"`{each}`" for each in cell) for cell in cells), _otherwise(devices)))
                + " |"
            )
        yield ""


def _of_rows(devices: MakerDevices) -> Iterable[str]:
    """The properties, each once; ``*`` behind those that can be set."""
    set_ = {row.property.name for row in devices.rows if row.property.writable}
    names = dict.fromkeys(row.property.name for row in devices.rows)
    return [name + "*" * (name in set_) for name in names]


def _happenings(devices: MakerDevices) -> Iterable[str]:
    """The events, with what endpoints have in front of their names or behind."""
    found: dict[str, None] = {}
    for row in (*devices.events, *devices.reported_events):
        for affix in dict.fromkeys(row.endpoints.values()) or ("",):
            before, behind = (affix, "") if affix.endswith("_") else ("", affix)
            found |= dict.fromkeys(before + event.name + behind for event in row.events)
    return found


def _otherwise(devices: MakerDevices) -> str:
    """Which of the standard's rows it has in another way, or not at all."""
    changed = [(row, devices.changed(row)) for row in ROWS]
    parts = [
        _some([f"`{name}`" for name in dict.fromkeys(names)]) + how
        for names, how in (
            ([row.property.name for row, now in changed if now is not None and now is not row], " in another way"),
            ([row.property.name for row, now in changed if now is None], " not by the standard"),
        )
        if names
    ]
    if devices.without:
        parts.append(f"nothing else of {_some([f'0x{each:04x}' for each in sorted(devices.without)])}")
    return "; ".join(parts)


def _some(names: list[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - _FEW
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_FEW])} and {more} more"


_FEW = 5


def options() -> Iterator[str]:
    yield "| option | value | what it is | of |"
    yield "|---|---|---|---|"
    number = PropertyAffordance(name="NAME", type=DataType.NUMBER)
    words = PropertyAffordance(name="NAME", type=DataType.BOOLEAN)
    kinds = {"NAME_calibration": "numbers", "NAME_precision": "numbers", "invert_NAME": "true and false"}
    for one in possible([number, words], [cluster for each in OPTIONS for cluster in each.clusters], OPTIONS).values():
        clusters = ", ".join(f"0x{cluster:04x}" for cluster in one.clusters)
        yield f"| `{one.name}` | {expected(one.schema)} | {one.about} | {clusters or kinds.get(one.name, 'all')} |"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for family in FAMILIES:
        if not (family.ROWS or family.ACTIONS or family.EVENTS):
            continue
        title, _, rest = str(family.__doc__).strip().partition(":")
        lines += [f"## {title}", "", f"{rest.strip().partition(chr(10) * 2)[0]}", ""]
        if family.ROWS:
            commanded = {(row.cluster, name) for row in family.WRITES for name in row.properties}
            lines += [*attributes(family.ROWS, commanded), ""]
        modifiers = {each.name: each for row in family.WRITES for each in row.modifiers}
        for each in modifiers.values():
            lines += [f"Beside what is set: `{each.name}`, {values(each)}.", ""]
        if family.ACTIONS:
            lines += [*doings("action", ((row, row.action, row.action.input) for row in family.ACTIONS)), ""]
        if any(row.events for row in family.EVENTS):
            happenings = ((row, event, event.data) for row in family.EVENTS for event in row.events)
            lines += [*doings("event", happenings), ""]
    lines += ["## Makers", "", MAKERS_HEAD, *makers()]
    lines += ["## Options of one device", "", OPTIONS_HEAD, *options()]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
