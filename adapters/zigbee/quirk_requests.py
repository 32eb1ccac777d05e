"""A request to a cluster of a quirk, and the answer as a device would give it: what is above needs to know no quirk.

The quirk's cluster is zigpy's, or made to look so; it answers by itself, or asks the device in its own way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from struct import iter_unpack
from typing import Any, Final

import zigpy.types
from zigpy.typing import UNDEFINED
from zigpy.zcl import foundation

from adapters.zigbee.transaction import DEFAULT_RESPONSE, Content, Reply
from carriage.zigbee.foundation import General, Status


async def answer(cluster: Any, content: Content, *, virtual: bool) -> Reply:
    """What the cluster answers. ``virtual``: the device doesn't have it, and can be asked for nothing of it.

    Raises whatever a quirk may raise."""
    if content.cluster_specific:
        return await _invoked(cluster, content)
    carry_out = _GENERAL.get(content.command)
    if carry_out is None or (virtual and content.command == General.READ_REPORTING):
        return _status(content, Status.UNSUP_COMMAND)
    if virtual and content.command == General.CONFIGURE_REPORTING:
        return Reply(General.CONFIGURE_REPORTING_RESPONSE, bytes((Status.SUCCESS,)))  # what it tells, it tells
    return await carry_out(cluster, content, virtual)


async def bound(cluster: Any) -> Reply:
    """The cluster is bound to the gateway: the answer as of ZDO, without its number."""
    return Reply(0, bytes((_number(await cluster.bind()),)))


def _status(content: Content, status: int) -> Reply:
    return Reply(DEFAULT_RESPONSE, bytes((content.command, status)))


def _code(content: Content) -> Any:
    return content.manufacturer or UNDEFINED


def record(cluster: Any, attribute: int, value: Any) -> bytes:
    """Type and value of an attribute on the air. KeyError, ValueError, TypeError: it has none."""
    known = cluster.find_attribute(attribute)
    kind = known.zcl_type
    if kind is None:
        kind = foundation.DataType.from_python_type(known.type).type_id
    return bytes((int(kind),)) + bytes(known.type(value).serialize())


async def _read(cluster: Any, content: Content, virtual: bool) -> Reply:
    wanted = [attribute for (attribute,) in iter_unpack("<H", content.payload)]
    known = [attribute for attribute in wanted if _has(cluster, attribute)]
    found, failed = await cluster.read_attributes(known, manufacturer=_code(content)) if known else ({}, {})
    octets = b""
    for attribute in wanted:
        octets += attribute.to_bytes(2, "little")
        value = found.get(attribute)
        if value is not None:
            octets += bytes((Status.SUCCESS,)) + record(cluster, attribute, value)
        elif virtual and attribute in known:
            octets += bytes((Status.FAILURE,))  # it has it, and no value of it has come yet
        else:
            octets += bytes((int(failed.get(attribute, Status.UNSUPPORTED_ATTRIBUTE)),))
    return Reply(General.READ_RESPONSE, octets)


def _has(cluster: Any, attribute: int) -> bool:
    try:
        cluster.find_attribute(attribute)
    except KeyError:
        return False
    return True


async def _written(cluster: Any, content: Content, virtual: bool) -> Reply:
    values, rest = {}, content.payload
    while rest:
        one, rest = foundation.Attribute.deserialize(rest)
        values[int(one.attrid)] = one.value.value
    result = await cluster.write_attributes(values, manufacturer=_code(content))
    records = result[0] if isinstance(result, (list, tuple)) and result else result
    if not isinstance(records, Iterable) or isinstance(records, (bytes, str)):
        return _status(content, _number(records))
    refused = {one.attrid: int(one.status) for one in records if int(one.status)}
    # A quirk may write another attribute in place of one that it was given.
    other = next((status for attribute, status in refused.items() if attribute not in values), 0)
    statuses = {attribute: refused.get(attribute, other) for attribute in values}
    octets = b"".join(bytes((status,)) + each.to_bytes(2, "little") for each, status in statuses.items() if status)
    return Reply(General.WRITE_RESPONSE, octets or bytes((Status.SUCCESS,)))


async def _configured(cluster: Any, content: Content, virtual: bool) -> Reply:
    schema: Any = foundation.GENERAL_COMMANDS[foundation.GeneralCommand.Configure_Reporting].schema
    request, _ = schema.deserialize(content.payload)
    for one in request.config_records:
        if not hasattr(one, "reportable_change"):
            one.reportable_change = 0  # zigpy can't send on what it read without one
    code = content.manufacturer or None
    return _as_sent(await cluster._configure_reporting(request.config_records, manufacturer=code), content)


async def _reporting_read(cluster: Any, content: Content, virtual: bool) -> Reply:
    command = foundation.GeneralCommand.Read_Reporting_Configuration
    request, _ = foundation.GENERAL_COMMANDS[command].schema.deserialize(content.payload)
    code = content.manufacturer or None
    return _as_sent(await cluster.general_command(command, *request.as_tuple(), manufacturer=code), content)


def _as_sent(result: Any, content: Content) -> Reply:
    """A response of the device's that zigpy took apart, together again."""
    if hasattr(result, "command_id"):
        return _status(content, int(result.status))
    return Reply(content.answer, bytes(result.serialize()))


async def _invoked(cluster: Any, content: Content) -> Reply:
    command = cluster.server_commands.get(content.command)
    if command is None:
        return _status(content, Status.UNSUP_COMMAND)
    request, _ = command.schema.deserialize(content.payload)
    arguments = list(request.as_tuple())
    while arguments and arguments[-1] is None:
        arguments.pop()  # optional, and not there
    more = {"manufacturer": content.manufacturer} if content.manufacturer else {}
    result = await cluster.command(content.command, *arguments, **more)
    if content.response >= 0 and hasattr(result, "serialize") and not hasattr(result, "command_id"):
        return Reply(content.response, bytes(result.serialize()), True)
    return _status(content, _number(result))


def _number(result: Any) -> int:
    """The status in what a quirk returned: a default response, a status, a tuple that ends with one, or nothing."""
    status = getattr(result, "status", result)
    if isinstance(status, (list, tuple)):
        status = status[-1] if status else None
    if isinstance(status, zigpy.types.Struct):
        status = getattr(status, "status", None)
    return status & 0xFF if isinstance(status, int) else int(Status.SUCCESS)


_GENERAL: Final[dict[int, Callable[[Any, Content, bool], Awaitable[Reply]]]] = {
    General.READ: _read,
    General.WRITE: _written,
    General.CONFIGURE_REPORTING: _configured,
    General.READ_REPORTING: _reporting_read,
}
